wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"token":"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}'
