-- What every program finds: os, term, print and the rest of the globals, and how the computer runs.
local native = ...

io, package, require, debug = nil, nil, nil, nil
unpack = unpack or table.unpack
local host_load = load

os = {}

function os.version() return native.modern and "CraftOS 1.9" or "CraftOS 1.8" end
function os.getComputerID() return native.id end
os.computerID = os.getComputerID
function os.getComputerLabel() return native.label end
os.computerLabel = os.getComputerLabel
function os.setComputerLabel(label) native.label = label end
function os.clock() return math.floor(native.clock() * 20) / 20 end
function os.time() return (native.epoch() / 50000) % 24 end
function os.day() return 1 end

function os.epoch(which)
  if which == nil or which == "ingame" then return math.floor(native.epoch() * 72) end
  if which == "utc" or which == "local" then return native.epoch() end
  error("Unsupported operation", 2)
end

function os.queueEvent(name, ...)
  if type(name) ~= "string" then error("bad argument #1 (string expected, got " .. type(name) .. ")", 2) end
  native.queue_event(name, ...)
end

function os.startTimer(seconds)
  if type(seconds) ~= "number" then error("bad argument #1 (number expected, got " .. type(seconds) .. ")", 2) end
  return native.start_timer(seconds)
end

function os.cancelTimer(id) native.cancel_timer(id) end

function os.pullEventRaw(filter) return coroutine.yield(filter) end

function os.pullEvent(filter)
  local event = table.pack(os.pullEventRaw(filter))
  if event[1] == "terminate" then error("Terminated", 0) end
  return table.unpack(event, 1, event.n)
end

function sleep(seconds)
  local timer = os.startTimer(seconds or 0)
  repeat
    local _, id = os.pullEvent("timer")
  until id == timer
end
os.sleep = sleep

local function switch_off(again)
  native.switched_off = again
  while true do coroutine.yield() end
end

function os.shutdown() switch_off(false) end
function os.reboot() switch_off(true) end

term = {}
function term.write(text) native.screen("write", tostring(text)) end
function term.getCursorPos() return native.screen("cursor") end
function term.setCursorPos(x, y) native.screen("move", math.floor(x), math.floor(y)) end
function term.getSize() return native.screen("size") end
function term.clear() native.screen("clear") end
function term.clearLine() native.screen("clear_line") end
function term.scroll(lines) native.screen("scroll", lines) end
function term.setCursorBlink() end
function term.isColour() return true end
term.isColor = term.isColour
function term.setTextColour() end
term.setTextColor = term.setTextColour
function term.getTextColour() return 1 end

colours = { white = 1, orange = 2, yellow = 16, grey = 128, lightGrey = 256, red = 16384, black = 32768 }
colors = { white = 1, orange = 2, yellow = 16, gray = 128, lightGray = 256, red = 16384, black = 32768 }
keys = { enter = 28, backspace = 14 }

local function new_line()
  native.screen("line")
  local _, y = term.getCursorPos()
  local _, height = term.getSize()
  if y >= height then
    term.scroll(1)
    term.setCursorPos(1, height)
  else
    term.setCursorPos(1, y + 1)
  end
end

-- Unlike the game's it breaks lines at the edge only, not between words; tests read the transcript.
function write(text)
  text = tostring(text)
  local from = 1
  while true do
    local at = text:find("\n", from, true)
    term.write(text:sub(from, (at or 0) - 1))
    if not at then return end
    new_line()
    from = at + 1
  end
end

function print(...)
  local texts = table.pack(...)
  for index = 1, texts.n do texts[index] = tostring(texts[index]) end
  write(table.concat(texts, "\t", 1, texts.n))
  new_line()
end

function printError(...) print(...) end

function read()
  local line = ""
  while true do
    local event, value = os.pullEvent()
    if event == "char" or event == "paste" then
      line = line .. value
      term.write(value)
    elseif event == "key" and value == keys.enter then
      new_line()
      return line
    elseif event == "key" and value == keys.backspace then
      line = line:sub(1, -2)
    end
  end
end

function load(chunk, name, mode, env) return host_load(chunk, name or "=load", "t", env or _G) end
function loadstring(chunk, name) return host_load(chunk, name or "=load", "t", _G) end

function loadfile(path, mode, env)
  if type(mode) == "table" then env = mode end
  local text = native.read_file((path:gsub("^/", "")))
  if not text then return nil, "File not found" end
  return host_load(text, "@" .. path:match("[^/]*$"), "t", env or _G)
end

function dofile(path)
  local chunk, problem = loadfile(path, nil, _G)
  if not chunk then error(problem, 2) end
  return chunk()
end

function os.run(env, path, ...)
  setmetatable(env, { __index = _G })
  local chunk, problem = loadfile(path, nil, env)
  if not chunk then
    printError(problem)
    return false, problem
  end
  local ok
  ok, problem = pcall(chunk, ...)
  if ok then return true end
  if problem ~= nil and problem ~= "" then printError(problem) end
  return false, problem
end

function os.loadAPI(path)
  local name = path:match("[^/]*$"):gsub("%.lua$", "")
  local env = setmetatable({}, { __index = _G })
  local chunk, problem = loadfile(path, nil, env)
  if not chunk then chunk, problem = loadfile(path .. ".lua", nil, env) end
  if not chunk then
    printError(problem)
    return false
  end
  local ok
  ok, problem = pcall(chunk)
  if not ok then
    printError("Failed to load API " .. name .. " due to " .. tostring(problem))
    return false
  end
  local api = {}
  for key, value in pairs(env) do
    if key ~= "_ENV" then api[key] = value end
  end
  _G[name] = api
  return true
end

function native.main()
  -- The shell and rednet share the computer, as in the game.
  parallel.waitForAny(function()
    shell.boot(native.command)
    while true do coroutine.yield() end
  end, rednet.run)
end
