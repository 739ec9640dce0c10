-- One request per call, each with an event id never sent before; the payloads cycle through a file.
-- From the environment: BENCH_BODIES (a file, one body a line after its event id), BENCH_HEAD (what stands
-- before the id), BENCH_TAG (10 characters, new for each run), BENCH_OFFSET (how many bodies to pass over first),
-- BENCH_TOKEN (bearer, may be empty).

local tails, heads = {}, {}
local count, sent = 0, 0
local tag, offset = os.getenv("BENCH_TAG"), tonumber(os.getenv("BENCH_OFFSET"))

function init(args)
  local token, head = os.getenv("BENCH_TOKEN"), os.getenv("BENCH_HEAD")
  local fixed = "POST " .. wrk.path .. " HTTP/1.1\r\nHost: " .. wrk.host .. "\r\nContent-Type: application/json\r\n"
  if token and token ~= "" then
    fixed = fixed .. "Authorization: Bearer " .. token .. "\r\n"
  end
  for line in io.lines(os.getenv("BENCH_BODIES")) do
    count = count + 1
    local length = #head + #tag + 9 + #line
    heads[count] = fixed .. "Content-Length: " .. length .. "\r\n\r\n" .. head .. tag
    tails[count] = line
  end
end

function request()
  local at = (offset + sent) % count + 1
  sent = sent + 1
  return heads[at] .. string.format("%09d", sent) .. tails[at]
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
