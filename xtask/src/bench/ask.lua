-- Each call asks for an operation that was not asked before, which writes. The argument is a file with one bearer value in each line.
local tokens, at, threads, started = {}, 0, 0, nil

function setup(thread)
  thread:set("id", threads)
  threads = threads + 1
end

function init(args)
  started = os.time()
  for token in io.lines(args[1]) do
    tokens[#tokens + 1] = token
  end
end

function request()
  at = at + 1
  local headers = {
    ["Authorization"] = "Bearer " .. tokens[at % #tokens + 1],
    ["Content-Type"] = "application/json",
  }
  local body = string.format(
    '{"action":"command.run","target":"host","parameters":{"argv":["true","%d","%d","%d"],"cwd":"/","user":"bench"}}',
    started, id, at)
  return wrk.format("POST", "/api/countersign/v1/requests", headers, body)
end
