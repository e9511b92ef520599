-- Sends prepared requests with wrk and prints what it saw as JSON. Its argument is a file with one request a line:
-- method, path, token and body, with tabs between them. In a body KEY becomes an idempotency key never used before.

local requests, number, name = {}, 0, ""
local threads = {}

function setup(thread)
  table.insert(threads, thread)
  thread:set("thread_number", #threads)
end

function init(arguments)
  name = arguments[2]
  for line in io.lines(arguments[1]) do
    local method, path, token, body = line:match("^(.-)\t(.-)\t(.-)\t(.*)$")
    table.insert(requests, {method = method, path = path, token = token, body = body})
  end
end

function request()
  number = number + 1
  local one = requests[(number - 1) % #requests + 1]
  local headers = {["Authorization"] = "Bearer " .. one.token}
  local body = nil
  if one.body ~= "" then
    headers["Content-Type"] = "application/json"
    body = one.body:gsub("KEY", name .. "-" .. thread_number .. "-" .. number)
  end
  return wrk.format(one.method, one.path, headers, body)
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    'JSON{"requests": %d, "seconds": %f, "median_ms": %f, "p99_ms": %f, "refused": %d, "broken": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout
  ))
end
