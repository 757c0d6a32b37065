//! The order in which a decision lists its writes means nothing.

use countersign_core::changes::{OutboxMessage, Timer, TimerKind, Write};
use countersign_core::digest::Digest;
use countersign_core::identity::AuthenticatorState;
use countersign_core::ids::OutboxId;
use countersign_core::throttle::{Throttle, ThrottleKey};
use countersign_store::{Commit, Store};
use proptest::prelude::*;
use rusqlite::types::Value;

use crate::support::{
    NOW, account, authenticator, config, evidence, group, membership, person, request, session, token,
};

fn writes() -> Vec<Write> {
    let (alice, bob) = (person(1), person(2));
    let by = account(1, Some(&alice));
    let totp = authenticator(2, &bob, AuthenticatorState::Active);
    let old = authenticator(3, &bob, AuthenticatorState::Active);
    let asked = request(1, &by, &[group("dba")]);
    let digest = Digest::sha256(b"policy");
    vec![
        Write::PutMembership(membership(&group("dba"), &bob)),
        Write::InsertGroup { group: group("dba"), created_at: NOW },
        Write::InsertInbox { request: asked.id, groups: vec![group("dba"), group("ops")], deadline: asked.deadline },
        Write::InsertEvidence { request: asked.id, evidence: evidence(&bob, &totp, 1) },
        Write::RemoveAuthenticators { person: bob.id, except: None },
        Write::InsertAuthenticator(totp),
        Write::InsertAuthenticator(old),
        Write::InsertSession(session(1, &by)),
        Write::EndSessionsOf { account: by.id },
        Write::RevokeTokensOf { owner: by.id, at: NOW },
        Write::InsertToken(token(1, &by)),
        Write::SetTimer(Timer::request(TimerKind::RequestDeadline, asked.id, asked.deadline)),
        Write::InsertOutbox(OutboxMessage {
            id: OutboxId::new(NOW, [1; 10]),
            topic: "notice.asked".to_owned(),
            payload: "{}".to_owned(),
            due_at: NOW,
        }),
        Write::InsertRequest(Box::new(asked)),
        Write::InsertAccount(by),
        Write::InsertPerson(alice),
        Write::InsertPerson(bob),
        Write::ActivatePolicy { digest, from: None, at: NOW },
        Write::InsertPolicy { digest, text: "text".to_owned(), at: NOW },
        Write::ClearThrottles { subject: "totp:x".to_owned() },
        Write::Throttle(
            Throttle::new(ThrottleKey { subject: "totp:x".to_owned(), source: "192.0.2.1".to_owned() }).failed(NOW),
        ),
    ]
}

/// Every row of every table, in the order in which they were inserted.
fn rows_after(writes: Vec<Write>) -> Vec<(String, Vec<Value>)> {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&config(folder.path())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(store.commit(Commit::from(writes))).unwrap();
    drop(store);
    let connection = rusqlite::Connection::open(folder.path().join("countersign.db")).unwrap();
    let mut names = connection
        .prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'refinery%'")
        .unwrap();
    let names: Vec<String> = names.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let mut all = Vec::new();
    for name in names {
        let mut table = connection.prepare(&format!("SELECT * FROM {name} ORDER BY rowid")).unwrap();
        let width = table.column_count();
        let mut rows = table.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            all.push((name.clone(), (0..width).map(|at| row.get(at).unwrap()).collect()));
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_order_writes_the_same_rows(shuffled in Just(writes()).prop_shuffle()) {
        let rows = rows_after(shuffled);
        prop_assert!(rows.len() > 15);
        prop_assert_eq!(rows, rows_after(writes()));
    }
}
