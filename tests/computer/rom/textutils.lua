-- textutils, as far as programs of tests use it. serialiseJSON has the game's habits: bytes from 128
-- up as \u00XX, NaN as it comes, an empty table as an object. unserialiseJSON came later than 1.12.
local native = ...

textutils = { empty_json_array = {}, json_null = {} }

local function serialise(value, seen)
  if type(value) == "string" then return (("%q"):format(value):gsub("\\\n", "\\n")) end
  if type(value) ~= "table" then return tostring(value) end
  if seen[value] then error("Cannot serialize table with recursive entries", 0) end
  seen[value] = true
  local parts = {}
  for key, item in pairs(value) do
    parts[#parts + 1] = "[ " .. serialise(key, seen) .. " ] = " .. serialise(item, seen)
  end
  seen[value] = nil
  return "{ " .. table.concat(parts, ", ") .. " }"
end

function textutils.serialise(value) return serialise(value, {}) end
textutils.serialize = textutils.serialise

function textutils.unserialise(text)
  local chunk = load("return " .. text, "=unserialise", "t", {})
  local ok, value = pcall(chunk or error)
  if ok then return value end
end
textutils.unserialize = textutils.unserialise

local function escaped(text)
  return '"' .. text:gsub('[%c"\\\127-\255]', function(one)
    if one == '"' or one == "\\" then return "\\" .. one end
    if one == "\n" then return "\\n" end
    return ("\\u%04x"):format(one:byte())
  end) .. '"'
end

function textutils.serialiseJSON(value)
  local kind = type(value)
  if value == textutils.empty_json_array then return "[]" end
  if value == textutils.json_null then return "null" end
  if kind == "string" then return escaped(value) end
  if kind == "number" or kind == "boolean" then return tostring(value) end
  if kind ~= "table" then error("Cannot serialize type " .. kind, 0) end
  if next(value) == nil then return "{}" end
  local parts = {}
  if #value > 0 then
    for index = 1, #value do parts[index] = textutils.serialiseJSON(value[index]) end
    return "[" .. table.concat(parts, ",") .. "]"
  end
  for key, item in pairs(value) do
    if type(key) == "string" then parts[#parts + 1] = escaped(key) .. ":" .. textutils.serialiseJSON(item) end
  end
  return "{" .. table.concat(parts, ",") .. "}"
end
textutils.serializeJSON = textutils.serialiseJSON
