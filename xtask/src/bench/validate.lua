-- Each call presents another token. The argument is a file with one bearer value in each line.
local calls, at = {}, 0

function init(args)
  for token in io.lines(args[1]) do
    calls[#calls + 1] = wrk.format("GET", "/api/countersign/v1/whoami", { ["Authorization"] = "Bearer " .. token })
  end
end

function request()
  at = at % #calls + 1
  return calls[at]
end
