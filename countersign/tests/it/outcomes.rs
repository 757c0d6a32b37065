//! How a request ends that is not granted: the exit code says which way, and the command was not run.

use std::fmt::Write as _;

use nix::sys::signal::Signal;

use crate::support::{Demo, cs};

const MARKER: &str = "must-not-be.txt";

fn policy(more: &str) -> String {
    let mut text =
        String::from("version = 1\n[[rule]]\nid = \"alice\"\neffect = \"require\"\naction = \"command.run\"\n");
    let quorum = "quorum = [{ k = 1, of = \"local:security\", factors = [\"totp\"] }]";
    writeln!(text, "by = \"person:alice\"\n{quorum}\n{more}").unwrap();
    text
}

#[track_caller]
fn not_run(demo: &Demo) {
    // Had it been started, it would be there by now.
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert!(!demo.file(MARKER).exists(), "the command was run");
}

#[test]
fn denied_is_121() {
    let Some(demo) = Demo::start() else { return };
    let (run, id) = demo.waiting(["touch", MARKER]);
    demo.by("bob", ["deny", &id, "--reason", "not today"]).run().ok();
    run.end().with_code(121).saying("denied by bob").saying("not today");
    not_run(&demo);
    // It is final: a code that comes later does not count.
    let late = demo.by("bob", ["approve", &id, "--code-stdin"]).stdin(format!("{}\n", demo.code("bob"))).run();
    late.with_code(121);
    not_run(&demo);
    demo.by("alice", ["wait", &id]).run().with_code(121);
}

#[test]
fn expired_is_122() {
    let Some(demo) = Demo::start() else { return };
    demo.apply(&policy("deadline = \"2s\""));
    let (run, id) = demo.waiting(["touch", MARKER]);
    run.end().with_code(122).saying("expired");
    not_run(&demo);
    assert_eq!(demo.view("bob", &id)["stage"], "expired");
    demo.by("alice", ["wait", &id]).run().with_code(122);
    let late = demo.by("bob", ["approve", &id, "--code-stdin"]).stdin(format!("{}\n", demo.code("bob"))).run();
    late.with_code(122);
}

#[test]
fn a_deadline_of_ones_own_is_122_too() {
    let Some(demo) = Demo::start() else { return };
    let args = ["run", "--reason", "testing the whole", "--deadline", "1s", "--", "touch", MARKER];
    demo.by("alice", args).run().with_code(122);
    not_run(&demo);
}

#[test]
fn cancelled_is_123() {
    let Some(demo) = Demo::start() else { return };
    let (run, id) = demo.waiting(["touch", MARKER]);
    demo.by("bob", ["cancel", &id]).run().fails();
    demo.by("alice", ["cancel", &id]).run().ok();
    run.end().with_code(123).saying("cancelled");
    not_run(&demo);
    let late = demo.by("bob", ["approve", &id, "--code-stdin"]).stdin(format!("{}\n", demo.code("bob"))).run();
    late.with_code(123);
}

#[test]
fn refused_by_policy_is_124() {
    let Some(demo) = Demo::start() else { return };
    demo.by("alice", ["run", "--", "touch", MARKER]).run().with_code(124).saying("reason");
    demo.by("bob", ["run", "--reason", "testing the whole", "--", "touch", MARKER]).run().with_code(124);
    demo.by("alice", ["ask", "db.drop", "prod", "--reason", "testing the whole"]).run().with_code(124);
    not_run(&demo);
    assert_eq!(demo.by("bob", ["inbox", "--json"]).run().ok().json(), serde_json::json!([]));
}

#[test]
fn the_requester_never_countersigns() {
    let Some(demo) = Demo::start() else { return };
    demo.administer(["group", "add-member", "local:security", "alice"]);
    let (run, id) = demo.waiting(["touch", MARKER]);
    let own = demo.by("alice", ["approve", &id, "--code-stdin"]).stdin(format!("{}\n", demo.code("alice"))).run();
    own.fails().saying("who can: local:security: bob");
    // Nor past the client's own look.
    let view = demo.view("alice", &id);
    assert_eq!(view["you"]["challenge"], serde_json::Value::Null);
    let answer = serde_json::json!({"challenge": id, "code": demo.code("alice"), "digest": view["digest"]});
    let reply = demo.api("alice").post(&format!("requests/{id}/answer"), &answer);
    assert!((400..500).contains(&reply.status), "{reply:?}");
    assert_eq!(demo.view("alice", &id)["stage"], "challenged");
    drop(run);
    not_run(&demo);
}

#[test]
fn an_unreachable_server_is_125() {
    let Some(mut demo) = Demo::start() else { return };
    demo.stop();
    let run = demo.by("alice", ["run", "--reason", "testing the whole", "--", "touch", MARKER]).run();
    run.with_code(125).saying("cannot be reached");
    let home = demo.file("home");
    let args = ["--server", "http://127.0.0.1:1", "--home", home.to_str().unwrap(), "login", "--user", "x"];
    cs(args.into_iter().chain(["--password-stdin"])).stdin("secret\n").run().with_code(125);
    not_run(&demo);
}

#[test]
fn revoked_before_it_ran_is_121() {
    let Some(demo) = Demo::start() else { return };
    demo.apply(&policy("grant = { not_before = \"1m\", ttl = \"5m\" }"));
    let (mut run, id) = demo.waiting(["touch", MARKER]);
    demo.approve("bob", &id);
    run.says("begins at");
    assert!(run.is_running());
    not_run(&demo);
    demo.by("bob", ["revoke", &id]).run().ok();
    run.end().with_code(121).saying("revoked by bob");
    not_run(&demo);
    assert_eq!(demo.view("alice", &id)["grant"]["state"], "revoked");
    demo.by("alice", ["wait", &id]).run().with_code(121);
}

#[test]
fn interrupted_while_a_grant_has_not_begun_runs_nothing() {
    let Some(demo) = Demo::start() else { return };
    demo.apply(&policy("grant = { not_before = \"3s\", ttl = \"5m\" }"));
    let (mut run, id) = demo.waiting(["touch", MARKER]);
    demo.approve("bob", &id);
    run.says("begins at");
    run.signal(Signal::SIGINT);
    run.end().with_code(130).saying("the grant stays");
    not_run(&demo);
    // The same command takes up the grant, and waits for its begin.
    let args = ["run", "--reason", "testing the whole", "--", "touch", MARKER];
    demo.by("alice", args).run().ok();
    assert!(demo.file(MARKER).exists());
    assert_eq!(demo.view("alice", &id)["grant"]["state"], "spent");
}

#[test]
fn what_cannot_be_run_is_not_asked_for() {
    let Some(demo) = Demo::start() else { return };
    let plain = demo.file("plain.txt");
    std::fs::write(&plain, "no program").unwrap();
    let run = |program: &str| demo.by("alice", ["run", "--reason", "testing the whole", "--", program]).run();
    run("no-such-program-anywhere").with_code(127).saying("nothing was asked");
    run(plain.to_str().unwrap()).with_code(126).saying("nothing was asked");
    run("/").with_code(126);
    assert_eq!(demo.by("alice", ["inbox", "--mine", "--json"]).run().ok().json(), serde_json::json!([]));
}
