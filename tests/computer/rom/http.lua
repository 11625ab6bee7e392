-- http: requests and websockets. The calls that wait throw other events away, as the game's do.
local native = ...

http = {}

function native.answer_handle(status, body)
  local at, handle = 1, {}
  function handle.readAll()
    local rest = body:sub(at)
    at = #body + 1
    return rest
  end
  function handle.readLine()
    if at > #body then return nil end
    local stop = body:find("\n", at, true) or #body + 1
    local line = body:sub(at, stop - 1)
    at = stop + 1
    return line
  end
  function handle.getResponseCode() return status end
  function handle.close() end
  return handle
end

function native.socket_handle(id, url)
  local handle, closed = {}, false
  local function check()
    if closed then error("attempt to use a closed file", 3) end
  end
  function handle.send(text, binary)
    check()
    text = tostring(text)
    if #text > native.largest_frame then error("Message is too large", 2) end
    if not native.socket_send(id, text, binary == true) then
      closed = true
      error("attempt to use a closed file", 2)
    end
  end
  function handle.close()
    closed = true
    native.socket_close(id)
  end
  function handle.receive(timeout)
    check()
    local timer = timeout and os.startTimer(timeout)
    while true do
      local event, first, second, third = os.pullEvent()
      -- By address: two sockets with the same one receive each other's messages.
      if event == "websocket_message" and first == url then return second, third end
      if event == "websocket_closed" and first == url then
        closed = true
        return nil
      end
      if event == "timer" and first == timer then return nil end
    end
  end
  return handle
end

local function start(url, headers)
  if type(url) ~= "string" then error("bad argument #1 (string expected, got " .. type(url) .. ")", 3) end
  local pairs_of = {}
  for name, value in pairs(headers or {}) do
    if type(name) == "string" and type(value) == "string" then pairs_of[#pairs_of + 1] = { name, value } end
  end
  local ok, problem = native.websocket(url, pairs_of)
  if ok == nil then error(problem, 3) end -- the game throws this one
  return ok, problem
end

function http.websocketAsync(url, headers)
  if type(url) == "table" and native.modern then url, headers = url.url, url.headers end
  local ok, problem = start(url, headers)
  if not ok then os.queueEvent("websocket_failure", url, problem) end
  return ok, problem
end

function http.websocket(url, headers)
  if type(url) == "table" and native.modern then url, headers = url.url, url.headers end
  local ok, problem = start(url, headers)
  if not ok then return false, problem end
  while true do
    local event, first, second = os.pullEvent()
    if event == "websocket_success" and first == url then
      return second
    elseif event == "websocket_failure" and first == url then
      return false, second
    end
  end
end

function http.get(url)
  if type(url) == "table" then url = url.url end
  local ok, problem = native.get(url)
  if not ok then return nil, problem end
  while true do
    local event, first, second, third = os.pullEvent()
    if event == "http_success" and first == url then return second end
    if event == "http_failure" and first == url then return nil, second, third end
  end
end

function http.checkURL(url)
  if not url:find("^%a+://[^/]+") then return false, "URL malformed" end
  return true
end
