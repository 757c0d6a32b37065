//! Rows that survive. All SQL of the service lives here, one text for every engine; above it there are questions ([`Load`]), changes that are
//! written together or not at all ([`Commit`]), and no word of which engine it is.
//!
//! A commit names what it expects; [`CommitError::Conflict`] says what it found instead. Whoever gets it loads again and decides again.

pub mod backup;
mod commit;
mod error;
pub mod load;
mod migrations;
mod op;
mod postgres;
mod reader;
pub mod seal;
mod sql;
mod sqlite;
mod store;
mod tables;
pub mod testing;

pub use commit::{Commit, SystemWrite};
pub use error::{CommitError, Expectation, Fatal, StoreError};
pub use load::*;
pub use postgres::PostgresConfig;
pub use reader::{Load, Reader};
pub use sql::{Param, Row, Value};
pub use store::{Coming, Stats, Store, StoreConfig};
pub use tables::changes::{Change, ChangeKind};
pub use tables::entries::EntryRow;
pub use tables::keys::{DataKey, SigningKey};
pub use tables::leases::Fence;
pub use tables::log::{CheckpointRow, EpochRow, Integration, Standing};
pub use tables::meta::MetaExpectation;
pub use tables::outbox::Claimed;
pub use tables::sinks::LogPosition;
