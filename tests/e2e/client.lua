-- A client of the hub under Lua 5.1 or LuaJIT, as ComputerCraft is one: JSON by cjson, the path with
-- the trailing slash, the websocket of websocket.lua. What it is told to do and what it tells comes
-- and goes as JSON lines on a TCP connection to run.py, where the lines are described.
--
-- Usage: client.lua CONTROL_PORT NAME

package.path = (arg[0]:match("^(.*)/") or ".") .. "/?.lua;" .. package.path

local socket = require("socket")
local json = require("cjson")
local websocket = require("websocket")

local control = assert(socket.connect("127.0.0.1", tonumber(arg[1])))
local connection
local unread = ""

local function tell(value)
  control:settimeout(10)
  assert(control:send(json.encode(value) .. "\n"))
  control:settimeout(0)
end

local function bytes_of(hex)
  return (hex:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end))
end

local orders = {
  connect = function(order)
    local problem
    connection, problem = websocket.connect(order.host, order.port, "/connect/")
    if not connection then error(problem) end
    tell({ told = "connected", extensions = connection.extensions })
  end,
  send = function(order) connection:send(json.encode(order.command)) end,
  send_hex = function(order) connection:send(bytes_of(order.hex)) end,
  drop = function()
    connection:drop()
    connection = nil
    tell({ told = "dropped" })
  end,
}

local function take_orders()
  local ended
  repeat
    local whole, problem, part = control:receive(65536)
    unread = unread .. (whole or part or "")
    ended = problem == "closed"
  until problem
  local line_end = unread:find("\n", 1, true)
  while line_end do
    local order = json.decode(unread:sub(1, line_end - 1))
    unread = unread:sub(line_end + 1)
    orders[order["do"]](order)
    line_end = unread:find("\n", 1, true)
  end
  return not ended
end

math.randomseed(os.time())
tell({ told = "ready", name = arg[2] })
while true do
  local watched = { control }
  if connection then watched[2] = connection.tcp end
  local readable = socket.select(watched, nil)
  if connection and readable[connection.tcp] then
    local code, reason = connection:pump(function(text)
      tell({ told = "frame", value = json.decode(text) })
    end)
    if code then
      connection = nil
      tell({ told = "closed", code = code, reason = reason })
    end
  end
  if readable[control] and not take_orders() then break end
end
