-- One request per call, each with an event id that was never sent before; the payloads cycle through a file.
-- From the environment: BENCH_BODIES (a file with one line per body: what follows the event id), BENCH_HEAD (what
-- precedes the id), BENCH_TAG (see generator.py), BENCH_OFFSET (how many bodies to skip), BENCH_TOKEN (bearer token,
-- may be empty).

local ffi = require("ffi")
ffi.cdef("void *malloc(size_t size);")

-- Bodies are kept outside Lua's heap: each collection of 60,000 strings paused wrk, and so every connection, for 10 to
-- 50 ms, and the figures attributed that to the server.
local bodies, starts, heads = nil, nil, {}
local count, sent = 0, 0
local tag, offset = os.getenv("BENCH_TAG"), tonumber(os.getenv("BENCH_OFFSET"))

function init(args)
  local token, head = os.getenv("BENCH_TOKEN"), os.getenv("BENCH_HEAD")
  local fixed = "POST " .. wrk.path .. " HTTP/1.1\r\nHost: " .. wrk.host .. "\r\nContent-Type: application/json\r\n"
  if token and token ~= "" then
    fixed = fixed .. "Authorization: Bearer " .. token .. "\r\n"
  end
  local file = io.open(os.getenv("BENCH_BODIES"))
  local text = file:read("*a")
  file:close()
  bodies = ffi.cast("char *", ffi.C.malloc(#text))
  ffi.copy(bodies, text, #text)
  for _ in text:gmatch("\n") do
    count = count + 1
  end
  starts = ffi.cast("int32_t *", ffi.C.malloc(4 * (count + 1)))
  local start, position = 0, 0
  for line in text:gmatch("([^\n]*)\n") do
    starts[position] = start
    start, position = start + #line + 1, position + 1
    local length = #head + #tag + 9 + #line
    heads[#line] = fixed .. "Content-Length: " .. length .. "\r\n\r\n" .. head .. tag
  end
  starts[count] = start
  text = nil
  collectgarbage()
end

function request()
  local at = (offset + sent) % count
  local length = starts[at + 1] - starts[at] - 1
  local number = string.format("%09d", sent)
  sent = sent + 1
  return heads[length] .. number .. ffi.string(bodies + starts[at], length)
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"seconds":%.6f,"p50_ms":%.3f,"p95_ms":%.3f,"p99_ms":%.3f,"max_ms":%.3f,'
      .. '"bad_status":%d,"connect":%d,"read":%d,"write":%d,"timeout":%d}\n',
    summary.requests, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(95) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3,
    errors.status, errors.connect, errors.read, errors.write, errors.timeout
  ))
end
