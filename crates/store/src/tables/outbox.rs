//! `outbox`: messages that go out after the commit that wrote them, at least once each.

use countersign_core::changes::OutboxMessage;
use countersign_core::ids::OutboxId;
use countersign_core::time::Micros;

use super::{load, statements};
use crate::error::{Expectation, Failure, StoreError};
use crate::reader::Tx;
use crate::sql::{Row, params};

statements! {
    INSERT = "INSERT INTO outbox (id, topic, payload, due_at, attempts, owner) VALUES ($1, $2, $3, $4, 0, NULL) \
        ON CONFLICT DO NOTHING";
    // Selected first, as in `timers`.
    CLAIM = "WITH due AS (SELECT id FROM outbox WHERE due_at <= $3 ORDER BY due_at, id LIMIT $4 FOR UPDATE SKIP LOCKED) \
        UPDATE outbox SET owner = $1, due_at = $2, attempts = attempts + 1 WHERE id IN (SELECT id FROM due) \
        RETURNING id, topic, payload, due_at, attempts";
    FINISH = "DELETE FROM outbox WHERE id = $1 AND owner = $2";
    DEFER = "UPDATE outbox SET owner = NULL, due_at = $3 WHERE id = $1 AND owner = $2";
    // In parts, so that no statement takes long.
    FORGET_SOME = "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox ORDER BY due_at, id LIMIT 4096)";
    NEXT = "SELECT due_at FROM outbox ORDER BY due_at LIMIT 1";
}

/// A message that this owner alone delivers until the claim ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Its `due_at` is the end of the claim.
    pub message: OutboxMessage,
    /// How often it was claimed, this time included.
    pub attempts: i64,
}

/// When the next message, or the end of the next claim, is due.
#[derive(Clone, Copy, Debug)]
pub struct NextOutbox;

load!(NextOutbox => Option<Micros>, |Self, reader| reader.first(NEXT, params![], read_due).await);

pub(crate) async fn insert(tx: &mut Tx<'_>, message: &OutboxMessage) -> Result<(), Failure> {
    let OutboxMessage { id, topic, payload, due_at } = message;
    tx.one(INSERT, params![id, topic, payload, *due_at], || Expectation::Exists {
        what: "message",
        key: id.to_string(),
    })
    .await
}

/// Messages that were delivered long ago, or are about what is over.
pub(crate) async fn forget(tx: &mut Tx<'_>) -> Result<(), Failure> {
    while tx.execute(FORGET_SOME, params![]).await? > 0 {}
    Ok(())
}

/// Takes what is due, and what others claimed and did not finish in time.
pub(crate) async fn claim(
    tx: &mut Tx<'_>,
    owner: &str,
    now: Micros,
    until: Micros,
    limit: u32,
) -> Result<Vec<Claimed>, Failure> {
    let rows = tx.query(CLAIM, params![owner, until, now, limit]).await?;
    let mut claimed: Vec<Claimed> = rows.into_iter().map(read).collect::<Result<_, _>>()?;
    claimed.sort_by_key(|claimed| claimed.message.id);
    Ok(claimed)
}

pub(crate) async fn finish(tx: &mut Tx<'_>, id: OutboxId, owner: &str) -> Result<(), Failure> {
    tx.one(FINISH, params![id, owner], || claim_lost(id)).await
}

pub(crate) async fn defer(tx: &mut Tx<'_>, id: OutboxId, owner: &str, due_at: Micros) -> Result<(), Failure> {
    tx.one(DEFER, params![id, owner, due_at], || claim_lost(id)).await
}

fn claim_lost(id: OutboxId) -> Expectation {
    Expectation::LeaseLost { name: format!("outbox {id}") }
}

fn read(row: Row) -> Result<Claimed, StoreError> {
    let mut columns = row.columns("outbox");
    let message = OutboxMessage {
        id: columns.parsed()?,
        topic: columns.text()?,
        payload: columns.text()?,
        due_at: columns.micros()?,
    };
    Ok(Claimed { message, attempts: columns.int()? })
}

fn read_due(row: Row) -> Result<Micros, StoreError> {
    row.columns("outbox").micros()
}
