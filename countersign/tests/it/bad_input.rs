//! What is malformed gets a reason and changes nothing.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Api, Demo, Reply, raw, raw_patiently};

const JSON: (&str, &str) = ("Content-Type", "application/json");
const PROBLEM: &str = "content-type: application/problem+json";

/// A demo, a session of alice's, and what the log and her requests were before.
struct Target {
    demo: Demo,
    alice: Api,
    entries: u64,
}

impl Target {
    fn start() -> Option<Self> {
        let demo = Demo::start()?;
        let alice = demo.api("alice");
        // The login itself is logged; from then on nothing may be.
        std::thread::sleep(Duration::from_millis(500));
        let entries = entries(&alice);
        Some(Self { demo, alice, entries })
    }

    fn ask(&self, body: &[u8]) -> Reply {
        self.alice.post_bytes("requests", body)
    }

    /// The server is well, and none of it has left a trace.
    #[track_caller]
    fn unharmed(&mut self) {
        assert_eq!(Api::new(&self.demo.address()).get("/healthz").text(), "ok\n");
        assert!(self.demo.job.is_running());
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(self.alice.get("requests").json()["items"], json!([]));
        assert_eq!(entries(&self.alice), self.entries, "something was logged");
        let told = self.demo.job.stderr();
        assert!(!told.contains("panicked") && !told.contains("failed inside"), "{told}");
    }
}

fn entries(api: &Api) -> u64 {
    api.get("log").json()["size"].as_u64().unwrap()
}

/// A 4xx with its reason, as problem+json.
#[track_caller]
fn refused(what: &str, reply: &Reply, status: u16, slug: &str) {
    assert_eq!(reply.status, status, "{what}: {reply:?} {}", reply.text());
    assert!(reply.head.to_lowercase().contains(PROBLEM), "{what}: {}", reply.head);
    let problem = reply.json();
    assert_eq!((&problem["slug"], &problem["status"]), (&json!(slug), &json!(status)), "{what}");
    assert_eq!(problem["type"], format!("urn:countersign:problem:{slug}"), "{what}");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 8), "{what}: {problem}");
}

/// A whole ask with this as its parameters.
fn with_parameters(parameters: &str) -> Vec<u8> {
    format!(r#"{{"action":"command.run","target":"t","reason":"because it is so","parameters":{parameters}}}"#).into()
}

#[test]
fn bodies_that_are_not_acceptable_json() {
    let Some(mut target) = Target::start() else { return };
    let deep = |open: &str, close: &str, levels: usize| with_parameters(&(open.repeat(levels) + &close.repeat(levels)));
    let huge = |digits: usize| with_parameters(&format!("{{\"n\":{}}}", "9".repeat(digits)));
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", b"".to_vec()),
        ("blanks", b"  \n".to_vec()),
        ("half an object", br#"{"action":"#.to_vec()),
        ("a comma too much", br#"{"action":"command.run","target":"t",}"#.to_vec()),
        ("two values", [with_parameters("{}"), b"{}".to_vec()].concat()),
        ("a byte order mark", [b"\xef\xbb\xbf".to_vec(), with_parameters("{}")].concat()),
        ("a comment", with_parameters("{}/* */")),
        ("single quotes", br"{'action':'command.run'}".to_vec()),
        ("NaN", with_parameters(r#"{"n":NaN}"#)),
        ("a leading zero", with_parameters(r#"{"n":01}"#)),
        ("UTF-16", "{\"action\":1}".encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("invalid UTF-8", [b"{\"action\":\"command.run\",\"target\":\"\xff\xfe\"}".to_vec()].concat()),
        ("an overlong escape of /", b"{\"action\":\"command.run\",\"target\":\"\xc0\xaf\"}".to_vec()),
        ("half a surrogate pair", with_parameters(r#"{"a":"\ud800"}"#)),
        ("a raw control character", with_parameters("{\"a\":\"\u{1}\"}")),
        ("the same key twice", br#"{"action":"command.run","target":"safe","target":"prod"}"#.to_vec()),
        (
            "the same key twice, once escaped",
            br#"{"action":"command.run","target":"safe","t\u0061rget":"prod"}"#.to_vec(),
        ),
        ("the same parameter twice", with_parameters(r#"{"a":1,"a":2}"#)),
        ("an exponent from here to the moon", with_parameters(r#"{"n":1e999999}"#)),
        ("a small one", with_parameters(r#"{"n":1e-999999999999999999999}"#)),
        ("too many digits", huge(100_000)),
        ("deep arrays", deep("[", "]", 20_000)),
        ("deep objects", deep("{\"a\":", "}", 20_000)),
        ("deep and never closed", with_parameters(&"[".repeat(100_000))),
        ("a list", b"[]".to_vec()),
        ("text", b"\"command.run\"".to_vec()),
        ("a number for the action", br#"{"action":1,"target":"t","parameters":{}}"#.to_vec()),
        ("no target", br#"{"action":"command.run","parameters":{}}"#.to_vec()),
        ("an unknown field", br#"{"action":"command.run","target":"t","parameters":{},"force":true}"#.to_vec()),
        ("parameters that are a list", with_parameters("[]")),
        ("an unknown canonical form", with_parameters(r#"{"a":{"$exec":"x"}}"#)),
        ("two spellings of a number", with_parameters(r#"{"a":{"$int":"007"}}"#)),
        ("bytes that are no base64", with_parameters(r#"{"a":{"$bytes":"!!"}}"#)),
        (
            "a deadline before it began",
            br#"{"action":"command.run","target":"t","parameters":{},"deadline_secs":-1}"#.to_vec(),
        ),
        (
            "a deadline of half a second",
            br#"{"action":"command.run","target":"t","parameters":{},"deadline_secs":0.5}"#.to_vec(),
        ),
        (
            "a deadline beyond all time",
            br#"{"action":"command.run","target":"t","parameters":{},"deadline_secs":1e30}"#.to_vec(),
        ),
        ("an action that is none", br#"{"action":"command run","target":"t","parameters":{}}"#.to_vec()),
        ("an empty action", br#"{"action":"","target":"t","parameters":{}}"#.to_vec()),
    ];
    for (what, body) in &cases {
        refused(what, &target.ask(body), 400, "malformed");
    }
    // The same reader stands before every call, also before a login.
    let stranger = Api::new(&target.demo.address());
    for (what, body) in cases.iter().take(17) {
        let reply = stranger.post_bytes("login", body);
        refused(what, &reply, 400, "malformed");
    }
    for path in ["login", "session/fresh", "tokens", "policy/check", "policy/explain", "requests/explain", "admin"] {
        refused(path, &target.alice.post_bytes(path, br#"{"name":"x","name":"y"}"#), 400, "malformed");
        refused(path, &target.alice.post_bytes(path, b"\xff"), 400, "malformed");
    }
    target.unharmed();
}

#[test]
fn numbers_are_exact_or_refused() {
    let Some(target) = Target::start() else { return };
    // 400 digits are many, but a number; two of them that differ at the end are two numbers.
    let digits = "9".repeat(399);
    for body in [with_parameters(&format!("{{\"n\":{digits}1}}")), with_parameters(r#"{"n":1e400}"#)] {
        let reply = target.ask(&body);
        assert!(reply.status == 201 || reply.status == 400, "{reply:?}");
        if reply.status == 201 {
            let shown = reply.json()["parameters"].to_string();
            assert!(
                shown.contains(&format!("{digits}1")) || shown.contains("E+400") || shown.contains("1e400"),
                "{shown}"
            );
        } else {
            refused("many digits", &reply, 400, "malformed");
        }
    }
    let ask = |amount: &str| {
        let reply = target.ask(&with_parameters(&format!("{{\"amount\":{amount}}}")));
        assert_eq!(reply.status, 201, "{reply:?} {}", reply.text());
        reply.json()
    };
    let (one, two) = (ask("9007199254740992"), ask("9007199254740993"));
    assert_ne!(one["id"], two["id"]);
    assert_ne!(one["digest"], two["digest"]);
    assert_eq!(two["parameters"], json!({"amount": {"$int": "9007199254740993"}}));
    let id = two["id"].as_str().unwrap();
    let shown = target.demo.approve("bob", id).stderr;
    assert!(shown.contains("9007199254740993") && !shown.contains("9007199254740992"), "{shown}");
    let shown = target.demo.by("bob", ["show", one["id"].as_str().unwrap()]).run().ok().text();
    assert!(shown.contains("9007199254740992") && !shown.contains("9007199254740993"), "{shown}");
    // And from a file at the command line.
    let file = target.demo.file("parameters.json");
    std::fs::write(&file, r#"{"amount": 9007199254740995}"#).unwrap();
    let args = ["ask", "command.run", "t", "--reason", "because it is so", "--json", "--params-json"];
    let asked = target.demo.by("alice", args.into_iter().chain([file.to_str().unwrap()])).run().ok().json();
    assert_eq!(asked["parameters"], json!({"amount": {"$int": "9007199254740995"}}));
}

#[test]
fn bytes_that_differ_are_different_requests() {
    let Some(target) = Target::start() else { return };
    let ask = |base64: &str| {
        let reply = target.ask(&with_parameters(&format!(r#"{{"argv":["x",{{"$bytes":"{base64}"}}]}}"#)));
        assert_eq!(reply.status, 201, "{reply:?} {}", reply.text());
        reply.json()
    };
    let (one, two) = (ask("/w=="), ask("/g=="));
    assert_ne!(one["digest"], two["digest"]);
    let shown = |view: &Value| target.demo.by("bob", ["show", view["id"].as_str().unwrap()]).run().ok().text();
    assert!(shown(&one).contains(r"command  x $'\xff'"), "{}", shown(&one));
    assert!(shown(&two).contains(r"command  x $'\xfe'"), "{}", shown(&two));
}

#[test]
fn what_is_too_long_too_many_or_of_another_kind() {
    let Some(mut target) = Target::start() else { return };
    let long = with_parameters(&format!("{{\"a\":\"{}\"}}", "x".repeat(300 * 1024)));
    refused("a long body", &target.ask(&long), 413, "too-large");
    // Said before it is sent.
    let head = format!(
        "POST /api/countersign/v1/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        u64::MAX
    );
    let reply = raw(&target.demo.address(), head.as_bytes());
    assert!(matches!(reply.status, 0 | 400 | 413 | 431), "{reply:?}");

    let api = &target.alice;
    let body = with_parameters("{}");
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=utf-16",
        "application/jsonp",
        "",
    ] {
        let reply = api.call("POST", "requests", &[("Content-Type", kind)], &body);
        refused(kind, &reply, 415, "unsupported-media-type");
    }
    refused("no type", &api.call("POST", "requests", &[], &body), 415, "unsupported-media-type");
    refused("two types", &api.call("POST", "requests", &[JSON, JSON], &body), 415, "unsupported-media-type");

    for (method, path) in [
        ("PUT", "requests"),
        ("DELETE", "requests"),
        ("PATCH", "login"),
        ("GET", "login"),
        ("TRACE", "whoami"),
        ("POST", "whoami"),
        ("BREW", "whoami"),
        ("POST", "/healthz"),
        ("DELETE", "/ledger/checkpoint"),
    ] {
        refused(&format!("{method} {path}"), &api.call(method, path, &[], b""), 405, "method-not-allowed");
    }
    for path in [
        "",
        "nothing",
        "requests/",
        "Requests",
        "requests//",
        "requests/x",
        "requests/../requests",
        "requests/00000000-0000-0000-0000-000000000000",
        "requests/0197A3C4-5B6D-7E8F-8A9B-0C1D2E3F4A5B",
        "/",
        "/api",
        "/healthz/",
        "/.env",
        "/api/countersign/v2/whoami",
        "/api/countersign/v1/../v1/whoami",
        "/api%2fcountersign/v1/whoami",
    ] {
        refused(path, &api.get(path), 404, "not-found");
    }
    for query in [
        "requests?limit=x",
        "requests?limit=-1",
        "requests?limit=99999999999999999999",
        "inbox?cursor=%00",
        "inbox?cursor=x",
    ] {
        let reply = api.get(query);
        assert!((400..500).contains(&reply.status), "{query}: {reply:?}");
    }
    for header in ["", "Bearer", "Basic eDp5", "Bearer \u{e9}", "Bearer cs_x", "Bearer cs_x, Bearer cs_y"] {
        let reply = Api::new(&target.demo.address()).call("GET", "whoami", &[("Authorization", header)], b"");
        refused(header, &reply, 401, "unauthenticated");
    }
    let key = "k".repeat(5_000);
    for value in ["", "a b", "\u{e9}", &key] {
        let reply = api.call("POST", "requests", &[JSON, ("Idempotency-Key", value)], &body);
        refused(value, &reply, 400, "malformed");
    }
    target.unharmed();
}

#[test]
fn paths_below_the_ledger_have_one_spelling() {
    let Some(mut target) = Target::start() else { return };
    let api = Api::new(&target.demo.address());
    assert_eq!(api.get("/ledger/checkpoint").status, 200);
    for path in [
        "/ledger",
        "/ledger/",
        "/ledger//checkpoint",
        "//ledger/checkpoint",
        "/ledger/checkpoint/",
        "/ledger/checkpoint%00",
        "/ledger/%63heckpoint",
        "/ledger/..%2fdemo.json",
        "/ledger/..%2f..%2fetc%2fpasswd",
        "/ledger/../demo.json",
        "/ledger/tile/../checkpoint",
        "/ledger/%2e%2e/demo.json",
        "/ledger/..\\demo.json",
        "/ledger/tile/0/000%00",
        "/ledger/tile/0/000.p/0",
        "/ledger/tile/0/000.p/256",
        "/ledger/tile/0/000.p/1%20",
        "/ledger/tile/0/x999/x999/x999/x999/x999/x999/x999/000",
        "/ledger/tile/99/000",
        "/ledger/tile/-1/000",
        "/ledger/tile/entries/999",
        "/ledger/18446744073709551616/checkpoint",
        "/ledger/00/checkpoint",
        "/ledger/9/checkpoint",
        "/ledger/master.key",
    ] {
        refused(path, &api.get(path), 404, "not-found");
    }
    target.unharmed();
}

/// What the parser of HTTP refuses comes before any handler: a 400 without our words, or a closed connection.
#[track_caller]
fn refused_by_http(what: &str, reply: &Reply) {
    assert!(matches!(reply.status, 0 | 400 | 404 | 405 | 413..=415 | 417 | 431 | 501), "{what}: {reply:?}");
}

#[test]
fn requests_that_two_servers_could_read_differently() {
    let Some(mut target) = Target::start() else { return };
    let address = target.demo.address();
    let token = target.alice.token.clone().unwrap();
    // If the second of the two were read as a request of its own, it would ask for something.
    let body = String::from_utf8(with_parameters("{}")).unwrap();
    let smuggled = format!(
        "POST /api/countersign/v1/requests HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let outer = |headers: &str, rest: &str| {
        format!(
            "POST /api/countersign/v1/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{headers}\r\n{rest}{smuggled}"
        )
    };
    for (what, request) in [
        ("length and chunks", outer("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")),
        ("chunks and length", outer("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "0\r\n\r\n")),
        ("two lengths", outer("Content-Length: 0\r\nContent-Length: 9999\r\n", "")),
        ("a list of lengths", outer("Content-Length: 0, 9999\r\n", "")),
        ("a signed length", outer("Content-Length: +0\r\n", "")),
        ("a length that is none", outer("Content-Length: 0x0\r\n", "")),
        ("an unknown coding", outer("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n")),
        ("a coding after the chunks", outer("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n")),
        ("a blank before the colon", outer("Transfer-Encoding : chunked\r\n", "0\r\n\r\n")),
        ("a folded line", outer("X-A: b\r\n Transfer-Encoding: chunked\r\n", "")),
        ("a chunk size that is none", outer("Transfer-Encoding: chunked\r\n", "g\r\n\r\n")),
        ("a chunk size beyond all", outer("Transfer-Encoding: chunked\r\n", "ffffffffffffffffff\r\n\r\n")),
        ("a zero byte in a header", outer("X-A: \0\r\nContent-Length: 0\r\n", "")),
        ("a lone carriage return", outer("X-A: b\rContent-Length: 0\r\n", "")),
    ] {
        let answer = raw_patiently(&address, request.as_bytes(), Duration::from_secs(15));
        let answer = String::from_utf8_lossy(&answer);
        assert!(!answer.contains("HTTP/1.1 201") && !answer.contains("HTTP/1.1 5"), "{what}: {answer}");
        let first = answer.split_ascii_whitespace().nth(1).unwrap_or("0");
        assert!(matches!(first, "0" | "400" | "415" | "501"), "{what}: {answer}");
    }
    for (what, request) in [
        ("no HTTP", "hello\r\n\r\n".to_owned()),
        ("no version", "GET /healthz\r\n\r\n".to_owned()),
        ("an old version", "GET /healthz HTTP/0.9\r\n\r\n".to_owned()),
        ("TLS", "\u{16}\u{3}\u{1}\0\u{5}hello\r\n\r\n".to_owned()),
        ("a method with blanks", "GET  /healthz  HTTP/1.1\r\nHost: x\r\n\r\n".to_owned()),
        ("long headers", format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: {}\r\n\r\n", "a".repeat(200_000))),
        ("many headers", format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{}\r\n", "X-A: b\r\n".repeat(1_000))),
        ("a long path", format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(200_000))),
        ("a bare CONNECT", "CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n".to_owned()),
    ] {
        refused_by_http(what, &raw(&address, request.as_bytes()));
    }
    target.unharmed();
}

#[test]
fn whoever_is_slow_is_closed_and_nobody_waits_for_him() {
    let Some(mut target) = Target::start() else { return };
    let address = target.demo.address();
    let begun = Instant::now();
    let slow: Vec<_> = ["", "GET /healthz HTTP/1.1\r\n", "GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: "]
        .map(|start| {
            let address = address.clone();
            std::thread::spawn(move || raw_patiently(&address, start.as_bytes(), Duration::from_secs(40)))
        })
        .into();
    let idle: Vec<_> = (0..50).map(|_| std::net::TcpStream::connect(&address).unwrap()).collect();
    let asked = Instant::now();
    assert_eq!(Api::new(&address).get("/healthz").status, 200);
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    for slow in slow {
        let answer = String::from_utf8_lossy(&slow.join().unwrap()).into_owned();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    drop(idle);
    target.unharmed();
}
