//! Rules and tokens, as their administrator handles them.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Api, Demo, cs};

const ALICE: &str = "\
version = 1

[[rule]]
id = \"alice-runs\"
effect = \"require\"
action = \"command.run\"
by = \"person:alice\"
reason = \".{3,}\"
quorum = [{ k = 1, of = \"local:security\", factors = [\"totp\"] }]

[[rule.test]]
name = \"alice needs somebody\"
by = \"person:alice\"
action = \"command.run\"
reason = \"because\"
expect = \"require\"
needs = [\"1 of local:security\", \"reason\"]
";

#[test]
fn a_policy_is_checked_applied_and_explained() {
    let Some(demo) = Demo::start() else { return };
    let file = demo.file("mine.toml");
    fs::write(&file, ALICE).unwrap();
    let path = file.to_str().unwrap();
    // The check needs neither server nor login.
    cs(["policy", "check", path]).run().ok();
    assert_eq!(cs(["policy", "check", path, "--json"]).run().ok().json()["ok"], true);

    let before = demo.by("admin", ["policy", "show", "--json"]).run().ok().json();
    demo.by("bob", ["policy", "apply", path, "--code-stdin"]).stdin(format!("{}\n", demo.code("bob"))).run().fails();
    assert_eq!(demo.by("admin", ["policy", "show", "--json"]).run().ok().json(), before);
    demo.administer(["policy", "apply", path]);
    let after = demo.by("admin", ["policy", "show", "--json"]).run().ok().json();
    assert_eq!(after["text"], ALICE);

    let explain = |name: &str, person: &str, reason: &str| {
        let args = ["policy", "explain", "--json", "--for", person, "command.run", "db-1", "--reason", reason];
        demo.by(name, args).run()
    };
    let told = explain("admin", "alice", "because").ok().json();
    assert_eq!((&told["verdict"], &told["slots"][0]["people"]), (&json!("require"), &json!(["bob"])));
    let step = told["path"].as_array().unwrap().iter().find(|step| step["rule"] == "alice-runs").unwrap();
    assert_eq!((&step["line"], &step["matched"]), (&json!(3), &json!(true)));
    let told = explain("admin", "bob", "because").with_code(124).json();
    assert_eq!(told["verdict"], "deny");
    // What others may do is the administrator's business.
    explain("bob", "alice", "because").with_code(1);
    let words = ["policy", "explain", "--for", "alice", "command.run", "db-1"];
    demo.by("admin", words).run().with_code(124).saying("reason");
}

#[test]
fn a_broken_policy_is_refused_with_rule_and_line() {
    let Some(demo) = Demo::start() else { return };
    let before = demo.by("admin", ["policy", "show", "--json"]).run().ok().json();
    let file = demo.file("broken.toml");
    let path = file.to_str().unwrap();
    for (from, to, line, part) in [
        ("effect = \"require\"", "effect = \"alow\"", 5, "alice-runs"),
        ("k = 1", "k = 0", 9, "alice-runs"),
        ("k = 1", "k = -1", 9, "alice-runs"),
        ("reason = \".{3,}\"", "reasom = \"x\"", 8, "reasom"),
        ("expect = \"require\"", "expect = \"allow\"", 11, "alice needs somebody"),
        ("version = 1", "version = 1 1", 1, "TOML"),
    ] {
        let text = ALICE.replacen(from, to, 1);
        assert_ne!(text, ALICE);
        fs::write(&file, text).unwrap();
        let place = format!("broken.toml:{line}:");
        cs(["policy", "check", path]).run().with_code(1).saying(&place).saying(part);
        let checked = cs(["policy", "check", path, "--json"]).run().with_code(1).json();
        assert_eq!(checked["ok"], false);
        demo.by("admin", ["policy", "apply", path, "--code-stdin"]).stdin("123456\n").run().with_code(1).saying(&place);
    }
    // Only the server knows that there is one person in security.
    for (from, to) in [("k = 1", "k = 2"), ("local:security", "local:nobody")] {
        fs::write(&file, ALICE.replace(from, to).replace("1 of local:security", "2 of local:security")).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        let text = text.split("[[rule.test]]").next().unwrap();
        fs::write(&file, text).unwrap();
        cs(["policy", "check", path]).run().ok();
        let refused = demo.by("admin", ["policy", "apply", path, "--code-stdin"]).stdin("123456\n").run().fails();
        refused.saying(":9:").saying("alice-runs");
        let reply = demo.api("admin").post("policy/check", &json!({"text": text})).json();
        assert_eq!(reply["ok"], false);
    }
    assert_eq!(demo.by("admin", ["policy", "show", "--json"]).run().ok().json(), before);
    cs(["policy", "check", demo.file("none.toml").to_str().unwrap()]).run().with_code(1).saying("none.toml");
}

#[test]
fn a_token_asks_and_never_approves() {
    let Some(demo) = Demo::start() else { return };
    let create = |name: &str, scope: &str| {
        let args = ["token", "create", "ci", "--scope", scope, "--ttl", "1h", "--json", "--code-stdin"];
        demo.by(name, args).stdin(format!("{}\n", demo.code(name))).run().ok().json()
    };
    let alices = create("alice", "command.*");
    let bobs = create("bob", "*");
    let token = |made: &Value| Api::new(&demo.address()).with_token(made["token"].as_str().unwrap());
    let listed = demo.by("alice", ["token", "list", "--json"]).run().ok();
    assert!(!listed.text().contains(alices["token"].as_str().unwrap()));
    assert_eq!(listed.json()[0]["id"], alices["id"]);
    assert_eq!(listed.json().as_array().unwrap().len(), 1, "bob's is bob's");

    let who = token(&alices).get("whoami").json();
    assert_eq!((&who["via"], &who["account"]), (&json!("token"), &json!("local:alice")));
    let ask = |action: &str| {
        let reason = "asked by a program";
        token(&alices)
            .post("requests", &json!({"action": action, "target": "db-1", "parameters": {}, "reason": reason}))
    };
    assert_eq!(ask("db.query").status, 403, "outside its scope");
    let asked = ask("command.run");
    assert_eq!(asked.status, 201, "{asked:?}");
    let id = asked.json()["id"].as_str().unwrap().to_owned();

    // Bob's token is bob, but it fills no slot: neither past the client nor through it.
    let view = demo.view("bob", &id);
    let answer = json!({"challenge": view["you"]["challenge"], "code": demo.code("bob"), "digest": view["digest"]});
    let reply = token(&bobs).post(&format!("requests/{id}/answer"), &answer);
    assert!((400..500).contains(&reply.status), "{reply:?}");
    let home = demo.file("program");
    cs(["--home", home.to_str().unwrap(), "--server", &demo.url(), "login", "--user", "bob", "--password-stdin"])
        .stdin(format!("{}\n", demo.password("bob")))
        .run()
        .ok();
    let kept = home.join("session.json");
    let mut session: Value = serde_json::from_slice(&fs::read(&kept).unwrap()).unwrap();
    session["token"] = bobs["token"].clone();
    fs::write(&kept, session.to_string()).unwrap();
    let code = demo.code("bob");
    let by_token = |args: &[&str]| cs(["--home", home.to_str().unwrap()].iter().chain(args));
    assert_eq!(by_token(&["whoami", "--json"]).run().ok().json()["via"], "token");
    by_token(&["approve", &id, "--code-stdin"]).stdin(format!("{code}\n")).run().fails();
    assert_eq!(demo.view("bob", &id)["stage"], "challenged");
    // Nor does a token make another one, or administer.
    by_token(&["token", "create", "more", "--scope", "*", "--code-stdin"]).stdin(format!("{code}\n")).run().fails();

    demo.by("alice", ["token", "revoke", bobs["id"].as_str().unwrap()]).run().fails();
    assert_eq!(token(&bobs).get("whoami").status, 200);
    demo.by("bob", ["token", "revoke", bobs["id"].as_str().unwrap()]).run().ok();
    assert_eq!(token(&bobs).get("whoami").status, 401);
    assert_eq!(token(&alices).get("whoami").status, 200);
}

#[test]
fn who_is_disabled_is_out_at_once() {
    let Some(demo) = Demo::start() else { return };
    let (run, id) = demo.waiting(["touch", "must-not-be.txt"]);
    let bob = demo.api("bob");
    assert_eq!(bob.get("whoami").status, 200);
    demo.administer(["user", "disable", "bob"]);
    assert_eq!(bob.get("whoami").status, 401);
    demo.by("bob", ["approve", &id, "--code-stdin"]).stdin(format!("{}\n", demo.code("bob"))).run().fails();
    assert_eq!(demo.view("alice", &id)["stage"], "challenged");
    demo.administer(["user", "enable", "bob"]);
    demo.by("bob", ["deny", &id]).run().ok();
    run.end().with_code(121);
}
