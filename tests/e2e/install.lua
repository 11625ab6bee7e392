-- The installer that a hub serves, on computers made here: a disk in memory, the hub's real answers
-- where a scene does not replace them. What `fs`, `http` and `settings` do is as CC: Tweaked documents it.
--
-- Usage: install.lua HOST PORT (under LuaJIT or Lua 5.1 with LuaSocket); ends with 1 at the first scene
-- that fails.

local web = require("socket.http")

web.TIMEOUT = 10

local base = "http://" .. arg[1] .. ":" .. arg[2]

local function fetched(path)
  local text, status = web.request(base .. path)
  assert(status == 200, path .. " gets " .. tostring(status))
  return text
end

local installer = fetched("/install.lua")
local library = fetched("/skynet.lua")
local version = assert(library:match('\nlocal VERSION = "([^"]+)"\n'), "the library has a version")
local older = library:gsub('\nlocal VERSION = "[^"]+"\n', '\nlocal VERSION = "0.0.1"\n')

-- Texts as versions before 1.109 read them: without the line break at their end.
local old_reading = false

local function as_read(text)
  if not old_reading then return text end
  return (text:gsub("\n$", ""))
end

-- An answer as `http.get` gives it.
local function answer(status, text)
  return {
    getResponseCode = function() return status end,
    readAll = function() return as_read(text) end,
    close = function() end,
  }
end

local function real_get(url)
  local text, status = web.request(url)
  if status == 200 then return answer(status, text) end
  return nil, "HTTP response code " .. tostring(status), answer(status, text)
end

-- A disk with these files. `space`: bytes that fit on it. `late`: that it is full shows at `close`.
local function disk(files, space, late)
  local function used()
    local sum = 0
    for _, text in pairs(files) do sum = sum + #text end
    return sum
  end
  local fs = { files = files, writes = 0 }
  function fs.exists(path) return files[path] ~= nil end
  function fs.isDir() return false end
  function fs.delete(path) files[path] = nil end
  function fs.move(from, to)
    if files[to] then error("File exists", 0) end
    if not files[from] then error("No such file", 0) end
    files[to], files[from] = files[from], nil
  end
  function fs.open(path, mode)
    if mode == "r" then
      if not files[path] then return nil, "No such file" end
      return { readAll = function() return as_read(files[path]) end, close = function() end }
    end
    assert(mode == "w", "files are read or written anew")
    files[path] = ""
    fs.writes = fs.writes + 1
    local pending = ""
    local function store()
      if space and used() + #pending > space then error("Out of space", 0) end
      files[path] = files[path] .. pending
      pending = ""
    end
    return {
      write = function(text)
        pending = pending .. text
        if not late then store() end
      end,
      close = store,
    }
  end
  return fs
end

-- Runs the installer; what it printed, and its error.
local function install(fs, options)
  options = options or {}
  local printed = {}
  local settings
  if not options.without_settings then
    settings = {
      get = function(name) return (options.settings or {})[name] end,
      set = function(name) error("sets " .. name) end,
      unset = function(name) error("unsets " .. name) end,
    }
  end
  local computer = {
    fs = fs, settings = settings,
    http = not options.without_http and { get = options.get or real_get } or nil,
    print = function(text) printed[#printed + 1] = tostring(text) end,
    error = error, load = load, pcall = pcall, tostring = tostring, table = table, string = string,
    loadstring = options.lua51 and loadstring or nil,
  }
  local program = assert(loadstring(options.installer or installer, "=install.lua"))
  local done, problem = pcall(setfenv(program, computer))
  return table.concat(printed, "\n"), not done and tostring(problem) or nil
end

local function has(text, part)
  assert(text and text:find(part, 1, true), "expected " .. part .. "\nin: " .. tostring(text))
end

local function only(fs, expected)
  for path in pairs(fs.files) do assert(path == "skynet.lua", "is left behind: " .. path) end
  assert(fs.files["skynet.lua"] == expected, "skynet.lua is as it should be")
end

-- What must not change the library that is there.
local function refused(options, ...)
  local fs = disk({ ["skynet.lua"] = older }, options.space, options.late)
  local printed, problem = install(fs, options)
  for _, part in ipairs({ ... }) do has(problem, part) end
  assert(printed == "", "nothing else is said: " .. printed)
  only(fs, older)
end

local function gets(text, status)
  return function() return answer(status or 200, text) end
end

local scenes = {}
local function scene(name, run) scenes[#scenes + 1] = { name = name, run = run } end

scene("an empty computer gets the library of the hub", function()
  for _, lua51 in ipairs({ true, false }) do
    local fs = disk({})
    local printed, problem = install(fs, { lua51 = lua51 })
    assert(not problem, problem)
    has(printed, "Skynet " .. version .. " is installed.")
    has(printed, "skynet chat")
    only(fs, library)
    has(library, 'local SERVER = "ws://' .. arg[1] .. ":" .. arg[2] .. '/connect/"\n')
  end
end)

scene("an older library is replaced, and both versions are told", function()
  local fs = disk({ ["skynet.lua"] = older, ["skynet.lua.new"] = "of an interrupted run" })
  local printed, problem = install(fs)
  assert(not problem, problem)
  has(printed, "Skynet 0.0.1 is now " .. version .. ".")
  only(fs, library)
end)

scene("something else by that name is replaced, and that is told", function()
  local fs = disk({ ["skynet.lua"] = "print('mine')\n" })
  has(install(fs), "in the place of what skynet.lua was")
  only(fs, library)
end)

scene("what is up to date is not written again", function()
  local fs = disk({ ["skynet.lua"] = library })
  has(install(fs), "Skynet " .. version .. " is here already.")
  assert(fs.writes == 0, "nothing is written")
  only(fs, library)
end)

scene("settings of the player stay, and one that names another hub is told", function()
  local other = { ["skynet.server"] = "ws://elsewhere/connect/" }
  has(install(disk({}), { settings = other }), "stays: ws://elsewhere/connect/")
  local same = { ["skynet.server"] = "ws://" .. arg[1] .. ":" .. arg[2] .. "/connect/" }
  assert(not install(disk({}), { settings = same }):find("stays", 1, true))
  local printed, problem = install(disk({}), { without_settings = true })
  assert(not problem, problem)
  has(printed, "is installed")
end)

scene("a refusal of the game is explained with the rule to add", function()
  local get = function() return nil, "Domain not permitted" end
  local rule = { '[[http.rules]]', 'host = "' .. arg[1] .. '"', "port = " .. arg[2], 'action = "allow"' }
  refused({ get = get }, "has not allowed " .. base, "above the rule that denies $private", unpack(rule))
  for address, lines in pairs({
    ["http://[::1]:4567"] = { 'host = "::1/128"', "port = 4567" },
    ["https://hub.example.org"] = { 'host = "hub.example.org"', "port = 443" },
    ["http://hub.example.org"] = { 'host = "hub.example.org"', "port = 80" },
  }) do
    local text = installer:gsub('local BASE = "[^"]+"', function() return 'local BASE = "' .. address .. '"' end)
    refused({ get = get, installer = text }, unpack(lines))
  end
end)

scene("no answer, an answer with another status and a switched-off http API are told", function()
  refused({ get = function() return nil, "Could not connect" end }, base, "Could not connect")
  refused({ get = function() return nil end }, "no answer")
  refused({ get = function() return nil, "Not Found", answer(404, "") end }, "status 404")
  refused({ get = gets(library, 404) }, "status 404")
  refused({ without_http = true }, "http API off", "enabled = true")
end)

scene("half a library, another page and one that cannot be loaded are refused", function()
  local _, version_end = library:find('\nlocal VERSION = "[^"]+"\n')
  for _, length in ipairs({ #library - 2, #library - 40, version_end }) do
    refused({ get = gets(library:sub(1, length)) }, "Only a part")
  end
  refused({ get = gets("") }, "is not Skynet")
  refused({ get = gets("<html></html>") }, "is not Skynet")
  local broken = library:gsub("\nlocal SERVER = ", "\nlocal = ")
  refused({ get = gets(broken) }, "cannot load")
end)

scene("a full disk loses nothing, whenever it shows", function()
  for _, late in ipairs({ true, false }) do
    refused({ space = #older + 10, late = late }, tostring(#library) .. " bytes", "Nothing was changed")
  end
end)

scene("a library that cannot be moved leaves the old one in place", function()
  local fs = disk({ ["skynet.lua"] = older })
  local move = fs.move
  function fs.move(from, to)
    if from == "skynet.lua.new" then error("Access denied", 0) end
    move(from, to)
  end
  local _, problem = install(fs)
  has(problem, "Access denied")
  assert(fs.files["skynet.lua"] == older and not fs.files["skynet.lua.old"])
end)

scene("a run that was interrupted between two moves is put right by the next", function()
  local fs = disk({ ["skynet.lua.old"] = older, ["skynet.lua.new"] = library })
  local _, problem = install(fs, { get = function() return nil, "Could not connect" end })
  has(problem, "Could not connect")
  assert(fs.files["skynet.lua"] == older, "the old one is back")
  has(install(fs), "is now " .. version)
  only(fs, library)
end)

for _, reading in ipairs({ true, false }) do
  old_reading = reading
  for _, each in ipairs(scenes) do
    local done, problem = xpcall(each.run, debug.traceback)
    if not done then
      local how = reading and " (before 1.109)" or ""
      io.stderr:write("the installer: ", each.name, how, ": ", problem, "\n")
      os.exit(1)
    end
  end
end
print(#scenes .. " scenes of the installer")
