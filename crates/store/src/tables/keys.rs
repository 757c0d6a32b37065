//! `data_keys` and `signing_keys`. Private halves are sealed before they come here.

use countersign_core::sealed::Sealed;
use countersign_core::time::Micros;

use super::{load, signed, statements};
use crate::error::{Expectation, Failure, StoreError};
use crate::reader::Tx;
use crate::seal::SealedColumn;
use crate::sql::{Row, params};

/// `row` is the kid.
pub const SIGNING_KEY_PRIVATE: SealedColumn = SealedColumn { table: "signing_keys", column: "private_key" };

statements! {
    INSERT_DATA = "INSERT INTO data_keys (id, wrapped, created_at, state) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
    LIST_DATA = "SELECT id, wrapped, created_at, state FROM data_keys ORDER BY id";
    INSERT_SIGNING = "INSERT INTO signing_keys \
        (kid, purpose, epoch, algorithm, public_key, private_key, created_at, retired_at) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING";
    RETIRE_SIGNING = "UPDATE signing_keys SET retired_at = $2 WHERE kid = $1 AND retired_at IS NULL";
    LIST_SIGNING = "SELECT kid, purpose, epoch, algorithm, public_key, private_key, created_at, retired_at \
        FROM signing_keys ORDER BY created_at, kid";
}

/// A key that seals values, itself wrapped by the master key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataKey {
    pub id: u32,
    pub wrapped: Vec<u8>,
    pub created_at: Micros,
    pub state: String,
}

/// A key that signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningKey {
    pub kid: String,
    pub purpose: String,
    pub epoch: u64,
    pub algorithm: String,
    pub public: Vec<u8>,
    pub private: Sealed,
    pub created_at: Micros,
    pub retired_at: Option<Micros>,
}

/// By id.
#[derive(Clone, Copy, Debug)]
pub struct DataKeys;

/// Oldest first, retired ones too.
#[derive(Clone, Copy, Debug)]
pub struct SigningKeys;

load!(DataKeys => Vec<DataKey>, |Self, reader| reader.all(LIST_DATA, params![], read_data).await);
load!(SigningKeys => Vec<SigningKey>, |Self, reader| reader.all(LIST_SIGNING, params![], read_signing).await);

pub(crate) async fn insert_data(tx: &mut Tx<'_>, key: &DataKey) -> Result<(), Failure> {
    let DataKey { id, wrapped, created_at, state } = key;
    tx.one(INSERT_DATA, params![*id, wrapped, *created_at, state], || Expectation::Exists {
        what: "data key",
        key: id.to_string(),
    })
    .await
}

pub(crate) async fn insert_signing(tx: &mut Tx<'_>, key: &SigningKey) -> Result<(), Failure> {
    let SigningKey { kid, purpose, epoch, algorithm, public, private, created_at, retired_at } = key;
    let row = params![kid, purpose, signed(*epoch)?, algorithm, public, private, *created_at, *retired_at];
    tx.one(INSERT_SIGNING, row, || Expectation::Exists { what: "signing key", key: kid.clone() }).await
}

pub(crate) async fn retire_signing(tx: &mut Tx<'_>, kid: &str, at: Micros) -> Result<(), Failure> {
    tx.one(RETIRE_SIGNING, params![kid, at], || Expectation::Missing { what: "signing key", key: kid.to_owned() }).await
}

fn read_data(row: Row) -> Result<DataKey, StoreError> {
    let mut columns = row.columns("data_keys");
    let id = columns.int()?;
    Ok(DataKey {
        id: u32::try_from(id).map_err(|_| columns.corrupt("a key id"))?,
        wrapped: columns.bytes()?,
        created_at: columns.micros()?,
        state: columns.text()?,
    })
}

fn read_signing(row: Row) -> Result<SigningKey, StoreError> {
    let mut columns = row.columns("signing_keys");
    Ok(SigningKey {
        kid: columns.text()?,
        purpose: columns.text()?,
        epoch: columns.unsigned()?,
        algorithm: columns.text()?,
        public: columns.bytes()?,
        private: columns.sealed()?,
        created_at: columns.micros()?,
        retired_at: columns.opt_micros()?,
    })
}
