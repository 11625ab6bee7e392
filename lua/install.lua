-- Installs Skynet on this computer, or brings it up to date:
--
--   wget run http://HOST:4567/install.lua
--
-- It fetches skynet.lua from the hub it came from, looks whether all of it has come and whether it can
-- be loaded, and only then puts it in the place of the old one. Settings stay as they are.

-- The hub puts its own address here when it serves this file.
local BASE = "http://127.0.0.1:4567"

local TARGET = "skynet.lua"
local NEW = "skynet.lua.new"
local OLD = "skynet.lua.old"

-- Ends the program with a sentence; 0 leaves out the place in this file.
local function fail(...)
  error(table.concat({ ... }, "\n"), 0)
end

-- Host and port of BASE, as a rule of the game's owner names them.
local function host_and_port()
  local scheme, rest = BASE:match("^(%a+)://(.+)$")
  local host, port = rest:match("^(.-):(%d+)$")
  if not host then host, port = rest, scheme == "https" and "443" or "80" end
  local six = host:match("^%[(.+)%]$")
  return six and six .. "/128" or host, port
end

local function explain(reason)
  if reason:find("not permitted", 1, true) then
    local host, port = host_and_port()
    fail(
      "This server's owner has not allowed " .. BASE .. " (" .. reason .. ").",
      "In computercraft-server.toml, above the rule that denies $private, this lets computers in:",
      "[[http.rules]]",
      '    host = "' .. host .. '"',
      "    port = " .. port,
      '    action = "allow"'
    )
  end
  fail("Cannot fetch " .. BASE .. "/skynet.lua: " .. reason)
end

-- Versions before 1.109 read a text without the line break at its end.
local function with_line_break(text)
  return (text:gsub("[\r\n]*$", "")) .. "\n"
end

local function fetch(url)
  if not http then
    fail("This server's owner has switched the http API off: enabled = true in the section [http]",
      "of computercraft-server.toml switches it on.")
  end
  local response, reason, refused = http.get(url)
  if not response and refused then
    local status = refused.getResponseCode()
    refused.close()
    explain("the server answers with status " .. tostring(status))
  elseif not response then
    explain(tostring(reason or "no answer"))
  end
  local status = response.getResponseCode()
  local text = response.readAll()
  response.close()
  if status ~= 200 then explain("the server answers with status " .. tostring(status)) end
  return with_line_break(text or "")
end

local function version_of(text)
  return ("\n" .. text):match('\nlocal VERSION = "([^"\n]+)"\r?\n')
end

local function server_of(text)
  return ("\n" .. text):match('\nlocal SERVER = "([^"\n]+)"\r?\n')
end

-- The version of what has come, once it is sure that it is all of the library.
local function check(text)
  local version = version_of(text)
  if not version then
    fail("What came from " .. BASE .. "/skynet.lua is not Skynet. Nothing was changed.")
  end
  local mark = "\n-- end of skynet.lua " .. version .. "\n"
  if text:sub(-#mark) ~= mark then
    fail("Only a part of skynet.lua has come (" .. #text .. " bytes). Nothing was changed; try again.")
  end
  local program, problem = (loadstring or load)(text, "skynet.lua")
  if not program then
    fail("This computer cannot load skynet.lua " .. version .. ": " .. tostring(problem),
      "Nothing was changed.")
  end
  return version
end

local function read(path)
  local file = fs.open(path, "r")
  if not file then return nil end
  local text = file.readAll()
  file.close()
  return with_line_break(text or "")
end

local function write(path, text)
  local file, problem = fs.open(path, "w")
  if not file then return false, problem end
  local written, reason = pcall(file.write, text)
  -- Some versions notice only here that the disk is full.
  local closed, late = pcall(file.close)
  return written and closed, reason or late
end

local function remove(path)
  if fs.exists(path) then fs.delete(path) end
end

-- Puts the text in the place of the library. At every moment one of the files is whole.
local function replace(text)
  remove(NEW)
  local written, problem = write(NEW, text)
  if not written or read(NEW) ~= text then
    pcall(remove, NEW)
    fail("skynet.lua needs " .. #text .. " bytes and cannot be written: "
      .. tostring(problem or "it reads back differently"), "Nothing was changed.")
  end
  remove(OLD)
  if fs.exists(TARGET) then fs.move(TARGET, OLD) end
  local moved, reason = pcall(fs.move, NEW, TARGET)
  if not moved then
    if fs.exists(OLD) then fs.move(OLD, TARGET) end
    fail("skynet.lua cannot be put in place: " .. tostring(reason))
  end
  remove(OLD)
end

local function tell(before, version, text)
  local old = before and version_of(before)
  if before == text then
    print("Skynet " .. version .. " is here already.")
  elseif old then
    print("Skynet " .. old .. " is now " .. version .. ".")
  elseif before then
    print("Skynet " .. version .. " is installed in the place of what skynet.lua was.")
  else
    print("Skynet " .. version .. " is installed.")
  end
  local server = settings and settings.get("skynet.server")
  if server and server ~= server_of(text) then
    print("Your setting skynet.server stays: " .. tostring(server))
  end
  print("Type this next: skynet chat")
end

if fs.exists(TARGET) and fs.isDir(TARGET) then
  fail("There is a folder by the name of " .. TARGET .. ", where the library is to be.")
end
-- What an interrupted run left behind.
if fs.exists(OLD) and not fs.exists(TARGET) then fs.move(OLD, TARGET) end
local before = fs.exists(TARGET) and read(TARGET) or nil
local text = fetch(BASE .. "/skynet.lua")
local version = check(text)
if before ~= text then replace(text) end
tell(before, version, text)
