-- parallel: functions side by side. Each is given every event, unless it has asked for another.
parallel = {}

local function run(functions, enough)
  local threads, left = {}, #functions
  for index, body in ipairs(functions) do
    if type(body) ~= "function" then
      error("bad argument #" .. index .. " (function expected, got " .. type(body) .. ")", 3)
    end
    threads[index] = { thread = coroutine.create(body) }
  end
  local event = { n = 0 }
  while true do
    for index = 1, #functions do
      local one = threads[index]
      if one.thread and (one.filter == nil or one.filter == event[1] or event[1] == "terminate") then
        local ok, result = coroutine.resume(one.thread, table.unpack(event, 1, event.n))
        if not ok then error(result, 0) end
        one.filter = result
        if coroutine.status(one.thread) == "dead" then
          one.thread = nil
          left = left - 1
          if left <= enough then return index end
        end
      end
    end
    event = table.pack(os.pullEventRaw())
  end
end

function parallel.waitForAny(...)
  local functions = { ... }
  return run(functions, #functions - 1)
end

function parallel.waitForAll(...)
  return run({ ... }, 0)
end
