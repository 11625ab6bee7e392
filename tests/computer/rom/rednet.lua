-- rednet: messages by the number of a computer, over every open modem. run() is beside the shell
-- from the start, as in the game.
rednet = { CHANNEL_BROADCAST = 65535, CHANNEL_REPEAT = 65533, MAX_ID_CHANNELS = 65500 }

local received, hosted = {}, {}

local function own_channel() return os.getComputerID() % rednet.MAX_ID_CHANNELS end

local function check_modem(name)
  if peripheral.getType(name) ~= "modem" then error("No such modem: " .. name, 3) end
end

function rednet.open(name)
  check_modem(name)
  peripheral.call(name, "open", own_channel())
  peripheral.call(name, "open", rednet.CHANNEL_BROADCAST)
end

function rednet.close(name)
  check_modem(name)
  peripheral.call(name, "close", own_channel())
  peripheral.call(name, "close", rednet.CHANNEL_BROADCAST)
end

function rednet.isOpen(name)
  if name then
    return peripheral.getType(name) == "modem" and peripheral.call(name, "isOpen", own_channel())
      and peripheral.call(name, "isOpen", rednet.CHANNEL_BROADCAST)
  end
  for _, one in ipairs(peripheral.getNames()) do
    if rednet.isOpen(one) then return true end
  end
  return false
end

function rednet.send(recipient, message, protocol)
  local id = math.random(1, 2147483647)
  received[id] = true
  local packet = { nMessageID = id, nRecipient = recipient, nSender = os.getComputerID(),
    message = message, sProtocol = protocol }
  if recipient == os.getComputerID() then
    os.queueEvent("rednet_message", recipient, message, protocol)
    return true
  end
  local sent = false
  local channel = recipient == rednet.CHANNEL_BROADCAST and recipient or recipient % rednet.MAX_ID_CHANNELS
  for _, name in ipairs(peripheral.getNames()) do
    if rednet.isOpen(name) then
      peripheral.call(name, "transmit", channel, own_channel(), packet)
      peripheral.call(name, "transmit", rednet.CHANNEL_REPEAT, own_channel(), packet)
      sent = true
    end
  end
  return sent
end

function rednet.broadcast(message, protocol) rednet.send(rednet.CHANNEL_BROADCAST, message, protocol) end

function rednet.receive(protocol, timeout)
  if type(protocol) == "number" and timeout == nil then protocol, timeout = nil, protocol end
  local timer = timeout and os.startTimer(timeout)
  while true do
    local event, sender, message, kind = os.pullEvent()
    if event == "rednet_message" and (protocol == nil or protocol == kind) then return sender, message, kind end
    if event == "timer" and sender == timer and timer then return nil end
  end
end

function rednet.host(protocol, hostname) hosted[protocol] = hostname end

function rednet.lookup(protocol, hostname)
  local found = {}
  rednet.broadcast({ sType = "lookup", sProtocol = protocol, sHostname = hostname }, "dns")
  local timer = os.startTimer(2)
  while true do
    local event, first, message, kind = os.pullEvent()
    if event == "rednet_message" and kind == "dns" and type(message) == "table"
      and message.sType == "lookup response" and message.sProtocol == protocol then
      if message.sHostname == hostname then return first end
      found[#found + 1] = first
    elseif event == "timer" and first == timer then
      if hostname then return nil end
      return table.unpack(found)
    end
  end
end

function rednet.run()
  while true do
    local event, side, channel, reply, message = os.pullEventRaw()
    if event == "modem_message" and (channel == own_channel() or channel == rednet.CHANNEL_BROADCAST) then
      if type(message) == "table" and type(message.nMessageID) == "number" and not received[message.nMessageID]
        and (message.nRecipient == os.getComputerID() or channel == rednet.CHANNEL_BROADCAST)
        and rednet.isOpen(side) then
        received[message.nMessageID] = true
        os.queueEvent("rednet_message", message.nSender or reply, message.message, message.sProtocol)
      end
    elseif event == "rednet_message" then
      local sender, request, kind = side, channel, reply
      if kind == "dns" and type(request) == "table" and request.sType == "lookup" then
        local name = hosted[request.sProtocol]
        if name and (request.sHostname == nil or request.sHostname == name) then
          rednet.send(sender, { sType = "lookup response", sHostname = name, sProtocol = request.sProtocol }, "dns")
        end
      end
    end
  end
end
