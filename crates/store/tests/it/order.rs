//! The order in which a decision lists its writes means nothing.

use countersign_core::changes::{OutboxMessage, Timer, TimerKind, Write};
use countersign_core::digest::Digest;
use countersign_core::identity::AuthenticatorState;
use countersign_core::ids::OutboxId;
use countersign_core::throttle::{Throttle, ThrottleKey};
use countersign_store::{Commit, StoreConfig};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::support::{Db, NOW, account, authenticator, evidence, group, membership, person, request, session, token};

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
fn rows_after(db: &Db, writes: Vec<Write>) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = db.open().await;
        store.commit(Commit::from(writes)).await.unwrap();
    });
    drop(runtime);
    // As they lie there: SQLite's tables without row ids lie in the order of their keys.
    let (tables, order) = match db.config {
        StoreConfig::Sqlite { .. } => ("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name", ""),
        _ => ("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename", "ORDER BY ctid"),
    };
    let tables = db.sql(tables);
    let tables = tables.lines().filter(|name| !name.starts_with("refinery"));
    tables.flat_map(|name| lines(name, &db.sql(&format!("SELECT * FROM {name} {order}")))).collect()
}

fn lines(table: &str, rows: &str) -> Vec<String> {
    rows.lines().map(|row| format!("{table}: {row}")).collect()
}

fn any_order_writes_the_same_rows(cases: u32, db: fn() -> Db) {
    let expected = rows_after(&db(), writes());
    assert!(expected.len() > 15);
    let mut runner = TestRunner::new(ProptestConfig::with_cases(cases));
    let shuffled = Just(writes()).prop_shuffle();
    runner
        .run(&shuffled, |shuffled| {
            prop_assert_eq!(&rows_after(&db(), shuffled), &expected);
            Ok(())
        })
        .unwrap();
}

mod sqlite {
    #[test]
    fn any_order_writes_the_same_rows() {
        super::any_order_writes_the_same_rows(24, super::Db::sqlite);
    }
}

mod postgres {
    #[test]
    fn any_order_writes_the_same_rows() {
        super::any_order_writes_the_same_rows(6, super::Db::postgres);
    }
}
