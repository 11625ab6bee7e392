-- settings: values by name, saved to a file when a program says so, and loaded at the start.
settings = {}
local values, defined = {}, {}

function settings.define(name, options) defined[name] = options or {} end
function settings.set(name, value) values[name] = value end
function settings.unset(name) values[name] = nil end

function settings.get(name, default)
  if values[name] ~= nil then return values[name] end
  if default ~= nil then return default end
  return defined[name] and defined[name].default
end

function settings.getNames()
  local names = {}
  for name in pairs(values) do names[#names + 1] = name end
  table.sort(names)
  return names
end

function settings.save(path)
  local file = fs.open(path or ".settings", "w")
  file.write(textutils.serialise(values))
  file.close()
  return true
end

function settings.load(path)
  local file = fs.open(path or ".settings", "r")
  if not file then return false end
  local loaded = textutils.unserialise(file.readAll())
  file.close()
  if type(loaded) ~= "table" then return false end
  for name, value in pairs(loaded) do values[name] = value end
  return true
end

settings.load()
