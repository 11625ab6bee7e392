-- A websocket client (RFC 6455) for Lua 5.1 and LuaJIT over LuaSocket, which behaves as the game does:
-- it offers the same extensions, takes no fragments, drops the connection at a frame over 131072
-- bytes, answers pings by itself, and can leave without a close frame.
--
-- It does not speak TLS, follow redirects or negotiate anything.

local socket = require("socket")

local websocket = {}
websocket.__index = websocket

local MAX_FRAME = 131072
local TIMEOUT_S = 10
-- The pair of key and answer that RFC 6455 itself gives: the answer can be checked without SHA-1.
local KEY = "dGhlIHNhbXBsZSBub25jZQ=="
local ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
local EXTENSIONS = "permessage-deflate;client_no_context_takeover;client_max_window_bits,"
  .. "deflate-frame,x-webkit-deflate-frame"

local CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

-- Lua 5.1 has no bitwise operators.
local function xor(a, b)
  local result, bit = 0, 1
  for _ = 1, 8 do
    if a % 2 ~= b % 2 then result = result + bit end
    a, b, bit = math.floor(a / 2), math.floor(b / 2), bit * 2
  end
  return result
end

local function masked(payload, mask)
  local maps = {}
  for i = 1, 4 do
    maps[i] = {}
    for byte = 0, 255 do maps[i][byte] = string.char(xor(byte, mask[i])) end
  end
  local out = {}
  for i = 1, #payload do out[i] = maps[(i - 1) % 4 + 1][payload:byte(i)] end
  return table.concat(out)
end

local function big_endian(number, bytes)
  local out = {}
  for i = bytes, 1, -1 do
    out[i] = string.char(number % 256)
    number = math.floor(number / 256)
  end
  return table.concat(out)
end

local function from_big_endian(text)
  local number = 0
  for i = 1, #text do number = number * 256 + text:byte(i) end
  return number
end

-- Connects and shakes hands. Returns the connection, or nil and what went wrong.
function websocket.connect(host, port, path)
  local tcp = socket.tcp()
  tcp:settimeout(TIMEOUT_S)
  local connected, problem = tcp:connect(host, port)
  if not connected then return nil, problem end
  tcp:setoption("tcp-nodelay", true)
  tcp:send(table.concat({
    "GET " .. path .. " HTTP/1.1",
    "Host: " .. host .. ":" .. port,
    "Upgrade: websocket",
    "Connection: upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: " .. KEY,
    "Sec-WebSocket-Extensions: " .. EXTENSIONS,
    "User-Agent: computercraft/1.113.1",
    "", "",
  }, "\r\n"))
  local status
  status, problem = tcp:receive("*l")
  if not status then return nil, problem end
  local headers = {}
  while true do
    local line
    line, problem = tcp:receive("*l")
    if not line then return nil, problem end
    if line == "" then break end
    local name, value = line:match("^([^:]+):%s*(.-)%s*$")
    if not name then return nil, "not a header: " .. line end
    headers[name:lower()] = value
  end
  if not status:find("^HTTP/1%.1 101 ") then return nil, status end
  if headers["sec-websocket-accept"] ~= ACCEPT then return nil, "wrong Sec-WebSocket-Accept" end
  if headers["sec-websocket-protocol"] then return nil, "a subprotocol nobody asked for" end
  tcp:settimeout(0)
  return setmetatable({
    tcp = tcp,
    buffer = "",
    extensions = headers["sec-websocket-extensions"] or "",
  }, websocket)
end

function websocket:frame(opcode, payload)
  local mask, bytes = {}, {}
  for i = 1, 4 do
    mask[i] = math.random(0, 255)
    bytes[i] = string.char(mask[i])
  end
  local length
  if #payload < 126 then
    length = string.char(128 + #payload)
  elseif #payload < 65536 then
    length = string.char(128 + 126) .. big_endian(#payload, 2)
  else
    length = string.char(128 + 127) .. big_endian(#payload, 8)
  end
  self.tcp:settimeout(TIMEOUT_S)
  local sent, problem =
    self.tcp:send(string.char(128 + opcode) .. length .. table.concat(bytes) .. masked(payload, mask))
  self.tcp:settimeout(0)
  if not sent then error("cannot send: " .. problem) end
end

function websocket:send(text) self:frame(TEXT, text) end

-- Leaves as a computer in the game does: no close frame.
function websocket:drop() self.tcp:close() end

-- Takes one whole frame off the buffer: opcode and payload, or nil when more bytes are needed.
function websocket:take()
  local buffer = self.buffer
  if #buffer < 2 then return nil end
  local first, second = buffer:byte(1, 2)
  if first < 128 then error("a fragment, which the game does not join") end
  local opcode = first - 128
  if opcode >= 16 then error("reserved bits are set") end
  if second >= 128 then error("a server must not mask") end
  local length, header = second, 2
  if second == 126 then
    length, header = from_big_endian(buffer:sub(3, 4)), 4
  elseif second == 127 then
    length, header = from_big_endian(buffer:sub(3, 10)), 10
  end
  if #buffer < header then return nil end
  if length > MAX_FRAME then error("a frame of " .. length .. " bytes, which the game refuses") end
  if #buffer < header + length then return nil end
  self.buffer = buffer:sub(header + length + 1)
  return opcode, buffer:sub(header + 1, header + length)
end

-- Reads what has arrived and calls `on_text(text)` for each message. Returns nothing while the
-- connection lives, else the close code and reason (1006 when it ended without a close frame).
function websocket:pump(on_text)
  local ended
  repeat
    local whole, problem, part = self.tcp:receive(65536)
    self.buffer = self.buffer .. (whole or part or "")
    ended = problem == "closed"
  until problem
  while true do
    local opcode, payload = self:take()
    if not opcode then break end
    if opcode == TEXT then
      on_text(payload)
    elseif opcode == PING then
      self:frame(PONG, payload)
    elseif opcode == CLOSE then
      self:frame(CLOSE, payload:sub(1, 2))
      self.tcp:close()
      return from_big_endian(payload:sub(1, 2)), payload:sub(3)
    elseif opcode == BINARY or opcode == CONTINUATION or opcode == PONG then
      -- CraftOS-PC hands an unsolicited pong to the program as a message.
      error("opcode " .. opcode .. ", which a v1 client must never be sent")
    else
      error("unknown opcode " .. opcode)
    end
  end
  if ended then return 1006, "" end
end

return websocket
