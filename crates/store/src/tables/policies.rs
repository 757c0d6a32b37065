//! `policies`: every text that was ever proposed, one of them active.

use countersign_core::digest::Digest;
use countersign_core::time::Micros;

use super::{load, statements};
use crate::error::{Expectation, Failure, StoreError};
use crate::reader::Tx;
use crate::sql::{Row, params};

macro_rules! policy_columns {
    () => {
        "digest, body, created_at, activated_at"
    };
}

statements! {
    INSERT = "INSERT INTO policies (digest, body, active, created_at, activated_at) VALUES ($1, $2, 0, $3, NULL) \
        ON CONFLICT DO NOTHING";
    DEACTIVATE = "UPDATE policies SET active = 0 WHERE digest = $1 AND active = 1";
    ACTIVATE = "UPDATE policies SET active = 1, activated_at = $2 WHERE digest = $1 \
        AND NOT EXISTS (SELECT 1 FROM policies other WHERE other.active = 1)";
    ACTIVE = concat!("SELECT ", policy_columns!(), " FROM policies WHERE active = 1");
    BY_DIGEST = concat!("SELECT ", policy_columns!(), " FROM policies WHERE digest = $1");
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyRow {
    pub digest: Digest,
    pub text: String,
    pub created_at: Micros,
    /// When it last became the active one.
    pub activated_at: Option<Micros>,
}

#[derive(Clone, Copy, Debug)]
pub struct ActivePolicy;

#[derive(Clone, Copy, Debug)]
pub struct PolicyByDigest(pub Digest);

load!(ActivePolicy => Option<PolicyRow>, |Self, reader| reader.first(ACTIVE, params![], read).await);
load!(PolicyByDigest => Option<PolicyRow>, |Self(digest), reader| {
    reader.first(BY_DIGEST, params![&digest], read).await
});

pub(crate) async fn insert(tx: &mut Tx<'_>, digest: &Digest, text: &str, at: Micros) -> Result<(), Failure> {
    tx.execute(INSERT, params![digest, text, at]).await?;
    Ok(())
}

/// Two that race: the unique index on the active row lets one through.
pub(crate) async fn activate(
    tx: &mut Tx<'_>,
    digest: &Digest,
    from: Option<&Digest>,
    at: Micros,
) -> Result<(), Failure> {
    if let Some(from) = from {
        tx.one(DEACTIVATE, params![from], || Expectation::PolicyMoved).await?;
    }
    tx.one(ACTIVATE, params![digest, at], || Expectation::PolicyMoved).await
}

fn read(row: Row) -> Result<PolicyRow, StoreError> {
    let mut columns = row.columns("policies");
    Ok(PolicyRow {
        digest: columns.digest()?,
        text: columns.text()?,
        created_at: columns.micros()?,
        activated_at: columns.opt_micros()?,
    })
}
