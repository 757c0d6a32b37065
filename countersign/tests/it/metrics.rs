//! `/metrics` of the built server, read by another implementation of the format and held against the documentation.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use crate::support::{Api, Demo, Server, other_program, raw_patiently, running};

const DOCUMENT: &str = include_str!("../../../docs/operations.md");

/// Debian's own: another interpreter that stands before it on PATH does not find Debian's libraries.
const PYTHON: &str = "/usr/bin/python3";

/// Parses what stands on standard input and prints it as JSON: by family its type, and its samples as name, labels and value.
const READER: &str = r"
import json, sys
from prometheus_client.parser import text_string_to_metric_families
families = {}
for family in text_string_to_metric_families(sys.stdin.read()):
    assert family.name not in families, family.name
    assert family.documentation, family.name
    families[family.name] = {'type': family.type, 'samples': [[s.name, s.labels, s.value] for s in family.samples]}
print(json.dumps(families))
";

/// A family: its type, and the labels of its samples.
type Families = BTreeMap<String, (String, BTreeSet<String>)>;

fn has_reader() -> bool {
    let found =
        Path::new(PYTHON).is_file() && other_program(PYTHON, ["-c", "import prometheus_client"]).run().status.success();
    if !found {
        let required = std::env::var_os("COUNTERSIGN_TEST_REQUIRE_TOOLS").is_some_and(|value| value == "1");
        assert!(!required, "python3-prometheus-client is not installed");
        eprintln!("skipped: python3-prometheus-client is not installed");
    }
    found
}

fn read(text: &str) -> Value {
    other_program(PYTHON, ["-c", READER]).stdin(text).run().ok().json()
}

fn served(families: &Value) -> Families {
    let labels = |family: &Value| {
        let samples = family["samples"].as_array().unwrap();
        let names = samples.iter().flat_map(|sample| sample[1].as_object().unwrap().keys().cloned());
        names.filter(|name| name != "le").collect()
    };
    let families = families.as_object().unwrap().iter();
    families
        .map(|(name, family)| (name.clone(), (family["type"].as_str().unwrap().to_owned(), labels(family))))
        .collect()
}

/// The table of the documentation.
fn documented() -> Families {
    let rows = DOCUMENT.lines().filter(|line| line.starts_with("| `countersign_"));
    rows.map(|row| {
        let cells: Vec<_> = row.split(" | ").collect();
        let name = cells[0].trim_matches(|c: char| c == '|' || c == '`' || c == ' ');
        let labels = cells[2].split('`').skip(1).step_by(2).map(str::to_owned).collect();
        // The reader gives a counter's family without its suffix.
        (name.strip_suffix("_total").unwrap_or(name).to_owned(), (cells[1].trim().to_owned(), labels))
    })
    .collect()
}

#[test]
fn what_is_served_is_what_is_documented() {
    if !has_reader() {
        return;
    }
    let Some(demo) = Demo::start() else { return };
    demo.granted(["true"]).run.ok();
    let reply = demo.api("admin").get("/metrics");
    assert_eq!(reply.status, 200, "{reply:?}");
    let families = read(&reply.text());
    assert_eq!(served(&families), documented());
    let value = |name: &str| families[name]["samples"][0][2].as_f64().unwrap();
    assert!(value("countersign_process_resident_memory_bytes") > 1_000_000.0);
    assert!(value("countersign_ledger_checkpoint_entries") > 0.0);
    assert!(value("countersign_commits") >= value("countersign_transactions"));
    // Each bucket holds those before it, and the last one all.
    let times = families["countersign_http_request_duration_seconds"]["samples"].as_array().unwrap();
    let mut last: BTreeMap<String, f64> = BTreeMap::new();
    for sample in times.iter().filter(|sample| sample[0].as_str().unwrap().ends_with("_bucket")) {
        let route = format!("{} {}", sample[1]["method"], sample[1]["path"]);
        let count = sample[2].as_f64().unwrap();
        assert!(last.insert(route, count).is_none_or(|before| before <= count), "{sample}");
    }
}

#[test]
fn metrics_are_public_only_if_the_operator_says_so() {
    let Some(server) = Server::init() else { return };
    let (job, address) = server.start();
    assert_eq!(Api::new(&address).get("/metrics").status, 401);
    drop(job);
    let file = server.dir().join("countersign.toml");
    let config = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{config}\n[metrics]\npublic = true\n")).unwrap();
    let (_job, address) = running(server.serve(&[]));
    let reply = Api::new(&address).get("/metrics");
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(reply.text().contains("countersign_build_info{version=\""));
    assert_eq!(Api::new(&address).get("/metrics?x=1").status, 200);
    assert_eq!(Api::new(&address).post("/metrics", &Value::Null).status, 405);
}

#[test]
fn a_stream_ends_with_the_server_and_says_so() {
    let Some(mut demo) = Demo::start() else { return };
    let (waiting, id) = demo.waiting(["true"]);
    let api = demo.api("alice");
    let (address, token) = (demo.address(), api.token.clone().unwrap());
    let path = format!("/api/countersign/v1/requests/{id}/events");
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
    let stream = std::thread::spawn(move || raw_patiently(&address, request.as_bytes(), crate::support::PATIENCE));
    // Two follow it then: the command, and this.
    crate::support::until("both streams", || {
        let held = demo.api("admin").get("/metrics").text();
        held.contains("countersign_held_calls 2").then_some(())
    });
    drop(waiting);
    demo.stop();
    let text = String::from_utf8(stream.join().unwrap()).unwrap();
    assert!(text.contains("event: request") && text.contains(r#"data: {"why":"stopping"}"#), "{text}");
}
