use countersign_core::digest::{Digest, commit};
use countersign_core::entry::EntryKind;
use countersign_core::ids::RequestId;
use countersign_core::time::Micros;

use super::*;
use crate::key::Signer as _;
use crate::proof::prove_inclusion;
use crate::testing::{ORIGIN, TestKey, TestLog, draft, request};

/// Rows 5, 6, 8 and 10 of this log are the request's, row 2 is a key.
fn log() -> TestLog {
    use EntryKind as K;
    let mut log = TestLog::new(2);
    let kinds = [
        K::Key,
        K::LoginFailed,
        K::LoginFailed,
        K::RequestAsked,
        K::RequestAnswered,
        K::AuditRead,
        K::RequestAnswered,
        K::AuditRead,
        K::RequestGranted,
        K::AuditRead,
    ];
    log.append((2_u64..).zip(kinds).map(|(n, kind)| draft(kind, n)));
    log
}

fn entry(log: &TestLog, index: usize) -> ReceiptEntry {
    let signed = log.checkpoint();
    let row = &log.rows[index];
    let place = u64::try_from(index).unwrap();
    let proof = prove_inclusion(signed.head(), place, &log.tiles).unwrap();
    ReceiptEntry::new(&row.bytes, &row.openings, place, proof, &signed).unwrap()
}

fn receipt(log: &TestLog) -> Receipt {
    Receipt {
        request: request(),
        origin: ORIGIN.to_owned(),
        key: log.key.verifier_key().clone(),
        earlier: Vec::new(),
        entries: [5, 6, 8, 10].map(|index| entry(log, index)).to_vec(),
        keys: vec![entry(log, 2)],
    }
}

fn reason(receipt: &Receipt) -> (usize, EntryFault) {
    match receipt.verify(None, None) {
        Err(ReceiptError::Entry { entry, reason }) => (entry, reason),
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn an_honest_receipt_verifies_from_its_file() {
    let log = log();
    let file = receipt(&log).to_json();
    let read = Receipt::from_json(file.as_bytes()).unwrap();
    assert_eq!(read, receipt(&log));
    let verified = read.verify(Some(log.key.verifier_key()), Some(request())).unwrap();
    assert!(verified.is_pinned() && !verified.gapless);
    assert_eq!(verified.checkpoint.head, log.frontier.head());
    let answers: Vec<_> = verified
        .of_kind(EntryKind::RequestAnswered)
        .map(|entry| (entry.index, entry.text("person").unwrap(), entry.text("stage").unwrap()))
        .collect();
    assert_eq!(answers, [(6, "person-6", "challenged"), (8, "person-8", "challenged")]);
    assert_eq!(verified.keys.len(), 1);
    // The values are there to be read by people.
    assert!(file.contains(r#""value":"person-6""#));
}

#[test]
fn spacing_and_order_of_the_file_do_not_matter() {
    let log = log();
    let plain: serde_json::Value = serde_json::from_str(&receipt(&log).to_json()).unwrap();
    let pretty = serde_json::to_string_pretty(&plain).unwrap();
    assert_eq!(Receipt::from_json(pretty.as_bytes()).unwrap(), receipt(&log));
}

#[test]
fn an_unknown_key_is_said_and_a_pinned_one_is_held_to() {
    let log = log();
    let own = receipt(&log);
    let unknown = own.verify(None, None).unwrap();
    assert_eq!(unknown.trust, Trust::Unknown(Box::new(log.key.verifier_key().clone())));

    // Somebody makes the whole log anew under a key of his own.
    let mut forged = self::log();
    forged.key = TestKey::new(ORIGIN, 66);
    let forged = receipt(&forged);
    assert!(!forged.verify(None, None).unwrap().is_pinned());
    let found = forged.verify(Some(log.key.verifier_key()), None);
    assert!(matches!(found, Err(ReceiptError::Pin { .. })), "{found:?}");
    // Claiming the right key does not help.
    let mut claimed = forged.clone();
    claimed.key = own.key.clone();
    assert!(matches!(reason(&claimed), (1, EntryFault::Ledger(Error::Signature(_)))));
    // Nor does one entry of the forged log among the others.
    let mut mixed = own;
    mixed.entries[2] = forged.entries[2].clone();
    assert_eq!(reason(&mixed), (3, EntryFault::OtherCheckpoint));
}

#[test]
fn an_erased_value_leaves_the_rest_standing() {
    let log = log();
    let mut erased = receipt(&log);
    erased.entries[1].openings.clear();
    let verified = Receipt::from_json(erased.to_json().as_bytes()).unwrap().verify(None, None).unwrap();
    assert_eq!(verified.entries[1].value("person"), None);
    assert!(verified.entries[1].is_closed("person") && !verified.entries[0].is_closed("person"));
}

#[test]
fn a_swapped_approver_is_refused() {
    let log = log();
    // The name alone; the name with a salt; an opening of another entry; all of it with the commitment recomputed in the leaf.
    let mut edited = receipt(&log);
    edited.entries[1].openings.get_mut("person").unwrap().1 = Value::from("mallory");
    assert_eq!(reason(&edited), (2, EntryFault::Opening("person".into())));

    let mut edited = receipt(&log);
    let salt = Salt::from_bytes([9; 16]);
    edited.entries[1].openings.insert("person".into(), (salt, Value::from("mallory")));
    assert_eq!(reason(&edited), (2, EntryFault::Opening("person".into())));

    let mut edited = receipt(&log);
    edited.entries[1].openings = edited.entries[2].openings.clone();
    assert_eq!(reason(&edited), (2, EntryFault::Opening("person".into())));

    let mut edited = receipt(&log);
    let (salt, value) = edited.entries[1].openings["person"].clone();
    let was = commit("person", &salt, &value.canonical()).to_string();
    let new_value = Value::from("mallory");
    let becomes = commit("person", &salt, &new_value.canonical()).to_string();
    let leaf = edited.entries[1].leaf.replace(&was, &becomes);
    assert_ne!(leaf, edited.entries[1].leaf);
    edited.entries[1].leaf = leaf;
    edited.entries[1].openings.insert("person".into(), (salt, new_value));
    assert_eq!(reason(&edited), (2, EntryFault::Ledger(Error::Proof("inclusion"))));

    // A value under a name that the entry does not commit to.
    let mut edited = receipt(&log);
    edited.entries[1].openings.insert("stage".into(), (salt, Value::from("released")));
    assert_eq!(reason(&edited), (2, EntryFault::Opening("stage".into())));
}

#[test]
fn entries_of_another_request_are_refused() {
    let log = log();
    let mut mixed = receipt(&log);
    mixed.entries.insert(2, entry(&log, 7));
    assert_eq!(reason(&mixed), (3, EntryFault::OtherRequest));

    let other = RequestId::new(Micros::from_micros(5), [5; 10]);
    let mut renamed = receipt(&log);
    renamed.request = other;
    assert_eq!(reason(&renamed), (1, EntryFault::OtherRequest));
    assert_eq!(renamed.verify(None, Some(request())), Err(ReceiptError::OtherRequest(other)));
    assert_eq!(receipt(&log).verify(None, Some(other)), Err(ReceiptError::OtherRequest(request())));

    let mut keys = receipt(&log);
    keys.keys.push(entry(&log, 9));
    assert_eq!(reason(&keys), (6, EntryFault::NotAKey));
}

#[test]
fn order_and_count_are_those_of_the_log() {
    let log = log();
    let mut swapped = receipt(&log);
    swapped.entries.swap(1, 2);
    assert_eq!(reason(&swapped), (3, EntryFault::Order));
    let mut doubled = receipt(&log);
    doubled.entries.insert(1, doubled.entries[1].clone());
    assert_eq!(reason(&doubled), (3, EntryFault::Order));
    let mut empty = receipt(&log);
    empty.entries.clear();
    assert_eq!(empty.verify(None, None), Err(ReceiptError::Empty));
}

#[test]
fn an_older_checkpoint_of_the_same_log_cannot_be_mixed_in() {
    let mut log = log();
    let older = entry(&log, 5);
    log.append([draft(EntryKind::AuditRead, 99)]);
    let mut mixed = receipt(&log);
    mixed.entries[0] = older;
    assert_eq!(reason(&mixed), (2, EntryFault::OtherCheckpoint));
}

#[test]
fn a_numbered_request_shows_what_was_left_out() {
    let mut log = TestLog::new(3);
    log.append((1..5_u64).map(|n| {
        let mut numbered = draft(EntryKind::RequestAnswered, n);
        numbered.clear.push(("seq", Value::from(n)));
        numbered
    }));
    let mut all = receipt(&self::log());
    all.entries = (3..7).map(|index| entry(&log, index)).collect();
    all.keys.clear();
    assert!(all.verify(None, None).unwrap().gapless);
    let mut cut = all.clone();
    cut.entries.pop();
    assert!(cut.verify(None, None).unwrap().gapless);
    let mut hole = all.clone();
    hole.entries.remove(1);
    assert_eq!(reason(&hole), (2, EntryFault::Missing));
    let mut headless = all;
    headless.entries.remove(0);
    assert_eq!(reason(&headless), (1, EntryFault::Missing));
}

#[test]
fn every_edited_byte_of_the_file_is_refused_or_changes_nothing() {
    let log = log();
    // One entry and one key: each edit costs a verified signature.
    let mut honest = receipt(&log);
    honest.entries.truncate(1);
    let key = log.key.verifier_key();
    let verified = honest.verify(Some(key), Some(request())).unwrap();
    let file = honest.to_json();
    let accepts = |bytes: &[u8]| {
        let read = Receipt::from_json(bytes).ok()?;
        read.verify(Some(key), Some(request())).ok()
    };
    for at in 0..file.len() {
        let mut bytes = file.clone().into_bytes();
        bytes[at] ^= [0x01, 0x04, 0x20][at % 3];
        if let Some(other) = accepts(&bytes) {
            assert_eq!(other, verified, "byte {at}");
        }
    }
    for at in (0..file.len()).step_by(7) {
        assert!(accepts(&file.as_bytes()[..at]).is_none());
    }
}

#[test]
fn readers_cannot_be_played_off_against_each_other() {
    let file = receipt(&log()).to_json();
    let person = r#""value":"person-6""#;
    for (from, to) in [
        (person, r#""value":"mallory","value":"person-6""#),
        (person, r#""value":"mallory","v\u0061lue":"person-6""#),
        (r#""request":"#, r#""request":"00000000-0000-7000-8000-000000000000","request":"#),
        (r#""format":"#, r#""note":"approved by mallory","format":"#),
        (r#""keys":["#, r#""keyz":["#),
        ("receipt/v1", "receipt/v2"),
        (r#""origin":"log.example/1""#, r#""origin":"log.example/2""#),
    ] {
        let edited = file.replacen(from, to, 1);
        assert_ne!(edited, file, "{from}");
        let outcome = Receipt::from_json(edited.as_bytes()).and_then(|r| r.verify(None, None));
        assert!(outcome.is_err(), "{to}");
    }
    let mut extra = receipt(&log());
    let mut proof = TlogProof::parse(&extra.entries[0].proof).unwrap();
    proof.extra = Some(b"hello".to_vec());
    extra.entries[0].proof = proof.to_text();
    assert_eq!(reason(&extra), (1, EntryFault::Extra));
}

#[test]
fn values_that_json_would_change_come_through() {
    let mut log = TestLog::new(1);
    let mut asked = draft(EntryKind::RequestAsked, 1);
    let target = Value::object([
        ("$int", Value::parse(b"9007199254740993").unwrap()),
        ("argv", Value::bytes_or_string(b"rm \xff")),
    ]);
    asked.committed[0].value = target.clone();
    log.append([asked]);
    let mut own = receipt(&self::log());
    own.entries = vec![entry(&log, 1)];
    own.keys.clear();
    let read = Receipt::from_json(own.to_json().as_bytes()).unwrap();
    let verified = read.verify(None, None).unwrap();
    assert_eq!(verified.entries[0].value("person"), Some(&target));
    assert_ne!(Digest::sha256(b""), verified.checkpoint.head.root);
}
