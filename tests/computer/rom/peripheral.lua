-- peripheral: there are none around this computer, but programs may bring some.
peripheral = {}

function peripheral.getNames() return {} end
function peripheral.isPresent() return false end
function peripheral.getType() return nil end
function peripheral.hasType() return nil end
function peripheral.getMethods() return nil end
function peripheral.call() return nil end

function peripheral.getName(wrapped)
  local about = getmetatable(wrapped)
  if not about or about.__name ~= "peripheral" then error("bad argument #1 (table is not a peripheral)", 2) end
  return about.name
end

function peripheral.wrap(name)
  local methods = peripheral.getMethods(name)
  if not methods then return nil end
  local wrapped = setmetatable({}, { __name = "peripheral", name = name, types = { peripheral.getType(name) } })
  for _, method in ipairs(methods) do
    wrapped[method] = function(...) return peripheral.call(name, method, ...) end
  end
  return wrapped
end

function peripheral.find(kind, filter)
  local found = {}
  for _, name in ipairs(peripheral.getNames()) do
    if peripheral.hasType(name, kind) then
      local wrapped = peripheral.wrap(name)
      if not filter or filter(name, wrapped) then found[#found + 1] = wrapped end
    end
  end
  return table.unpack(found)
end
