-- shell: programs by name, with require and arguments; `wget run` and `shell` are built in.
local native = ...

shell = nil -- programs find it in their environment, not among the globals
local stack = {}

local function require_for(env)
  local package = { loaded = { _G = _G, string = string, table = table, math = math }, path = "?;?.lua" }
  local loading = {}
  local function require(name)
    if package.loaded[name] == loading then
      error("loop or previous error loading module '" .. name .. "'", 0)
    end
    if package.loaded[name] then return package.loaded[name] end
    for pattern in package.path:gmatch("[^;]+") do
      local path = pattern:gsub("%?", (name:gsub("%.", "/")))
      if fs.exists(path) and not fs.isDir(path) then
        local chunk, problem = loadfile(path, nil, env)
        if not chunk then error(problem, 2) end
        package.loaded[name] = loading
        local result = chunk(name, path)
        if result == nil then result = true end
        package.loaded[name] = result
        return result
      end
    end
    error("module '" .. name .. "' not found", 2)
  end
  return require, package
end

local api = {}

local function run_file(path, ...)
  local env = { shell = api, arg = { [0] = path, ... } }
  env.require, env.package = require_for(env)
  stack[#stack + 1] = path
  local ok, problem = os.run(env, path, ...)
  stack[#stack] = nil
  return ok, problem
end

function api.getRunningProgram() return stack[#stack] end

function api.resolveProgram(name)
  for _, path in ipairs({ name, name .. ".lua" }) do
    if fs.exists(path) and not fs.isDir(path) then return path end
  end
end

local function wget(action, url)
  if action ~= "run" then
    printError("this stand-in knows wget run only")
    return false
  end
  local answer, problem = http.get(url)
  if not answer then
    printError("Failed: " .. tostring(problem))
    return false
  end
  local text = answer.readAll()
  answer.close()
  local env = setmetatable({ shell = api }, { __index = _G })
  env.require, env.package = require_for(env)
  local chunk, fault = load(text, "@" .. url:match("[^/]*$"), "t", env)
  if not chunk then
    printError(fault)
    return false
  end
  local ok
  ok, problem = pcall(chunk)
  if not ok then printError(problem) end
  return ok, problem
end

-- The words of a line: what stands in double quotes is one, without them.
local function words_of(line)
  local words, in_quotes = {}, false
  for part in (line .. '"'):gmatch('([^"]*)"') do
    if in_quotes then
      words[#words + 1] = part
    else
      for word in part:gmatch("[^ \t]+") do words[#words + 1] = word end
    end
    in_quotes = not in_quotes
  end
  return words
end

-- Words may be given one by one or in one text, as a player types them.
function api.run(...)
  local words = words_of(table.concat({ ... }, " "))
  if words[1] == "wget" then return wget(table.unpack(words, 2)) end
  if words[1] == "shell" then
    while true do
      write("> ")
      local line = read()
      if line == "exit" then return true end
      api.run(line)
    end
  end
  local path = words[1] and api.resolveProgram(words[1])
  if not path then
    printError("No such program")
    return false
  end
  return run_file(path, table.unpack(words, 2))
end

_G.shell = { boot = function(command)
  _G.shell = nil
  if command == "" then return end
  local ok, problem = api.run(command)
  native.ended(not ok and tostring(problem) or nil)
end }
