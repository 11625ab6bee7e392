-- Skynet for ComputerCraft: a library and a program in one file.
--
--   skynet chat                          talk, in the shell (skynet help lists the rest)
--   local skynet = require "skynet"      use it in a program; dofile and os.loadAPI do as well
--
-- It speaks the hub's JSON over one websocket, comes back by itself when the connection breaks, and
-- then asks for what it missed. docs/computercraft.md has every function with an example.
--
-- It runs on CC: Tweaked and on its first releases for Minecraft 1.12 (Lua 5.1, no
-- textutils.unserialiseJSON), so it brings its own JSON and uses no newer syntax.
local VERSION = "0.1.0"
local SERVER = "ws://127.0.0.1:4567/connect/"

local arguments = { n = select("#", ...), ... }
local environment = _ENV or (getfenv and getfenv(1)) or _G
local pack = table.pack or function(...) return { n = select("#", ...), ... } end
local unpack = table.unpack or unpack

local skynet = { VERSION = VERSION, open_channels = {} }

----------------------------------------------------------------------------------------------------
-- Limits
----------------------------------------------------------------------------------------------------

local FRAME_BYTES = 131072 -- what the game sends or takes in one piece
local EVENT_BYTES = 130048 -- what the hub takes for one message: JSON, with its ID and time
local FRAMES_PER_SECOND = 20 -- of events, as many as the game has ticks; the rest comes together in one
local STAMP_BYTES = 65 -- ,"ID":"...","time":... as the hub adds them
local MAX_DEPTH = 120 -- levels of tables in tables; the hub reads 128
local KEPT_EVENTS = 256 -- events of others kept for a program, as many as the game's own queue
local INPUT_SECONDS = 10 -- a key press older than this is not given back
local INBOX_MESSAGES = 10000 -- messages that wait for receive(), and as many for listen()
local INBOX_BYTES = 8 * 1024 * 1024
local FEED_AT_ONCE = 64 -- skynet_message events in the game's queue at once
local FEED_SECONDS = 2 -- after this a lost marker is sent again
local CONNECT_SECONDS = 35 -- the game gives up after 30
local STABLE_SECONDS = 10 -- a connection that held this long was a good one
local HANDLERS_AT_ONCE = 16 -- requests that serve() works on at once
local REQUESTS_WAITING = 256 -- and how many wait for it
local MODEM_CHANNELS = 128 -- what a modem of the game can have open

local function setting(name)
  return settings and settings.get and settings.get("skynet." .. name) or nil
end

skynet.server = setting("server") or SERVER
skynet.name = setting("name")
skynet.token = setting("token")
skynet.pause = 1 -- seconds before the first attempt to come back; doubles with each failure
skynet.longest_pause = 60
skynet.quiet = 30 -- seconds of silence after which the hub is asked whether it is there

----------------------------------------------------------------------------------------------------
-- JSON: Lua strings are bytes; byte 233 travels as \u00e9 and comes back as byte 233
----------------------------------------------------------------------------------------------------

local json = { null = setmetatable({}, { __name = "null" }), empty_object = {}, empty_array = {} }
skynet.json = json
skynet.null = json.null

local find, sub, byte, char = string.find, string.sub, string.byte, string.char
local match, gsub, format = string.match, string.gsub, string.format
local floor, concat, clock = math.floor, table.concat, os.clock

local escapes = { ['"'] = '\\"', ["\\"] = "\\\\" }
for code = 0, 255 do
  if code < 32 or code > 126 then escapes[char(code)] = format("\\u%04x", code) end
end
escapes["\n"], escapes["\r"], escapes["\t"] = "\\n", "\\r", "\\t"

local function quoted(text)
  return '"' .. gsub(text, '[%c"\\\127-\255]', escapes) .. '"'
end

local function number_text(number)
  if number ~= number or number == math.huge or number == -math.huge then
    error("cannot send " .. tostring(number) .. ": JSON has no such number", 0)
  end
  if number == floor(number) and number > -1e15 and number < 1e15 then return format("%d", number) end
  local text
  for digits = 14, 17 do
    text = format("%." .. digits .. "g", number)
    if tonumber(text) == number then break end
  end
  return text
end

-- What a table is in JSON: "array" with its length, or "object"; an error where it is neither.
local function shape(value)
  local length, texts, numbers, holes = #value, false, 0, false
  for key in pairs(value) do
    if type(key) == "string" then
      texts = true
    elseif type(key) == "number" then
      numbers = numbers + 1
      holes = holes or key < 1 or key > length or key ~= floor(key)
    else
      error("cannot send a table with a " .. type(key) .. " as a key", 0)
    end
  end
  if numbers == 0 and texts then return "object" end
  if texts then error("cannot send a table with both list items and named keys", 0) end
  if holes or numbers ~= length then error("cannot send a list with holes", 0) end
  return "array", length
end

local write_value

local function write_table(out, value, depth)
  if value == json.null or (textutils and value == textutils.json_null) then
    out[#out + 1] = "null"
    return
  end
  if value == json.empty_object then out[#out + 1] = "{}" return end
  -- The original client wrote an empty table as a list, and so do we.
  if next(value) == nil then out[#out + 1] = "[]" return end
  if depth > MAX_DEPTH then error("cannot send tables nested deeper than " .. MAX_DEPTH .. ", or in themselves", 0) end
  local kind, length = shape(value)
  if kind == "array" then
    for index = 1, length do
      out[#out + 1] = index == 1 and "[" or ","
      write_value(out, value[index], depth + 1)
    end
    out[#out + 1] = "]"
  else
    local first = true
    for key, item in pairs(value) do
      out[#out + 1] = (first and "{" or ",") .. quoted(key) .. ":"
      first = false
      write_value(out, item, depth + 1)
    end
    out[#out + 1] = "}"
  end
end

function write_value(out, value, depth)
  local kind = type(value)
  if kind == "string" then
    out[#out + 1] = quoted(value)
  elseif kind == "number" then
    out[#out + 1] = number_text(value)
  elseif kind == "boolean" then
    out[#out + 1] = value and "true" or "false"
  elseif kind == "nil" then
    out[#out + 1] = "null"
  elseif kind == "table" then
    write_table(out, value, depth)
  else
    error("cannot send a " .. kind, 0)
  end
end

-- JSON of a value. Errors, in words, for what JSON cannot hold.
function json.encode(value)
  local out = {}
  write_value(out, value, 1)
  return concat(out)
end

local unescapes = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t", ['"'] = '"', ["\\"] = "\\", ["/"] = "/" }
local is_utf8 = true -- whether the text being read is UTF-8; before 1.109 the game hands over Latin-1

-- UTF-8 to one byte a character; what is beyond U+00FF becomes "?".
local function narrow(text)
  if not is_utf8 or not find(text, "[\128-\255]") then return text end
  return (gsub(text, "([\194-\244])([\128-\191]+)", function(lead, rest)
    local code = byte(lead)
    if code > 195 then return "?" end
    return char((code - 192) * 64 + byte(rest) - 128) .. sub(rest, 2)
  end))
end

local function broken(at, wanted)
  error({ wanted .. " expected at byte " .. at }, 0)
end

local function read_string(text, at)
  local stop = find(text, '["\\]', at) or broken(#text + 1, "end of a string")
  if byte(text, stop) == 34 then return narrow(sub(text, at, stop - 1)), stop + 1 end
  local pieces = {}
  while byte(text, stop) == 92 do
    pieces[#pieces + 1] = narrow(sub(text, at, stop - 1))
    local kind = sub(text, stop + 1, stop + 1)
    if kind == "u" then
      local code = tonumber(match(text, "^%x%x%x%x", stop + 2) or broken(stop + 2, "four hex digits"), 16)
      pieces[#pieces + 1] = code < 256 and char(code) or "?"
      at = stop + 6
    else
      pieces[#pieces + 1] = unescapes[kind] or broken(stop + 1, "an escape")
      at = stop + 2
    end
    stop = find(text, '["\\]', at) or broken(#text + 1, "end of a string")
  end
  pieces[#pieces + 1] = narrow(sub(text, at, stop - 1))
  return concat(pieces), stop + 1
end

local words = { t = { "true", true }, f = { "false", false }, n = { "null", nil } }

local function read(text, at, depth)
  at = find(text, "[^ \t\r\n]", at) or broken(#text + 1, "a value")
  local first = sub(text, at, at)
  if first == '"' then return read_string(text, at + 1) end
  if first == "{" or first == "[" then
    if depth > MAX_DEPTH + 10 then broken(at, "an end of nesting") end
    local result, is_list, count = {}, first == "[", 0
    local closing = is_list and 93 or 125
    at = find(text, "[^ \t\r\n]", at + 1) or broken(#text + 1, "a value")
    if byte(text, at) == closing then return result, at + 1 end
    while true do
      local key
      if is_list then
        count = count + 1
        key = count
      else
        at = find(text, "[^ \t\r\n]", at) or broken(#text + 1, "a key")
        if byte(text, at) ~= 34 then broken(at, "a key") end
        key, at = read_string(text, at + 1)
        at = match(text, "^[ \t\r\n]*:()", at) or broken(at, "a colon")
      end
      result[key], at = read(text, at, depth + 1)
      at = find(text, "[^ \t\r\n]", at) or broken(#text + 1, "a comma or an end")
      local mark = byte(text, at)
      at = at + 1
      if mark == closing then return result, at end
      if mark ~= 44 then broken(at - 1, "a comma or an end") end
    end
  end
  local word = words[first]
  if word then
    if sub(text, at, at + #word[1] - 1) ~= word[1] then broken(at, "a value") end
    return word[2], at + #word[1]
  end
  local digits, stop = match(text, "^(-?%d+%.?%d*[eE]?[+-]?%d*)()", at)
  local number = digits and tonumber(digits)
  if not number then broken(at, "a value") end
  return number, stop
end

-- The value of a JSON text; nil and what is wrong when it is none. null is nil.
function json.decode(text)
  local ok, value, at = pcall(read, text, 1, 1)
  if ok and find(text, "[^ \t\r\n]", at) then ok, value = false, { "the end expected at byte " .. at } end
  if ok then return value end
  return nil, type(value) == "table" and value[1] or tostring(value)
end

----------------------------------------------------------------------------------------------------
-- What the game says, and what it means
----------------------------------------------------------------------------------------------------

local function host_and_port(url)
  local scheme, rest = match(url, "^(%a+)://([^/?#]+)")
  if not rest then return nil end
  local host, port = match(rest, "^(%[[^%]]+%]):?(%d*)$")
  if not host then host, port = match(rest, "^([^:]+):?(%d*)$") end
  if not host then return nil end
  local six = match(host, "^%[(.*)%]$") -- a rule takes an IPv6 address as a network
  host = six and six .. "/128" or host
  return host, tonumber(port) or (scheme == "wss" and 443 or 80)
end

-- A sentence for a failure to connect, and whether trying again is no use.
local function explained(why)
  why = tostring(why or "no reason given")
  if find(why, "Domain not permitted", 1, true) then
    local host, port = host_and_port(skynet.server)
    return format("The game does not let computers connect to %s (Domain not permitted). The owner of the "
      .. "Minecraft server must add this to computercraft-server.toml, above the rule that denies $private:\n"
      .. '[[http.rules]]\n    host = "%s"\n    port = %d\n    action = "allow"', skynet.server, host or "?", port or 0), true
  elseif find(why, "Too many websockets", 1, true) then
    return "This computer has as many websockets open as the game allows (4 unless the owner says otherwise): "
      .. "end another program, or reboot", false
  elseif find(why, "Websocket connections are disabled", 1, true) then
    return "The game lets no computer open websockets: the owner must set websocket_enabled = true under [http] "
      .. "in computercraft-server.toml", true
  elseif find(why, "URL malformed", 1, true) or find(why, "Invalid scheme", 1, true)
    or find(why, "Invalid protocol", 1, true) or find(why, "Must specify", 1, true) then
    return format("%q is no address of a hub (%s): it should be like ws://HOST:4567/connect/. "
      .. "set skynet.server changes it", skynet.server, why), true
  elseif find(why, "404", 1, true) then
    return skynet.server .. " is not a hub's address (" .. why .. "): does it end in /connect/ ?", false
  end
  return "Cannot connect to " .. skynet.server .. ": " .. why, false
end

----------------------------------------------------------------------------------------------------
-- The connection. handle() may see an event once for each coroutine that waits here, and acts on it
-- once: each attempt has an address of its own, a timer is forgotten when it has fired, and a frame is
-- new to a coroutine when none was acted on since it asked for an event (two refusals may read alike).
----------------------------------------------------------------------------------------------------

local client = {
  state = "off", -- off, connecting, open, waiting (to come back), refused (does not come back)
  channels = {}, -- channel -> what is known of it
  order = {}, -- channels in the order of opening
  pending = {}, -- commands sent, in order; their answers come in the same order
  failures = 0,
  runners = 0,
  heard = 0,
  counter = 0,
  live = 0,
  feed = {},
  feed_bytes = 0,
  received = 0,
  sent = 0,
  dropped = 0,
}

local deliver -- what to do with a message; defined with the inbox
local feed, mark_feed -- messages as events; defined with listen()
local faces = { skynet } -- with os.loadAPI the program holds a copy of this table

local function show(key, value)
  for _, face in ipairs(faces) do face[key] = value end
end

local function face_of_program()
  local copy = rawget(_G, "skynet")
  if type(copy) == "table" and copy ~= skynet and copy.json == json and not faces[2] then faces[2] = copy end
  local given = faces[2] and faces[2].server
  if given and given ~= faces.server then skynet.server = given end
  faces.server = skynet.server
end

local function queue(...)
  os.queueEvent(...)
end

local function show_channels()
  local list = {}
  for _, name in ipairs(client.order) do
    if not client.channels[name].hidden then list[#list + 1] = name end
  end
  show("open_channels", list)
end

local function forget_channel(name)
  client.channels[name] = nil
  for index, other in ipairs(client.order) do
    if other == name then table.remove(client.order, index) break end
  end
  show_channels()
end

local function token()
  return format("%06x", math.random(0, 16777215))
end

-- Every program, and every attempt, has an address of its own: the game mixes up sockets that share one.
-- The number and a table's address tell computers apart that start in the same instant.
local program_mark = format("%x%x", os.getComputerID(), floor((os.epoch and os.epoch("utc") or clock() * 1000) % 4294967296))
  .. gsub(tostring({}), "%X", "") .. token()

local function header(text)
  if text == nil then return nil end
  text = sub(gsub(tostring(text), "[^\32-\126]", "?"), 1, 64)
  return text ~= "" and text or nil
end

local function send_frame(text)
  local socket = client.socket
  local ok, problem = pcall(socket.send, text)
  if ok then client.sent = client.sent + 1 end
  return ok, problem
end

-- Sends a command. `on_reply` is called with its answer, or with an error when none can come any more.
-- Messages in a row whose answers nobody waits for are one entry.
local function command(text, kind, nonce, on_reply)
  local ok, problem = send_frame(text)
  if not ok then return nil, problem end
  local pending = client.pending
  local entry = pending[#pending]
  if entry and entry.kind == kind and not (nonce or entry.nonce or on_reply or entry.on_reply) then
    entry.count = entry.count + 1
  else
    entry = { kind = kind, nonce = nonce, on_reply = on_reply, count = 1, at = clock() }
    pending[#pending + 1] = entry
  end
  return entry
end

local function complain(text, kind, channel)
  skynet.last_error = text
  queue("skynet_error", text, kind, channel)
end

local function next_nonce()
  client.counter = client.counter + 1
  return program_mark .. "-" .. client.counter
end

local function ping(on_reply)
  local nonce = next_nonce()
  return command(json.encode({ type = "ping", nonce = nonce }), "ping", nonce, on_reply or function() end)
end

-- The ID below every message of a millisecond and above all before it.
local function id_at(time)
  local digits = format("%04x%08x", floor(time / 4294967296) % 65536, time % 4294967296)
  return sub(digits, 1, 8) .. "-" .. sub(digits, 9, 12) .. "-7000-8000-000000000000"
end

-- Where a channel has been read to: the ID to catch up from.
local function read_to(channel)
  if channel.opened and client.last and client.live > channel.live then return client.last end
  return channel.last
end

local remember -- defined below; keeps what has been read across reboots

local function send_open(channel, options)
  local nonce = next_nonce()
  local name = channel.name
  local ask = { type = "open", channel = name, nonce = nonce }
  if not client.batching then
    ask.batch, ask.pace, client.batching = true, FRAMES_PER_SECOND, true
  end
  local everything = client.channels["*"]
  if channel.radio then
    options = nil -- what a modem missed is gone
  elseif name == "*" or not everything then
    -- With * open its own catch-up covers every channel.
    ask.since = channel.last or options and options.since
    if not ask.since then ask.last = options and options.last end
  elseif options then
    ask.since, ask.last = options.since, options.last
  end
  command(json.encode(ask), "open", nonce, function(reply)
    if reply.type == "result" then
      channel.opened, channel.live = true, client.live
      client.replaying = channel
      if reply.gap then queue("skynet_gap", name) end
    elseif not reply.lost then
      if client.channels[name] == channel then forget_channel(name) end
      channel.problem = reply.error
      complain(reply.error, "open", name)
    end
  end)
  if not channel.last and not ask.since and not channel.radio then
    -- Nothing was read here yet: note the hub's time, so that a lost connection loses nothing.
    ping(function(reply)
      if reply.time and not channel.last then
        channel.last = id_at(reply.time)
        remember(channel, channel.last)
      end
    end)
  end
end

local function come_back(why)
  client.state, client.why, client.was_lost = "waiting", why, true
  client.failures = client.failures + 1
  local longest = math.min(skynet.pause * 2 ^ (client.failures - 1), skynet.longest_pause)
  local pause = longest * (0.5 + math.random() / 2)
  client.retry_at = clock() + pause
  client.timer = os.startTimer(pause)
  queue("skynet_state", "waiting", why)
end

local function refused(why)
  client.state, client.why, client.timer = "refused", why, nil
  queue("skynet_state", "refused", why)
end

local function failed(why)
  local text, hopeless = explained(why)
  if hopeless then refused(text) else come_back(text) end
end

local function begin()
  face_of_program()
  client.timer = nil
  if not (http and http.websocketAsync) then
    return refused("This computer has no http.websocketAsync: http is switched off in the configuration of "
      .. "ComputerCraft, or the version is older than 1.80pr1.3")
  end
  client.counter = client.counter + 1
  client.state, client.tried = "connecting", skynet.server
  client.url = skynet.server .. (find(skynet.server, "?", 1, true) and "&" or "?")
    .. "socket=" .. program_mark .. client.counter
  client.deadline = clock() + CONNECT_SECONDS
  local headers = {
    ["Skynet-Name"] = header(skynet.name),
    ["Skynet-Computer-Id"] = header(os.getComputerID()),
    ["Skynet-Computer-Label"] = header(os.getComputerLabel()),
    ["Authorization"] = skynet.token and "Bearer " .. tostring(skynet.token) or nil,
  }
  local ok, started, problem = pcall(http.websocketAsync, client.url, headers)
  if not ok then failed(started) elseif not started then failed(problem) end
end

local function set_socket(socket)
  client.socket = socket
  show("socket", socket)
end

local function opened(socket)
  client.state, client.why = "open", nil
  client.since, client.heard, client.asked = clock(), clock(), nil
  client.pending, client.replaying, client.last_frame, client.probing = {}, nil, nil, true
  client.batching = false
  set_socket(socket)
  -- A character that the game hands over as two bytes or as one, by its version.
  local nonce = next_nonce()
  command('{"type":"ping","nonce":"' .. nonce .. '\\u00e9"}', "ping", nonce .. "\233", function() end)
  local everything = client.channels["*"]
  if everything then send_open(everything) end
  for _, name in ipairs(client.order) do
    if name ~= "*" then
      local channel = client.channels[name]
      local options = channel.options
      channel.options = nil
      send_open(channel, options)
    end
  end
  if client.was_lost then queue("skynet_state", "open") end
  client.was_lost = false
end

local function settle(pending, why)
  for _, entry in ipairs(pending) do
    if entry.on_reply then entry.on_reply({ type = "error", error = why, lost = true }) end
  end
end

local function leave_socket()
  for _, channel in pairs(client.channels) do
    channel.last, channel.opened = read_to(channel), false
  end
  local pending = client.pending
  client.pending, client.replaying = {}, nil
  set_socket(nil)
  return pending
end

local function lost(why, code)
  if clock() - client.since >= STABLE_SECONDS then client.failures = 0 end
  local pending = leave_socket()
  why = why or "the connection broke"
  if code and code >= 4500 and code <= 4599 then
    refused(format("The hub closed the connection and does not want this program back (%d): %s", code, why))
  else
    come_back(code and format("%s (%d)", why, code) or why)
  end
  settle(pending, "the connection was lost before the answer came: " .. why)
end

local function drop(why)
  local socket = client.socket
  lost(why)
  pcall(socket.close)
end

local function on_reply(reply)
  local pending = client.pending
  for place, entry in ipairs(pending) do
    if (reply.nonce == nil or reply.nonce == entry.nonce) and (reply["for"] == nil or reply["for"] == entry.kind) then
      local passed = {}
      for _ = 1, place - 1 do passed[#passed + 1] = table.remove(pending, 1) end
      entry.count = entry.count - 1
      if entry.count == 0 then table.remove(pending, 1) end
      settle(passed, "its answer was lost: more than 256 events waited for this computer")
      if entry.on_reply then
        entry.on_reply(reply)
      elseif reply.type == "error" then
        complain(reply.error, entry.kind)
      end
      return
    end
  end
  if reply.type == "error" then complain(reply.error, reply["for"]) end
end

local function on_event(event)
  local kind = event.type
  if kind == "message" then
    if event.channel == nil then error("a message without a channel", 0) end
    client.received = client.received + 1
    if event.replay then
      local channel = client.replaying
      if channel then channel.last, channel.live = event.ID, client.live end
    else
      client.live, client.last = client.live + 1, event.ID
    end
    if event.dropped then queue("skynet_gap", event.channel) end
    deliver(event)
  elseif kind == "batch" then
    for _, one in ipairs(event.events or {}) do on_event(one) end
  elseif kind == "result" or kind == "error" then
    on_reply(event)
  elseif kind == "closed" then
    if client.channels[event.channel] then forget_channel(event.channel) end
    queue("skynet_closed", event.channel, event.reason)
  elseif kind == "gap" then
    queue("skynet_gap")
  end
end

-- All copies of this library on a computer share one table, and one function in place of the game's.
local stand = rawget(os, "_skynet_kept")
if not stand then
  stand = {
    kept = setmetatable({}, { __mode = "k" }), -- coroutine -> its events
    copies = setmetatable({}, { __mode = "v" }), -- what each copy does with an event
    frames = 0, -- how many were acted on
    asked_at = nil, -- what that was when the coroutine that handles an event asked for it
  }
  os._skynet_kept = stand
end

local function on_frame(text)
  local seen
  if stand.asked_at then
    seen = stand.asked_at ~= stand.frames
  else
    seen = text == client.last_frame -- a program's own loop: when it asked is not known
  end
  if seen then return end -- another coroutine has seen to it
  client.last_frame, stand.frames = text, stand.frames + 1
  client.heard, client.asked = clock(), nil
  if client.probing then
    -- The answer to the first ping: its character came as two bytes, or as one. A hub that does not know ping
    -- sends none back; then it is as in the game of today.
    client.probing = false
    is_utf8 = find(text, "\195\169", 1, true) ~= nil or not find(text, "\233", 1, true)
  end
  local event, problem = json.decode(text)
  if type(event) ~= "table" then
    complain("the hub sent what is no JSON: " .. tostring(problem))
  else
    client.in_frame = true
    local ok, fault = pcall(on_event, event)
    client.in_frame = false
    if not ok then complain("the hub sent what makes no sense: " .. tostring(fault)) end
    feed() -- what the frame brought, together
  end
end


-- Acts on an event of the game. True when it was ours and nobody else's.
local function handle(name, first, second, third)
  if name == "websocket_message" then
    if first == client.url and client.state == "open" then on_frame(second) end
  elseif name == "websocket_success" then
    if first == client.url and client.state == "connecting" then
      opened(second)
    elseif type(first) == "string" and find(first, program_mark, 1, true) and second ~= client.socket then
      pcall(second.close) -- it came after we had given up on it
    end
  elseif name == "websocket_failure" then
    if first == client.url and client.state == "connecting" then failed(second) end
  elseif name == "websocket_closed" then
    if first == client.url and client.state == "open" then lost(second, third) end
  elseif name == "timer" then
    if first == client.timer then
      client.timer = nil
      if client.state == "waiting" then begin() end
      return true
    elseif first == client.watch then
      client.watch, client.watch_fired = nil, true
      return true
    elseif first == client.fed_timer then
      client.fed_timer = nil
      return true
    elseif first == client.save_timer then
      client.save_timer = nil
      return true
    end
    return false
  elseif name == "skynet_fed" or name == "skynet_message" or name == "modem_message" then
    return feed(name, first, second, third)
  end
  return type(first) == "string" and find(name, "^websocket_") and find(first, program_mark, 1, true) ~= nil
end

local save_remembered

-- What time alone brings about; called whenever somebody is about to wait.
local function look_at_the_clock()
  local now = clock()
  if client.state == "waiting" and now >= client.retry_at then
    begin() -- its timer fired while nobody looked
  elseif client.state == "connecting" and now >= client.deadline then
    failed("no answer")
  end
  if client.state == "open" and client.watch_fired then
    if client.asked then
      drop("the hub does not answer any more")
    else
      -- The answer to a ping also settles what the game has lost the answers to.
      local oldest = client.pending[1]
      local since = oldest and math.min(oldest.at, client.heard) or client.heard
      if now - since >= skynet.quiet and ping() then client.asked = now end
    end
  end
  client.watch_fired = nil
  if client.state == "open" and (not client.watch or now > client.watch_at) then
    -- A timer that fired while nobody looked says nothing about the hub: ask anew.
    if client.watch then client.asked = nil end
    client.watch, client.watch_at = os.startTimer(skynet.quiet), now + skynet.quiet + 5
  end
  if client.markers and now - client.fed_at > FEED_SECONDS then mark_feed() end
  save_remembered(now)
end

----------------------------------------------------------------------------------------------------
-- Waiting. Events that are not ours are kept for the coroutine that pulled them here, and come out
-- of its next os.pullEvent, in order, before new ones. Other coroutines had their own copies.
----------------------------------------------------------------------------------------------------

stand.copies[program_mark] = handle

-- An event that one copy pulls may be another's.
local function handled_by_any(event)
  if handle(unpack(event, 1, 4)) then return true end
  for mark, other in pairs(stand.copies) do
    if mark ~= program_mark then
      local ok, theirs = pcall(other, unpack(event, 1, 4))
      if ok and theirs then return true end
    end
  end
end

local inputs = { char = true, key = true, key_up = true, paste = true, mouse_click = true, mouse_up = true,
  mouse_drag = true, mouse_scroll = true, monitor_touch = true }

local function coroutine_here()
  return coroutine.running() or stand
end

local function next_kept(here, filter)
  local list = stand.kept[here]
  while list do
    local event = table.remove(list, 1)
    if not list[1] then list, stand.kept[here] = nil, nil end
    local stale = inputs[event[1]] and clock() - event.at > INPUT_SECONDS
    -- Like the game, a filter passes over what does not fit.
    if not stale and (filter == nil or event[1] == filter or event[1] == "terminate") then return event end
  end
end

local function stand_aside()
  -- When another program has put a function over ours, ours stays and passes on.
  if next(stand.kept) == nil and stand.pull and os.pullEventRaw == stand.pull then
    os.pullEventRaw, stand.pull = stand.before, nil
  end
end

local function stand_in()
  if stand.pull then return end
  local before = os.pullEventRaw
  stand.before = before
  function stand.pull(filter)
    local event = next_kept(coroutine_here(), filter)
    stand_aside()
    if event then return unpack(event, 1, event.n) end
    return before(filter)
  end
  os.pullEventRaw = stand.pull
end

local function keep(event)
  local here = coroutine_here()
  local list = stand.kept[here] or {}
  stand.kept[here] = list
  if #list >= KEPT_EVENTS then
    client.dropped = client.dropped + 1
    return
  end
  event.at = clock()
  list[#list + 1] = event
  stand_in()
end

-- The game's next event, past those that are kept.
local function pull()
  if not stand.pull then return os.pullEventRaw() end
  if os.pullEventRaw == stand.pull then return stand.before() end
  return coroutine.yield()
end

-- Waits until `test` gives something but nil, or for `timeout` seconds; then gives what it gave.
-- `others` gets every event that is not ours.
local function wait(test, timeout, others)
  local timer = timeout and os.startTimer(timeout)
  while true do
    look_at_the_clock()
    local value = test()
    if value ~= nil then
      if timer and os.cancelTimer then os.cancelTimer(timer) end
      return value
    end
    local asked_at = stand.frames
    local event = pack(pull())
    if event[1] == "terminate" then error("Terminated", 0) end
    if event[1] == "timer" and event[2] == timer and timer then return test() end
    stand.asked_at = asked_at
    if not handled_by_any(event) then others(event) end
  end
end

local function ignore() end

-- Seconds until a moment of os.clock(); nil when there is none.
local function left(deadline)
  return deadline and math.max(0, deadline - clock())
end

local function check_timeout(timeout, level)
  if timeout ~= nil and (type(timeout) ~= "number" or not (timeout >= 0 and timeout < math.huge)) then
    error("bad timeout (seconds or nil expected, got " .. tostring(timeout) .. ")", level + 1)
  end
end

local function check_channel(channel, level)
  local kind = type(channel)
  if kind == "string" then
    if #channel <= 255 then return end
    error(format("bad channel (a name of %d bytes; 255 at most)", #channel), level + 1)
  elseif kind == "number" then
    if channel == channel and channel ~= math.huge and channel ~= -math.huge then return end
    error("bad channel (" .. tostring(channel) .. " is no finite number)", level + 1)
  end
  error("bad channel (string or number expected, got " .. kind .. ")", level + 1)
end

local function stop(why)
  local socket = client.socket
  client.state, client.why, client.timer, client.watch, client.failures = "off", why, nil, nil, 0
  local pending = leave_socket()
  if socket then pcall(socket.close) end
  settle(pending, "disconnected before the answer came")
end

local CONNECTED, HOPELESS = "connected", "hopeless"

-- Connects, or errors. When nothing else keeps the connection (run, listen), one failure is enough.
-- Who is `patient` gets false after the timeout, and the attempt goes on.
local function connect_now(timeout, patient)
  local tries = client.failures
  if client.state == "off" or client.state == "refused" or client.state == "waiting" then begin() end
  local result = wait(function()
    if client.state == "open" then return CONNECTED end
    if client.state == "refused" then return HOPELESS end
    if client.state == "waiting" and client.runners == 0 and client.failures > tries then return HOPELESS end
  end, timeout or CONNECT_SECONDS, keep)
  if result == CONNECTED then return true end
  if patient and result == nil then return false end
  local why = client.why or "no answer from " .. skynet.server
  if client.state ~= "refused" and client.runners == 0 then stop(why) end
  error(why, 0)
end

local function ensure(timeout, patient)
  if client.state == "open" then return true end
  face_of_program()
  if client.state == "refused" and client.tried == skynet.server then error(client.why, 0) end
  if client.state == "refused" then client.state = "off" end
  if client.state == "off" then return connect_now(timeout, patient) end
  local result = wait(function()
    if client.state == "open" then return CONNECTED end
    if client.state == "refused" or client.state == "off" then return HOPELESS end
  end, timeout or CONNECT_SECONDS, keep)
  if result == CONNECTED then return true end
  if patient and result == nil then return false end
  error("Not connected: " .. (client.why or "no answer from " .. skynet.server), 0)
end

local function send_command(text, kind, nonce, on_reply, timeout)
  local deadline = timeout and clock() + timeout
  for _ = 1, 3 do
    ensure(left(deadline))
    local entry, problem = command(text, kind, nonce, on_reply)
    if entry then return entry end
    if find(tostring(problem), "too large", 1, true) then error(problem, 0) end
    -- The game knows that the socket is closed, and its event has not come to us yet.
    if client.state == "open" then drop("the connection broke") end
  end
  error("Not connected: " .. (client.why or "the connection breaks again and again"), 0)
end

-- Sends a command and waits for its answer: a result, or nil and the error, which tells of `told`
-- seconds where some of them have gone by before.
local function ask(text, kind, nonce, timeout, told)
  timeout = timeout or CONNECT_SECONDS
  local deadline = clock() + timeout
  local answer
  send_command(text, kind, nonce, function(reply) answer = reply end, timeout)
  wait(function() return answer end, left(deadline), keep)
  if not answer then return nil, format("no answer within %g s", told or timeout) end
  if answer.type == "error" then return nil, answer.error end
  return answer
end

----------------------------------------------------------------------------------------------------
-- Remembering across reboots what has been read
----------------------------------------------------------------------------------------------------

local REMEMBERED = "/.skynet/"

local function remembered_path(name)
  return REMEMBERED .. gsub(name, "[^%w_-]", function(one) return format("%%%02x", byte(one)) end)
end

local function remembered(channel)
  local path = remembered_path(channel.remember)
  if not fs.exists(path) then return nil end
  local file = fs.open(path, "r")
  if not file then return nil end
  local text = file.readAll()
  file.close()
  local value = json.decode(text or "")
  if type(value) == "table" and value.server == skynet.server and value.channel == channel.name then return value.ID end
end

function remember(channel, id)
  if not channel.remember or channel.remembered == id then return end
  channel.remembered, channel.unsaved = id, true
  if not client.save_timer then client.save_timer, client.save_at = os.startTimer(1), clock() + 1 end
end

local function write_remembered(channel)
  local path = remembered_path(channel.remember)
  local file, problem = fs.open(path .. ".new", "w")
  if not file then error(problem, 0) end
  local written, reason = pcall(file.write,
    json.encode({ server = skynet.server, channel = channel.name, ID = channel.remembered }))
  local closed, late = pcall(file.close)
  if not (written and closed) then
    pcall(fs.delete, path .. ".new")
    error(reason or late, 0)
  end
  if fs.exists(path) then fs.delete(path) end
  fs.move(path .. ".new", path)
end

function save_remembered(now)
  if not client.save_at or now < client.save_at and client.save_timer then return end
  client.save_at, client.save_timer = nil, nil
  for _, channel in pairs(client.channels) do
    if channel.unsaved then
      channel.unsaved = false
      -- A full disk is an error of write or close, and no reason to end a program.
      local ok, problem = pcall(write_remembered, channel)
      if not ok then
        complain("cannot remember what was read on " .. tostring(channel.name) .. ": " .. tostring(problem))
      end
    end
  end
end

local function handed_over(message)
  local channel = client.channels[message.channel]
  if channel then remember(channel, message.ID) end
  channel = client.channels["*"]
  if channel then remember(channel, message.ID) end
end

----------------------------------------------------------------------------------------------------
-- The inbox of receive(). A message waits until a program takes it; coroutines that wait for the
-- same channel each get it, as each would get an event.
----------------------------------------------------------------------------------------------------

local inbox = { lists = {}, seq = 0, count = 0, bytes = 0 }
local readers = setmetatable({}, { __mode = "k" }) -- coroutine -> what it has asked for

local function wanted_by_others(entry, name)
  for thread, reader in pairs(readers) do
    if (reader.any or reader.channels[name]) and entry.seq > reader.joined and not entry.by[thread]
      and (type(thread) ~= "thread" or coroutine.status(thread) ~= "dead") then
      return true
    end
  end
  return false
end

local function pop_front(list)
  local entry = list[list.first]
  list[list.first] = nil
  list.first = list.first + 1
  inbox.count, inbox.bytes = inbox.count - 1, inbox.bytes - entry.bytes
  return entry
end

local function tidy(name, list)
  while list.first <= list.last do
    local entry = list[list.first]
    if not entry.by or (list.last - list.first < KEPT_EVENTS and wanted_by_others(entry, name)) then break end
    pop_front(list)
  end
  if list.first > list.last then inbox.lists[name] = nil end
end

local function drop_oldest()
  local oldest_name, oldest
  for name, list in pairs(inbox.lists) do
    if not oldest or list[list.first].seq < oldest[oldest.first].seq then oldest_name, oldest = name, list end
  end
  local entry = pop_front(oldest)
  if not entry.by then
    client.dropped = client.dropped + 1
    if not inbox.told then
      inbox.told = true
      queue("skynet_gap", oldest_name)
    end
  end
  if oldest.first > oldest.last then inbox.lists[oldest_name] = nil end
end

local function size_of(value, depth)
  local kind = type(value)
  if kind == "string" then return #value + 16 end
  if kind ~= "table" or depth > MAX_DEPTH then return 16 end
  local bytes = 56
  for key, item in pairs(value) do bytes = bytes + size_of(key, depth + 1) + size_of(item, depth + 1) end
  return bytes
end

local function put(message)
  inbox.seq = inbox.seq + 1
  local name = message.channel
  local list = inbox.lists[name]
  if not list then
    list = { first = inbox.seq, last = inbox.seq - 1 }
    inbox.lists[name] = list
  end
  local entry = { seq = inbox.seq, message = message, bytes = size_of(message, 1) }
  list.last = list.last + 1
  list[list.last] = entry
  inbox.count, inbox.bytes = inbox.count + 1, inbox.bytes + entry.bytes
  while inbox.count > 1 and (inbox.count > INBOX_MESSAGES or inbox.bytes > INBOX_BYTES) do drop_oldest() end
end

-- The first message in a list that a reader has not had, and its place.
local function first_for(reader, thread, name, list)
  local at = math.max(list.first, reader.at[list] or list.first)
  while at <= list.last do
    local entry = list[at]
    local had = entry.by and (entry.by[thread] or entry.seq <= reader.joined)
    if not had then
      reader.at[list] = at
      return entry
    end
    at = at + 1
  end
  reader.at[list] = at
end

local function take(name)
  local thread = coroutine_here()
  local reader = readers[thread]
  if not reader then
    reader = { joined = inbox.seq, channels = {}, at = setmetatable({}, { __mode = "k" }) }
    readers[thread] = reader
  end
  local entry, from, list
  if name == nil then
    reader.any = true
    for other, candidate in pairs(inbox.lists) do
      local first = first_for(reader, thread, other, candidate)
      if first and (not entry or first.seq < entry.seq) then entry, from, list = first, other, candidate end
    end
  else
    reader.channels[name] = true
    from, list = name, inbox.lists[name]
    entry = list and first_for(reader, thread, name, list)
  end
  if not entry then return nil end
  inbox.told = false
  entry.by = entry.by or setmetatable({}, { __mode = "k" })
  entry.by[thread] = true
  tidy(from, list)
  handed_over(entry.message)
  return entry.message
end

----------------------------------------------------------------------------------------------------
-- listen(): messages as skynet_message events. The game's queue holds 256 and drops what comes
-- beyond, so only some are in it at a time: behind them a marker, which comes out when they have.
----------------------------------------------------------------------------------------------------

-- A marker may be lost to a full queue, so another follows after a while: any of them will do.
function mark_feed()
  local marker = next_nonce()
  client.markers[marker] = true
  client.fed_at, client.fed_timer = clock(), os.startTimer(FEED_SECONDS + 1)
  queue("skynet_fed", marker)
end

local function feed_more()
  local waiting = client.feed
  if client.markers or #waiting == 0 then return end
  local sent, rest = {}, {}
  for index, event in ipairs(waiting) do
    if index <= FEED_AT_ONCE then
      sent[index] = event
      client.feed_bytes = client.feed_bytes - event.bytes
      queue(unpack(event, 1, event.n))
    else
      rest[#rest + 1] = event
    end
  end
  client.feed, client.in_queue, client.seen, client.markers = rest, sent, 0, {}
  if not rest[1] then client.feed_told = false end
  mark_feed()
end

function feed(name, first, second, third)
  if name == nil then return feed_more() end
  if name == "skynet_fed" then
    if client.markers and client.markers[first] then
      -- What was queued and not seen to come out was dropped by the game: once more.
      local again = {}
      for index = client.seen + 1, #client.in_queue do
        again[#again + 1] = client.in_queue[index]
        client.feed_bytes = client.feed_bytes + client.in_queue[index].bytes
      end
      for _, event in ipairs(client.feed) do again[#again + 1] = event end
      client.feed, client.markers, client.in_queue = again, nil, nil
      feed_more()
      return true
    end
    return find(tostring(first), program_mark, 1, true) ~= nil
  end
  local expected = client.in_queue and client.in_queue[client.seen + 1]
  if expected and expected[1] == name then
    local same
    if name == "skynet_message" then
      same = type(third) == "table" and third.ID == expected[4].ID
    else
      same = first == expected[2] and second == expected[3] and third == expected[4]
    end
    if same then
      client.seen = client.seen + 1
      if name == "skynet_message" then handed_over(expected[4]) end
    end
  end
  return false
end

local function offer(...)
  local waiting, event = client.feed, pack(...)
  event.bytes = size_of(event[4], 1) + size_of(event[5], 1) -- the message is in one of them
  waiting[#waiting + 1] = event
  client.feed_bytes = client.feed_bytes + event.bytes
  while waiting[2] and (#waiting > INBOX_MESSAGES or client.feed_bytes > INBOX_BYTES) do
    local gone = table.remove(waiting, 1)
    client.feed_bytes = client.feed_bytes - gone.bytes
    client.dropped = client.dropped + 1
    if gone[1] == "skynet_message" and not client.feed_told then
      client.feed_told = true
      queue("skynet_gap", gone[2])
    end
  end
  if not client.in_frame then feed_more() end
end

local hooks = {} -- channel -> function(message): true when it has taken it

function deliver(message)
  local hook = hooks[message.channel]
  if hook and hook(message) then return end
  local channel = client.channels[message.channel]
  if channel and channel.hidden and not client.channels["*"] then return end
  if client.listening then offer("skynet_message", message.channel, message.message, message) end
  if not client.listening or next(readers) then put(message) end
end

----------------------------------------------------------------------------------------------------
-- The library
----------------------------------------------------------------------------------------------------

-- Connects; `force` drops a connection there is. Needed by nobody: the others do it by themselves.
function skynet.connect(force, timeout)
  check_timeout(timeout, 2)
  if client.state == "open" then
    if not force then return true end
    stop()
  end
  return connect_now(timeout)
end

-- Closes the connection and stays away until the next use. Open channels are opened again then.
function skynet.disconnect()
  client.save_at = client.save_at and 0
  save_remembered(clock())
  stop()
end

local function open_channel(name, options, hidden, timeout)
  local channel = client.channels[name]
  if channel then
    if options and (options.since or options.last) then
      error("channel " .. tostring(name) .. " is open already: last and since only work when it is opened", 0)
    end
    return channel
  end
  channel = { name = name, live = client.live, hidden = hidden, remember = options and options.remember }
  if channel.remember == true then channel.remember = "channel " .. tostring(name) end
  if channel.remember then channel.last = remembered(channel) end
  local first = channel.last or options and options.since
  local connected = client.state == "open"
  client.channels[name] = channel
  client.order[#client.order + 1] = name
  if connected then
    send_open(channel, options)
  else
    channel.options = options
    local ok, problem = pcall(ensure, timeout, timeout ~= nil)
    if not ok then
      forget_channel(name)
      error(problem, 0)
    end
  end
  show_channels()
  return channel, first
end

-- Opens a channel; does not wait for the hub. Options: last = N and since = ID ask for messages of
-- before; remember = true or a name keeps across reboots what has been read.
function skynet.open(channel, options)
  check_channel(channel, 2)
  if options ~= nil and type(options) ~= "table" then error("bad options (table expected, got " .. type(options) .. ")", 2) end
  open_channel(channel, options)
  return true
end

-- Closes a channel. False when it was not open.
function skynet.close(channel)
  check_channel(channel, 2)
  if not client.channels[channel] then return false end
  forget_channel(channel)
  if client.state == "open" then
    local nonce = next_nonce()
    command(json.encode({ type = "close", channel = channel, nonce = nonce }), "close", nonce, function() end)
  end
  return true
end

local function commas(number)
  local text = tostring(number)
  repeat
    local count
    text, count = gsub(text, "^(%d+)(%d%d%d)", "%1,%2")
  until count == 0
  return text
end

local function message_text(channel, data, full)
  local object = {}
  for key, value in pairs(full or {}) do object[key] = value end
  object.type, object.message, object.channel = "message", data, channel
  local text = json.encode(object)
  if #text > 100000 then
    local _, high = gsub(text, "\\u00[89a-f]%x", "")
    local bytes = #text - 4 * high + STAMP_BYTES
    if bytes > EVENT_BYTES then
      error(format("the message is too large: %s bytes as JSON with its ID and time; the hub takes %s at most",
        commas(bytes), commas(EVENT_BYTES)), 0)
    end
    if #text > FRAME_BYTES then
      error(format("the message is too large: %s bytes on its way to the hub, where a byte from 128 up takes six; "
        .. "the game sends %s at most", commas(#text), commas(FRAME_BYTES)), 0)
    end
  end
  return text
end

-- Sends `data` to a channel, with the keys of `full` beside it; does not wait for the answer. What
-- the hub refuses comes as an event: "skynet_error", text.
function skynet.send(channel, data, full)
  check_channel(channel, 2)
  if full ~= nil and type(full) ~= "table" then error("bad full (table expected, got " .. type(full) .. ")", 2) end
  send_command(message_text(channel, data, full), "message")
  return true
end

-- The answer to a message is known by its place alone, and the game drops answers when more than 256
-- events wait: so answers that may be missing are settled first, by a ping, whose own one is known.
local function settle_before(deadline)
  local open_ones = false
  for _, entry in ipairs(client.pending) do open_ones = open_ones or not entry.nonce end
  local answered = not open_ones
  while not answered and client.state == "open" and clock() < deadline do
    if not ping(function() answered = true end) then return end
    wait(function() return answered or client.state ~= "open" or nil end, math.min(1, left(deadline)), keep)
  end
end

-- Like send, and waits until the hub has it: gives the message with its ID and time, or nil and why not.
function skynet.publish(channel, data, full, timeout)
  check_channel(channel, 2)
  check_timeout(timeout, 2)
  local text = message_text(channel, data, full)
  local deadline = clock() + (timeout or CONNECT_SECONDS)
  settle_before(deadline)
  return ask(text, "message", nil, left(deadline), timeout or CONNECT_SECONDS)
end

-- Waits for a message: channel, message, full. Opens the channel if need be; without one (or "*")
-- any message will do. nil, "timeout" when none came within `timeout` seconds.
function skynet.receive(channel, timeout)
  check_timeout(timeout, 2)
  local deadline = timeout and clock() + timeout
  local opened_channel
  if channel ~= nil then
    check_channel(channel, 2)
    opened_channel = open_channel(channel, nil, nil, timeout)
    if channel == "*" then channel = nil end
  end
  -- While the connection comes back, what has come is given, and then what it brings.
  if client.state == "off" or client.state == "refused" then ensure(left(deadline), timeout ~= nil) end
  local message = wait(function()
    local found = take(channel)
    if found then return found end
    if client.state == "refused" then error(client.why, 0) end
    if opened_channel and opened_channel.problem then error(opened_channel.problem, 0) end
    if client.state == "off" then error("disconnected while waiting for a message", 0) end
  end, left(deadline), keep)
  if not message then return nil, "timeout" end
  return message.channel, message.message, message
end

local function keep_connected()
  client.runners = client.runners + 1
  local ok, problem = pcall(function()
    if client.state == "off" then begin() end
    return wait(function()
      if client.state == "refused" then error(client.why, 0) end
      if client.state == "off" then return true end
    end, nil, ignore)
  end)
  client.runners = client.runners - 1
  if not ok then error(problem, 0) end
end

-- Keeps the connection, beside a program: parallel.waitForAny(skynet.run, main), or skynet.run(main).
-- Comes back as often as need be; errors when the hub does not want it, ends after disconnect().
function skynet.run(...)
  if select("#", ...) == 0 then return keep_connected() end
  parallel.waitForAny(keep_connected, ...)
end

-- Like run, and turns messages into events: "skynet_message", channel, message, full.
function skynet.listen(force)
  local first = not client.listening or force
  if first then client.listening = true end
  local ok, problem = pcall(keep_connected)
  if first then client.listening = false end
  if not ok then error(problem, 0) end
end

-- The log, newest first: entries from `start` up to `end_` (0 and 100), of one channel if you name it.
function skynet.logs(start, end_, channel, timeout)
  check_timeout(timeout, 2)
  if channel ~= nil then check_channel(channel, 2) end
  local entries, got = {}, {}
  local from = start
  while true do
    local nonce = next_nonce()
    local reply, problem = ask(json.encode({ type = "log", start = from, ["end"] = end_, channel = channel, nonce = nonce }),
      "log", nonce, timeout)
    if not reply then error(problem, 0) end
    for _, entry in ipairs(reply.log or {}) do
      -- What came in since the piece before has moved entries into this one.
      if entry.ID == nil or not got[entry.ID] then entries[#entries + 1] = entry end
      if entry.ID ~= nil then got[entry.ID] = true end
    end
    if not reply.truncated or not reply.next then return entries end
    from = reply.next
  end
end

-- Asks the hub whether it is there: seconds for the way there and back, and its time in milliseconds.
function skynet.ping(timeout)
  check_timeout(timeout, 2)
  local nonce = next_nonce()
  ensure(timeout)
  local from = clock()
  local reply, problem = ask(json.encode({ type = "ping", nonce = nonce }), "ping", nonce, timeout)
  if not reply then return nil, problem end
  return clock() - from, reply.time
end

-- A sleep that loses nothing: messages are taken in, and other events kept for the next pullEvent.
function skynet.sleep(seconds)
  check_timeout(seconds, 2)
  wait(function() end, seconds or 0, keep)
end

-- For programs with an event loop of their own: give it every event; true when it was the library's.
function skynet.handle(...)
  look_at_the_clock()
  stand.asked_at = nil
  return handle(...) and true or false
end

-- What there is to know.
function skynet.status()
  local channels = {}
  for index, name in ipairs(skynet.open_channels) do channels[index] = name end
  return { state = client.state, why = client.why, server = skynet.server, channels = channels,
    received = client.received, sent = client.sent, dropped = client.dropped, waiting = inbox.count }
end

----------------------------------------------------------------------------------------------------
-- Asking and answering
----------------------------------------------------------------------------------------------------

local asked = {}

local function reply_channel(timeout)
  if not client.replies then
    client.replies = "skynet.reply." .. program_mark
    hooks[client.replies] = function(message)
      local slot = asked[message.answer]
      if slot then slot.answer = message end
      return true
    end
  end
  open_channel(client.replies, nil, true, timeout)
  return client.replies
end

-- Asks whoever serves a channel: the answer and its message, or nil and why not (after 5 seconds).
function skynet.request(channel, data, timeout)
  check_channel(channel, 2)
  check_timeout(timeout, 2)
  timeout = timeout or 5
  local deadline = clock() + timeout
  local replies = reply_channel(timeout)
  local id = next_nonce()
  local slot = {}
  asked[id] = slot
  local ok, problem = pcall(function()
    send_command(message_text(channel, data, { request = id, reply_to = replies }), "message", nil, function(reply)
      if reply.type == "error" and not reply.lost then slot.problem = reply.error end
    end, left(deadline))
    wait(function() return slot.answer or slot.problem end, left(deadline), keep)
  end)
  asked[id] = nil
  if not ok then error(problem, 0) end
  if slot.problem then return nil, slot.problem end
  if not slot.answer then return nil, format("no answer within %g s", timeout) end
  if slot.answer.failed ~= nil then return nil, tostring(slot.answer.failed) end
  return slot.answer.message, slot.answer
end

-- Answers requests on a channel with what `handler(data, full)` gives; errors of it are answered too.
-- Handlers may wait: up to 16 of them run side by side.
function skynet.serve(channel, handler)
  check_channel(channel, 2)
  if type(handler) ~= "function" then error("bad handler (function expected, got " .. type(handler) .. ")", 2) end
  if hooks[channel] then error("channel " .. tostring(channel) .. " is served already", 2) end
  local waiting, working = {}, {}

  local function answer(request, fields, data)
    fields.answer = request.request
    local ok, text = pcall(message_text, request.reply_to, data, fields)
    if not ok then text = message_text(request.reply_to, nil, { answer = request.request, failed = text }) end
    if client.state == "open" then command(text, "message") end
  end

  local function go_on(work, ...)
    local result = pack(coroutine.resume(work.thread, ...))
    if not result[1] then
      answer(work.request, { failed = tostring(result[2]) })
    elseif coroutine.status(work.thread) == "dead" then
      answer(work.request, {}, result[2])
    else
      work.filter = result[2]
    end
  end

  local function start_waiting()
    while waiting[1] and #working < HANDLERS_AT_ONCE do
      local request = table.remove(waiting, 1)
      local work = { thread = coroutine.create(handler), request = request }
      go_on(work, request.message, request)
      if coroutine.status(work.thread) ~= "dead" then working[#working + 1] = work end
    end
  end

  local function hand_on(event)
    local still = {}
    for _, work in ipairs(working) do
      if work.filter == nil or work.filter == event[1] then go_on(work, unpack(event, 1, event.n)) end
      if coroutine.status(work.thread) ~= "dead" then still[#still + 1] = work end
    end
    working = still
  end

  hooks[channel] = function(message)
    if message.request == nil or message.reply_to == nil then return false end
    if not pcall(check_channel, message.reply_to, 1) then return true end
    if #waiting >= REQUESTS_WAITING then
      answer(message, { failed = "too many requests are waiting" })
    else
      waiting[#waiting + 1] = message
    end
    return true
  end
  client.runners = client.runners + 1
  local ok, problem = pcall(function()
    open_channel(channel)
    while true do
      wait(function()
        start_waiting()
        if client.state == "refused" then error(client.why, 0) end
        if client.state == "off" then return true end
        if working[1] then return false end
      end, nil, ignore)
      if client.state == "off" then return end
      -- Handlers see every event, ours too: they may use the library.
      while working[1] do
        look_at_the_clock()
        local asked_at = stand.frames
        local event = pack(pull())
        if event[1] == "terminate" then error("Terminated", 0) end
        stand.asked_at = asked_at
        handle(unpack(event, 1, 4))
        hand_on(event)
        start_waiting()
      end
    end
  end)
  client.runners = client.runners - 1
  hooks[channel] = nil
  if not ok then error(problem, 0) end
end

----------------------------------------------------------------------------------------------------
-- The modem: transmit and modem_message over the hub. A modem channel N is the hub's channel
-- "modem:N" ("modem:NETWORK:N" in a network of its own).
----------------------------------------------------------------------------------------------------

-- JSON has no lists with holes, no mixed keys and no NaN; modems carry them. What JSON cannot hold
-- becomes {"$pairs": [[key, value], ...]} or {"$number": "nan"}; a key that begins with $ gets another.
local function portable(value, depth)
  local kind = type(value)
  if kind == "number" then
    if value ~= value then return { ["$number"] = "nan" } end
    if value == math.huge then return { ["$number"] = "inf" } end
    if value == -math.huge then return { ["$number"] = "-inf" } end
    return value
  elseif kind ~= "table" then
    -- Functions and the like do not pass through the game's modems either.
    if kind == "string" or kind == "boolean" then return value end
    return nil
  end
  if depth > MAX_DEPTH / 3 then error("cannot transmit tables nested deeper than " .. MAX_DEPTH / 3 .. ", or in themselves", 0) end
  local length, plain, count = #value, true, 0
  for key in pairs(value) do
    count = count + 1
    if type(key) ~= "string" then plain = false end
  end
  local result = {}
  if count == 0 then return json.empty_object end
  if plain then
    for key, item in pairs(value) do
      if sub(key, 1, 1) == "$" then key = "$" .. key end
      result[key] = portable(item, depth + 1)
    end
    return next(result) == nil and json.empty_object or result
  end
  local list = count == length
  if list then
    for index = 1, length do
      result[index] = portable(value[index], depth + 1)
      if result[index] == nil then list = false break end
    end
    if list then return result end
  end
  local pairs_of = {}
  for key, item in pairs(value) do
    key, item = portable(key, depth + 1), portable(item, depth + 1)
    if key ~= nil and item ~= nil then pairs_of[#pairs_of + 1] = { key, item } end
  end
  return { ["$pairs"] = pairs_of }
end

local numbers = { nan = 0 / 0, inf = math.huge, ["-inf"] = -math.huge }

local function restored(value)
  if type(value) ~= "table" then return value end
  if value["$number"] then return numbers[value["$number"]] end
  local result = {}
  if type(value["$pairs"]) == "table" then
    for _, pair in ipairs(value["$pairs"]) do
      local key = type(pair) == "table" and restored(pair[1])
      if key ~= nil and key == key then result[key] = restored(pair[2]) end
    end
    return result
  end
  for key, item in pairs(value) do
    if type(key) == "string" and sub(key, 1, 2) == "$$" then key = sub(key, 2) end
    result[key] = restored(item)
  end
  return result
end

local modems = {} -- side -> modem
local radio = {} -- name of a channel -> side -> what takes a message there

-- rednet and modem programs reach peripherals through the functions of the peripheral API, by name.
-- These answer for our sides and pass on the rest.
local function stand_in_for_peripherals()
  local before = {}
  for name, call in pairs(peripheral) do before[name] = call end
  local function wrapped(side)
    local result = setmetatable({}, { __name = "peripheral", name = side, type = "modem",
      types = { "modem", modem = true } })
    for method, call in pairs(modems[side].methods) do result[method] = call end
    return result
  end
  function peripheral.getNames()
    local names = before.getNames()
    for side in pairs(modems) do names[#names + 1] = side end
    return names
  end
  function peripheral.isPresent(side)
    return modems[side] ~= nil or before.isPresent(side)
  end
  function peripheral.getType(side)
    if modems[side] then return "modem" end
    return before.getType(side)
  end
  if before.hasType then
    function peripheral.hasType(side, kind)
      if modems[side] then return kind == "modem" end
      return before.hasType(side, kind)
    end
  end
  function peripheral.getMethods(side)
    if not modems[side] then return before.getMethods(side) end
    local names = {}
    for method in pairs(modems[side].methods) do names[#names + 1] = method end
    return names
  end
  function peripheral.call(side, method, ...)
    if not modems[side] then return before.call(side, method, ...) end
    local call = modems[side].methods[method]
    if not call then error("No such method " .. tostring(method), 2) end
    return call(...)
  end
  function peripheral.wrap(side)
    if modems[side] then return wrapped(side) end
    return before.wrap(side)
  end
  return function()
    for name, call in pairs(before) do peripheral[name] = call end
  end
end

local restore_peripherals

-- A modem on a side that is not there ("skynet"), for rednet.open("skynet") and peripheral.wrap. It
-- works while run() or listen() runs beside it. Options: side, network (only modems of the same
-- network hear each other).
function skynet.modem(options)
  options = options or {}
  if type(options) ~= "table" then error("bad options (table expected, got " .. type(options) .. ")", 2) end
  local side = options.side or "skynet"
  if type(side) ~= "string" then error("bad side (string expected, got " .. type(side) .. ")", 2) end
  if modems[side] then return modems[side].methods end
  if peripheral.isPresent(side) then error("there is a peripheral on " .. side .. " already", 2) end
  local prefix = options.network and "modem:" .. tostring(options.network) .. ":" or "modem:"
  local is_open, count = {}, 0

  local function checked(channel)
    if type(channel) ~= "number" then error("bad argument (number expected, got " .. type(channel) .. ")", 3) end
    if not (channel >= 0 and channel <= 65535) then error("Expected number in range 0-65535", 3) end
    return floor(channel)
  end

  local function close_one(channel)
    if not is_open[channel] then return end
    is_open[channel], count = nil, count - 1
    local name = prefix .. channel
    radio[name][side] = nil
    if next(radio[name]) ~= nil then return end
    radio[name], hooks[name] = nil, nil
    skynet.close(name)
  end

  local methods = {}
  function methods.open(channel)
    channel = checked(channel)
    if is_open[channel] then return end
    if count >= MODEM_CHANNELS then error("Too many open channels", 2) end
    is_open[channel], count = true, count + 1
    local name = prefix .. channel
    radio[name] = radio[name] or {}
    radio[name][side] = function(reply, message)
      offer("modem_message", side, channel, reply, restored(message))
    end
    hooks[name] = function(message)
      -- A radio: what was said while nobody listened is gone.
      local reply = tonumber(message.reply)
      if not message.replay and reply and reply >= 0 and reply <= 65535 then
        for _, take in pairs(radio[name]) do take(floor(reply), message.message) end
      end
      return true
    end
    if client.channels[name] then return end
    -- Without a wait, since rednet may call from anywhere: run() opens it when it is connected.
    local channel = { name = name, live = client.live, hidden = true, radio = true }
    client.channels[name] = channel
    client.order[#client.order + 1] = name
    if client.state == "open" then send_open(channel) end
  end
  function methods.isOpen(channel)
    return is_open[checked(channel)] == true
  end
  function methods.close(channel)
    close_one(checked(channel))
  end
  function methods.closeAll()
    for channel in pairs(is_open) do close_one(channel) end
  end
  function methods.transmit(channel, reply, payload)
    channel, reply = checked(channel), checked(reply)
    local name = prefix .. channel
    local text = message_text(name, portable(payload, 1), { reply = reply })
    if client.state == "open" then command(text, "message") end
  end
  function methods.isWireless()
    return true
  end
  function methods.getNamesRemote()
    return {}
  end
  function methods.isPresentRemote()
    return false
  end

  modems[side] = { methods = methods }
  if not restore_peripherals then restore_peripherals = stand_in_for_peripherals() end
  queue("peripheral", side)
  return methods
end

-- Takes the modem of skynet.modem() away again.
function skynet.remove_modem(side)
  side = side or "skynet"
  local modem = modems[side]
  if not modem then return false end
  modem.methods.closeAll()
  modems[side] = nil
  if next(modems) == nil then
    restore_peripherals()
    restore_peripherals = nil
  end
  queue("peripheral_detach", side)
  return true
end

----------------------------------------------------------------------------------------------------
-- The programs
----------------------------------------------------------------------------------------------------

local function colour(name)
  if term.isColour and term.isColour() and colours then term.setTextColour(colours[name]) end
end

local function my_name()
  return skynet.name or os.getComputerLabel() or "computer " .. os.getComputerID()
end

local function one_line(value)
  local text
  if type(value) == "string" then
    text = value
  elseif value == nil then
    text = "(nothing)"
  else
    text = json.encode(value)
  end
  return (gsub(text, "%c", " "))
end

-- A channel as typed: 5 is the number, '5' in quotes the text. (The game's shell eats double quotes.)
local function typed_channel(word)
  local inner = match(word, "^'(.*)'$")
  if inner then return inner end
  return tonumber(word) or word
end

local commands = {}

-- One line to type in at the bottom, what is said above it.
local function chat_screen(channel)
  local typed, width, height = "", term.getSize()
  local screen = {}
  function screen.prompt()
    term.setCursorPos(1, height)
    term.clearLine()
    colour("yellow")
    local room = width - 3
    term.write("> " .. sub(typed, -room))
    colour("white")
    if term.setCursorBlink then term.setCursorBlink(true) end
  end
  function screen.say(text)
    term.setCursorPos(1, height)
    term.clearLine()
    repeat
      term.setCursorPos(1, height)
      term.write(sub(text, 1, width))
      text = sub(text, width + 1)
      term.scroll(1)
    until text == ""
    screen.prompt()
  end
  function screen.event(name, value)
    if name == "char" or name == "paste" then
      typed = typed .. value
    elseif name == "key" and keys and value == keys.backspace then
      typed = sub(typed, 1, -2)
    elseif name == "key" and keys and value == keys.enter then
      local line = typed
      typed = ""
      screen.prompt()
      return line
    elseif name == "term_resize" then
      width, height = term.getSize()
    else
      return nil
    end
    screen.prompt()
  end
  term.clear()
  screen.say("Channel " .. tostring(channel) .. ", as " .. my_name() .. ". /quit ends, /who asks who is here.")
  return screen
end

function commands.chat(word)
  local channel = typed_channel(word or "chat")
  local screen = chat_screen(channel)
  skynet.open(channel, { last = 10 })

  local function said(full)
    if full.ask == "who" then
      if not full.replay then skynet.send(channel, "is here", { from = my_name(), quiet = true }) end
    else
      screen.say("<" .. one_line(full.from or "?") .. "> " .. one_line(full.message))
    end
  end

  local function main()
    while true do
      local event = pack(os.pullEvent())
      local line = screen.event(event[1], event[2])
      if event[1] == "skynet_message" and event[2] == channel then
        said(event[4])
      elseif event[1] == "skynet_error" then
        screen.say("! " .. one_line(event[2]))
      elseif event[1] == "skynet_gap" then
        screen.say("! some messages were lost")
      elseif event[1] == "skynet_closed" then
        return "The owner closed the channel: " .. one_line(event[3])
      elseif event[1] == "skynet_state" and event[2] == "waiting" then
        screen.say("! " .. one_line(event[3]) .. "; coming back")
      elseif line == "/quit" then
        return
      elseif line == "/who" then
        skynet.send(channel, nil, { ask = "who", from = my_name() })
      elseif line and match(line, "%S") then
        local ok, problem = pcall(skynet.send, channel, line, { from = my_name() })
        screen.say(ok and "<" .. my_name() .. "> " .. line or "! " .. one_line(problem))
      end
    end
  end

  local ending
  parallel.waitForAny(skynet.listen, function() ending = main() end)
  term.clear()
  term.setCursorPos(1, 1)
  if ending then print(ending) end
end

function commands.tail(word)
  if not word then error("Which channel? skynet tail <channel>, or skynet tail * for all", 0) end
  local channel = typed_channel(word)
  skynet.open(channel, { last = 10 })
  while true do
    local name, message, full = skynet.receive(channel)
    colour("lightGrey")
    write(tostring(name) .. (full.from and " " .. one_line(full.from) or "") .. ": ")
    colour("white")
    print(one_line(message))
  end
end

function commands.send(word, ...)
  if not word or select("#", ...) == 0 then error("What, and where? skynet send <channel> <message>", 0) end
  local channel = typed_channel(word)
  local sent, problem = skynet.publish(channel, concat({ ... }, " "), { from = my_name() }, 10)
  if not sent then error(problem, 0) end
  print("Sent to " .. tostring(channel))
end

function commands.status()
  print("skynet " .. VERSION .. ", as " .. my_name() .. " (computer " .. os.getComputerID() .. ")")
  print("Hub: " .. skynet.server)
  print(skynet.token and "A token is set." or "No token is set.")
  skynet.connect()
  local seconds, time = skynet.ping(10)
  if not seconds then error(time, 0) end
  print(format("Connected; an answer takes %d ms.", floor(seconds * 1000 + 0.5)))
end

function commands.modem(...)
  local words = pack(...)
  local network
  if words[1] == "--network" then
    network = words[2]
    if not network then error("Which network? skynet modem --network <name> [program]", 0) end
    words = pack(select(3, ...))
  end
  skynet.connect()
  skynet.modem({ network = network })
  print('There is a modem on side "skynet": rednet.open("skynet")')
  local function beside()
    if words.n > 0 then
      shell.run(unpack(words, 1, words.n))
    else
      print("It works until you type exit. (skynet modem <program> runs one program with it.)")
      shell.run("shell")
    end
  end
  local ok, problem = pcall(parallel.waitForAny, skynet.run, beside)
  skynet.remove_modem()
  if not ok then error(problem, 0) end
end

function commands.version()
  print(VERSION)
end

function commands.help()
  print("skynet chat [channel]            talk")
  print("skynet tail <channel|*>          show what is said")
  print("skynet send <channel> <message>  say something")
  print("skynet status                    is the hub there?")
  print("skynet modem [program]           rednet over the hub")
  print("skynet version")
  print("Settings: set skynet.server, skynet.name, skynet.token")
end

local function run_program()
  local name = arguments[1] or "help"
  local program = commands[name]
  if not program then
    commands.help()
    error("There is no skynet " .. tostring(name), 0)
  end
  local ok, problem = pcall(program, unpack(arguments, 2, arguments.n))
  pcall(skynet.disconnect)
  if not ok then error(problem, 0) end
end

----------------------------------------------------------------------------------------------------
-- How this file was loaded
----------------------------------------------------------------------------------------------------

-- require gives a module's name and path, and has noted that it is loading it.
local required = type(arguments[1]) == "string" and arguments.n == 2 and environment.package ~= nil
  and type(environment.package.loaded) == "table" and environment.package.loaded[arguments[1]] ~= nil
local running = environment.shell and environment.shell.getRunningProgram and environment.shell.getRunningProgram()
local called = running and match(running, "[^/]*$")
if not required and (called == "skynet" or called == "skynet.lua") then
  run_program()
elseif environment ~= _G and not environment.shell and not required then
  -- os.loadAPI: what is in the environment becomes the API.
  for name, value in pairs(skynet) do environment[name] = value end
end

return skynet
