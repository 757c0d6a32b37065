//! Somebody new: added by the administrator, enrolled with two codes, put into a group, and counted.

use crate::support::{Demo, cs, secret_of, two_codes_of};

#[test]
fn somebody_new_becomes_an_approver() {
    let Some(demo) = Demo::start() else { return };
    let password = "dora-keeps-her-own-secret";
    let add = ["user", "add", "dora", "--password-stdin", "--code-stdin", "--reason", "she joins"];
    let added = demo.by("admin", add).stdin(format!("{password}\n{}\n", demo.code("admin"))).run().ok();
    assert!(!added.all().contains(password));
    let people = demo.by("admin", ["user", "list", "--json"]).run().ok().json();
    let dora = people.as_array().unwrap().iter().find(|person| person["name"] == "dora").unwrap();
    assert_eq!((&dora["active"], &dora["factors"]), (&true.into(), &serde_json::json!([])));

    let home = demo.file("dora");
    let url = demo.url();
    let dora = |args: &[&str]| {
        cs(["--server", url.as_str(), "--home", home.to_str().unwrap()].iter().chain(args)).folder(demo.base.path())
    };
    dora(&["login", "--user", "dora", "--password-stdin"]).stdin("not-her-password\n").run().with_code(1);
    dora(&["login", "--user", "dora", "--password-stdin"]).stdin(format!("{password}\n")).run().ok();

    // The same code twice is no proof that the app goes on.
    let mut enroll = dora(&["enroll", "--code-stdin"]).start();
    let secret = secret_of(&enroll.prints("otpauth://"));
    let [first, _] = two_codes_of(&secret);
    enroll.write(format!("{first}\n{first}\n").as_bytes());
    enroll.end().with_code(1).saying("the same");
    let who = dora(&["whoami", "--json"]).run().ok().json();
    assert_eq!(who["enrolled"], serde_json::json!([]));

    // Nor are codes of another secret.
    let mut enroll = dora(&["enroll", "--code-stdin"]).start();
    enroll.prints("otpauth://");
    let [one, two] = two_codes_of("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
    enroll.write(format!("{one}\n{two}\n").as_bytes());
    enroll.end().with_code(1);

    let mut enroll = dora(&["enroll", "--json", "--code-stdin"]).start();
    let secret = secret_of(&enroll.prints("otpauth://").replace([',', '"'], ""));
    let [first, second] = two_codes_of(&secret);
    enroll.write(format!("{first}\n{second}\n").as_bytes());
    enroll.end().ok();
    assert_eq!(dora(&["whoami", "--json"]).run().ok().json()["enrolled"], serde_json::json!(["totp"]));

    let (run, id) = demo.waiting(["true"]);
    let early = dora(&["approve", &id, "--code-stdin"]).stdin("123456\n").run();
    early.fails();
    demo.administer(["group", "add-member", "local:security", "dora"]);
    let groups = demo.by("admin", ["group", "list", "--json"]).run().ok().json();
    let security = groups.as_array().unwrap().iter().find(|group| group["group"] == "local:security").unwrap();
    assert_eq!(security["members"], serde_json::json!(["bob", "dora"]));

    assert_eq!(dora(&["inbox", "--json"]).run().ok().json()[0]["id"], id.as_str());
    // The codes that enrolled do not count a second time.
    dora(&["approve", &id, "--code-stdin"]).stdin(format!("{second}\n")).run().with_code(1).saying("used");
    let code = crate::support::code_of(&secret);
    dora(&["approve", &id, "--code-stdin"]).stdin(format!("{code}\n")).run().ok();
    run.end().ok();
    assert_eq!(demo.view("alice", &id)["progress"]["slots"][0]["filled_by"], "dora");
}

#[test]
fn whoever_has_an_authenticator_proves_it_before_adding_another() {
    let Some(demo) = Demo::start() else { return };
    let mut enroll = demo.by("bob", ["enroll", "--code-stdin"]).start();
    enroll.says("fresh code");
    assert_eq!(enroll.stdout(), "", "no secret is shown before that");
    enroll.write(b"000000\n");
    enroll.end().with_code(1);
    let mut enroll = demo.by("bob", ["enroll", "--code-stdin"]).start();
    enroll.write(format!("{}\n", demo.code("bob")).as_bytes());
    enroll.prints("otpauth://");
}
