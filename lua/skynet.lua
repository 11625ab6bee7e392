-- Skynet, for ComputerCraft computers.
local VERSION = "0.1.0"
local SERVER = "ws://127.0.0.1:4567/connect/"

return { version = VERSION, server = SERVER }
