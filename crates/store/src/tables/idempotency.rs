//! `idempotency`: keys that clients send so that a repeated call asks nothing twice.

use countersign_core::digest::Digest;
use countersign_core::ids::{AccountId, RequestId};
use countersign_core::time::Micros;

use super::{load, statements};
use crate::error::{Expectation, Failure, StoreError};
use crate::reader::Tx;
use crate::sql::{Row, params};

statements! {
    INSERT = "INSERT INTO idempotency (account, name, body, request, expires_at) VALUES ($1, $2, $3, $4, $5) \
        ON CONFLICT DO NOTHING";
    PURGE = "DELETE FROM idempotency WHERE expires_at <= $1";
    BY_KEY = "SELECT body, request, expires_at FROM idempotency WHERE account = $1 AND name = $2";
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyRow {
    pub body: Digest,
    pub request: RequestId,
    pub expires_at: Micros,
}

/// What this key was used for. It holds until it is purged, however long ago it expired.
#[derive(Clone, Debug)]
pub struct IdempotencyFor {
    pub account: AccountId,
    pub key: String,
}

load!(IdempotencyFor => Option<IdempotencyRow>, |Self { account, key }, reader| {
    reader.first(BY_KEY, params![account, &key], read).await
});

pub(crate) async fn insert(
    tx: &mut Tx<'_>,
    account: AccountId,
    key: &str,
    row: &IdempotencyRow,
) -> Result<(), Failure> {
    let IdempotencyRow { body, request, expires_at } = row;
    tx.one(INSERT, params![account, key, body, request, *expires_at], || Expectation::IdempotencyUsed {
        account,
        key: key.to_owned(),
    })
    .await
}

pub(crate) async fn purge(tx: &mut Tx<'_>, now: Micros) -> Result<(), Failure> {
    tx.execute(PURGE, params![now]).await?;
    Ok(())
}

fn read(row: Row) -> Result<IdempotencyRow, StoreError> {
    let mut columns = row.columns("idempotency");
    Ok(IdempotencyRow { body: columns.digest()?, request: columns.parsed()?, expires_at: columns.micros()? })
}
