//! `meta`: single values, each under its name.

use super::{load, statements};
use crate::error::{Expectation, Failure, StoreError};
use crate::reader::Tx;
use crate::sql::{Row, params};

statements! {
    PUT = "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    INSERT = "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    REPLACE = "UPDATE meta SET value = $2 WHERE name = $1 AND value = $3";
    BY_NAME = "SELECT value FROM meta WHERE name = $1";
}

/// What must stand under a name for it to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetaExpectation {
    Any,
    Absent,
    Is(Vec<u8>),
}

#[derive(Clone, Debug)]
pub struct MetaGet(pub String);

load!(MetaGet => Option<Vec<u8>>, |Self(name), reader| reader.first(BY_NAME, params![&name], read).await);

pub(crate) async fn put(tx: &mut Tx<'_>, name: &str, value: &[u8], expect: &MetaExpectation) -> Result<(), Failure> {
    let moved = || Expectation::MetaMoved { key: name.to_owned() };
    match expect {
        MetaExpectation::Any => tx.one(PUT, params![name, value], moved).await,
        MetaExpectation::Absent => tx.one(INSERT, params![name, value], moved).await,
        MetaExpectation::Is(old) => tx.one(REPLACE, params![name, value, old], moved).await,
    }
}

fn read(row: Row) -> Result<Vec<u8>, StoreError> {
    row.columns("meta").bytes()
}
