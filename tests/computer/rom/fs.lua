-- fs: files in memory that outlive a reboot. Directories exist as far as files are in them.
local native = ...

fs = {}

local function clean(path)
  local parts = {}
  for part in path:gmatch("[^/]+") do
    if part == ".." then parts[#parts] = nil elseif part ~= "." then parts[#parts + 1] = part end
  end
  return table.concat(parts, "/")
end

function fs.combine(first, second) return clean(first .. "/" .. (second or "")) end
function fs.getName(path) return clean(path):match("[^/]*$") end
function fs.getDir(path) return clean(path):match("^(.*)/[^/]*$") or "" end

function fs.isDir(path)
  local prefix = clean(path) .. "/"
  if prefix == "/" then return true end
  for _, name in ipairs(native.all_files()) do
    if name:sub(1, #prefix) == prefix then return true end
  end
  return false
end

function fs.exists(path) return native.read_file(clean(path)) ~= nil or fs.isDir(path) end
function fs.makeDir() end
function fs.isReadOnly() return false end
function fs.getSize(path) return #(native.read_file(clean(path)) or error("No such file", 2)) end
function fs.getFreeSpace() return 1000000 end

function fs.list(path)
  local prefix, found, names = clean(path), {}, {}
  if prefix ~= "" then prefix = prefix .. "/" end
  for _, name in ipairs(native.all_files()) do
    local inner = name:sub(1, #prefix) == prefix and name:sub(#prefix + 1):match("^[^/]+")
    if inner and not found[inner] then
      found[inner] = true
      names[#names + 1] = inner
    end
  end
  return names
end

function fs.delete(path)
  path = clean(path)
  for _, name in ipairs(native.all_files()) do
    if name == path or name:sub(1, #path + 1) == path .. "/" then native.write_file(name) end
  end
end

function fs.move(from, to)
  from, to = clean(from), clean(to)
  local text = native.read_file(from) or error("No such file", 2)
  if fs.exists(to) then error("File exists", 2) end
  native.write_file(to, text)
  native.write_file(from)
end

function fs.copy(from, to)
  if fs.exists(to) then error("File exists", 2) end
  native.write_file(clean(to), native.read_file(clean(from)) or error("No such file", 2))
end

function fs.open(path, mode)
  path = clean(path)
  local text, at, closed = native.read_file(path), 1, false
  if mode:sub(1, 1) == "r" and not text then return nil, "/" .. path .. ": No such file" end
  local function check()
    if closed then error("attempt to use a closed file", 3) end
  end
  local handle = {}
  function handle.close()
    check()
    closed = true
    if mode:sub(1, 1) ~= "r" then native.write_file(path, text) end
  end
  if mode:sub(1, 1) == "r" then
    function handle.readAll()
      check()
      local rest = text:sub(at)
      at = #text + 1
      return rest
    end
    function handle.readLine()
      check()
      if at > #text then return nil end
      local stop = text:find("\n", at, true) or #text + 1
      local line = text:sub(at, stop - 1)
      at = stop + 1
      return line
    end
  else
    text = mode:sub(1, 1) == "a" and text or ""
    function handle.write(more)
      check()
      text = text .. tostring(more)
    end
    function handle.writeLine(more) handle.write(tostring(more) .. "\n") end
    function handle.flush() native.write_file(path, text) end
  end
  return handle
end
