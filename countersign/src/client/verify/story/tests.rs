use std::collections::BTreeMap;

use countersign_core::ids::{EntryId, RequestId};
use countersign_core::time::Micros;
use countersign_ledger::{Checkpoint, Entry, TreeHead, Trust};

use super::*;

fn digest() -> Digest {
    Digest::sha256(b"operation")
}

fn entry(kind: EntryKind, n: u64, clear: &[(&str, Value)], opened: &[(&str, Value)]) -> VerifiedEntry {
    let fields =
        |fields: &[(&str, Value)]| fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let at = Micros::from_secs(1_800_000_000 + i64::try_from(n).unwrap());
    let opened: BTreeMap<String, Value> = fields(opened);
    VerifiedEntry {
        index: n,
        entry: Entry {
            kind: kind.to_string(),
            at,
            id: EntryId::new(at, [1; 10]),
            request: Some(request()),
            policy: Some(Digest::sha256(b"policy")),
            epoch: 1,
            kid: "00000000".to_owned(),
            clear: fields(clear),
            commitments: opened.keys().map(|name| (name.clone(), digest())).collect(),
        },
        opened,
        closed: BTreeSet::new(),
    }
}

fn request() -> RequestId {
    RequestId::new(Micros::from_secs(1), [1; 10])
}

fn asked() -> VerifiedEntry {
    let operation = Value::object([
        ("action", Value::from("command.run")),
        ("target", Value::from("db1")),
        ("door", Value::from("api")),
        ("reason", Value::from("OPS-1")),
        ("context", Value::object([("client", "countersign 0.1.0")])),
        (
            "parameters",
            Value::object([("argv", Value::array(["rm", "a b"])), ("cwd", "/srv".into()), ("user", "root".into())]),
        ),
    ]);
    let quorum = Value::object([
        ("demand", Value::from("quorum")),
        ("k", Value::from(1)),
        ("of", "local:security".into()),
        ("factors", Value::array(["totp"])),
    ]);
    entry(
        EntryKind::RequestAsked,
        1,
        &[("digest", digest().to_string().into()), ("seq", 1.into())],
        &[
            ("account", "local:alice".into()),
            ("requester", "alice".into()),
            ("action", "command.run".into()),
            ("target", "db1".into()),
            ("reason", "OPS-1".into()),
            ("operation", operation),
            ("demands", Value::array([quorum])),
        ],
    )
}

fn approved(n: u64, person: &str, group: &str) -> VerifiedEntry {
    entry(
        EntryKind::RequestAnswered,
        n,
        &[("digest", digest().to_string().into()), ("attested_by", "server".into())],
        &[
            ("person", person.into()),
            ("factor", "totp".into()),
            ("role", "approve".into()),
            ("groups", Value::array([group])),
            ("relayed_by", Value::Null),
        ],
    )
}

fn granted(n: u64) -> VerifiedEntry {
    entry(
        EntryKind::RequestGranted,
        n,
        &[("uses", 1.into())],
        &[("not_before", "2027-01-15T08:00:00Z".into()), ("expires_at", "2027-01-15T08:05:00Z".into())],
    )
}

fn done(n: u64) -> VerifiedEntry {
    entry(
        EntryKind::ReleaseDone,
        n,
        &[("reported_by", "requesters_client".into())],
        &[("release", "r1".into()), ("outcome", "exit 0".into())],
    )
}

fn tell(entries: Vec<VerifiedEntry>) -> Result<Story, String> {
    let verified = Verified {
        request: request(),
        trust: Trust::Pinned,
        key: countersign_ledger::VerifierKey::from_ed25519("log/1", &[1; 32]).unwrap(),
        checkpoint: Checkpoint { origin: "log/1".to_owned(), head: TreeHead { size: 9, root: digest() } },
        checkpoint_text: String::new(),
        entries,
        keys: Vec::new(),
        gapless: true,
    };
    Story::read(&verified).map_err(|failure| failure.to_string())
}

#[test]
fn it_says_who_asked_what_who_approved_and_what_nobody_proves() {
    let story = tell(vec![asked(), approved(2, "bob", "local:security"), granted(3), done(4)]).unwrap();
    insta::assert_snapshot!(story.proved.join("\n"), @r"
    2027-01-15T08:00:01Z  asked by alice (account local:alice)
        action   command.run
        target   db1
        command  rm 'a b'
        folder   /srv
        as user  root
        reason   OPS-1
        context  client = 'countersign 0.1.0', as the requester's client says
        policy   823412d1eacb67956220e532959f0104603057c88704863ca38e7cd188fda812
        demands  1 of local:security with totp, not the requester
    2027-01-15T08:00:02Z  approved by bob for local:security, with totp, attested by the server
    2027-01-15T08:00:03Z  granted: 1 use(s), from 2027-01-15T08:00:00Z until 2027-01-15T08:05:00Z
    2027-01-15T08:00:04Z  release r1 reported as ended: exit 0
    ");
    insta::assert_snapshot!(story.not_proved.join("\n"), @r"
    that it ran, and how it ended (exit 0): the exit status was reported by the requester's client, not proved
    that a code was typed by its owner, having seen this request: the server attests it
    what came after the last entry shown here
    ");
    assert_eq!(story.approvals.len(), 1);
    assert_eq!(story.releases[0]["outcome"], "exit 0");
}

#[test]
fn entries_that_contradict_each_other_are_refused() {
    let security = "local:security";
    let refused = |entries| tell(entries).unwrap_err();
    assert!(refused(vec![asked(), approved(2, "alice", security), granted(3)]).contains("his own request"));
    assert!(refused(vec![asked(), granted(3)]).contains("without the people"));
    assert!(refused(vec![asked(), approved(2, "bob", "local:dba"), granted(3)]).contains("without the people"));
    assert!(refused(vec![asked(), granted(3), approved(4, "bob", security)]).contains("without the people"));
    assert!(refused(vec![approved(2, "bob", security), granted(3)]).contains("does not hold what was asked"));
    assert!(refused(vec![asked(), asked()]).contains("asked twice"));

    let mut other = approved(2, "bob", security);
    other.entry.clear.insert("digest".to_owned(), Digest::sha256(b"another").to_string().into());
    assert!(refused(vec![asked(), other, granted(3)]).contains("another operation"));

    let mut renamed = asked();
    renamed.opened.insert("target".to_owned(), "db2".into());
    assert!(refused(vec![renamed]).contains("target is not what the digest covers"));

    let mut unbound = asked();
    unbound.entry.commitments.insert("operation".to_owned(), Digest::sha256(b"another"));
    assert!(refused(vec![unbound]).contains("digest is not the operation's"));
}

#[test]
fn what_is_withheld_is_said_to_be() {
    let mut erased = asked();
    for field in ["operation", "requester", "target"] {
        erased.opened.remove(field);
        erased.closed.insert(field.to_owned());
    }
    let story = tell(vec![erased]).unwrap();
    assert!(story.proved.iter().any(|line| line.contains("asked by (withheld)")), "{:?}", story.proved);
    assert!(story.not_proved.iter().any(|line| line.contains("withheld or erased")));
}
