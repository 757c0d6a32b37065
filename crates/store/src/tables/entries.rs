//! `entries` and `openings`: what happened, and what its commitments stand for.

use countersign_core::ids::{EntryId, RequestId};
use countersign_core::time::Micros;
use countersign_ledger::{EncodedEntry, Opening};

use super::{load, signed, statements};
use crate::error::{Expectation, Failure, StoreError};
use crate::reader::{Reader, Tx};
use crate::sql::{Row, params};

statements! {
    INSERT = "INSERT INTO entries (id, epoch, at, request, bytes, leaf_index) VALUES ($1, $2, $3, $4, $5, NULL) \
        ON CONFLICT DO NOTHING";
    OPEN = "INSERT INTO openings (entry, field, salt, value) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
    ASSIGN = "UPDATE entries SET leaf_index = $3 WHERE id = $1 AND epoch = $2 AND leaf_index IS NULL";
    ERASE = "DELETE FROM openings WHERE entry IN (SELECT id FROM entries WHERE request = $1)";
    UNSEQUENCED = "SELECT id, at, request, bytes FROM entries WHERE epoch = $1 AND leaf_index IS NULL \
        ORDER BY at, id LIMIT $2";
    OLDEST = "SELECT at FROM entries WHERE epoch = $1 AND leaf_index IS NULL ORDER BY at, id LIMIT 1";
    OF_REQUEST = "SELECT id, at, epoch, leaf_index, bytes FROM entries WHERE request = $1 ORDER BY at, id";
    BY_ID = "SELECT id, at, epoch, leaf_index, bytes FROM entries WHERE id = $1";
    OPENINGS = "SELECT field, salt, value FROM openings WHERE entry = $1 ORDER BY field";
    RANGE = "SELECT bytes FROM entries WHERE epoch = $1 AND leaf_index >= $2 AND leaf_index < $3 ORDER BY leaf_index";
}

/// An entry to be committed together with the change that it tells.
#[derive(Clone, Debug, PartialEq)]
pub struct EntryRow {
    pub id: EntryId,
    pub at: Micros,
    pub request: Option<RequestId>,
    pub epoch: u64,
    pub encoded: EncodedEntry,
}

/// A committed entry that is no leaf yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingEntry {
    pub id: EntryId,
    pub at: Micros,
    pub request: Option<RequestId>,
    pub bytes: Vec<u8>,
}

/// A committed entry with what is left of its openings.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredEntry {
    pub id: EntryId,
    pub at: Micros,
    pub epoch: u64,
    /// Its place in the tree, once it is sequenced.
    pub leaf_index: Option<u64>,
    pub bytes: Vec<u8>,
    pub openings: Vec<Opening>,
}

/// What waits to be sequenced, in the order in which it should be: by time and id, which keeps the order of each request.
#[derive(Clone, Copy, Debug)]
pub struct UnsequencedEntries {
    pub epoch: u64,
    pub limit: u32,
}

/// The moment of the oldest entry of this epoch that waits to be sequenced.
#[derive(Clone, Copy, Debug)]
pub struct OldestUnsequenced(pub u64);

/// A request's entries in their order.
#[derive(Clone, Copy, Debug)]
pub struct EntriesOf(pub RequestId);

#[derive(Clone, Copy, Debug)]
pub struct EntryById(pub EntryId);

/// The bytes of leaves `from..to`, in their order.
#[derive(Clone, Copy, Debug)]
pub struct EntryRange {
    pub epoch: u64,
    pub from: u64,
    pub to: u64,
}

load!(UnsequencedEntries => Vec<PendingEntry>, |Self { epoch, limit }, reader| {
    reader.all(UNSEQUENCED, params![signed(epoch)?, limit], read_pending).await
});
load!(OldestUnsequenced => Option<Micros>, |Self(epoch), reader| {
    reader.first(OLDEST, params![signed(epoch)?], read_at).await
});
load!(EntriesOf => Vec<StoredEntry>, |Self(request), reader| {
    let mut entries = reader.all(OF_REQUEST, params![request], read).await?;
    for entry in &mut entries {
        entry.openings = openings(reader, entry.id).await?;
    }
    Ok(entries)
});
load!(EntryById => Option<StoredEntry>, |Self(id), reader| {
    let mut entry = reader.first(BY_ID, params![id], read).await?;
    if let Some(entry) = &mut entry {
        entry.openings = openings(reader, id).await?;
    }
    Ok(entry)
});
load!(heavy EntryRange => Vec<Vec<u8>>, |Self { epoch, from, to }, reader| {
    reader.all(RANGE, params![signed(epoch)?, signed(from)?, signed(to)?], read_bytes).await
});

async fn openings(reader: &mut Reader<'_>, entry: EntryId) -> Result<Vec<Opening>, StoreError> {
    reader.all(OPENINGS, params![entry], read_opening).await
}

pub(crate) async fn insert(tx: &mut Tx<'_>, entry: &EntryRow) -> Result<(), Failure> {
    let EntryRow { id, at, request, epoch, encoded } = entry;
    let exists = || Expectation::Exists { what: "entry", key: id.to_string() };
    tx.one(INSERT, params![id, signed(*epoch)?, *at, *request, &encoded.bytes], exists).await?;
    for Opening { field, salt, value } in &encoded.openings {
        tx.one(OPEN, params![id, field, salt, value], exists).await?;
    }
    Ok(())
}

/// Gives an entry its place. One that has a place already is never moved.
pub(crate) async fn assign(tx: &mut Tx<'_>, id: EntryId, epoch: u64, leaf_index: u64) -> Result<(), Failure> {
    tx.one(ASSIGN, params![id, signed(epoch)?, signed(leaf_index)?], || Expectation::LogMoved { epoch }).await
}

pub(crate) async fn erase(tx: &mut Tx<'_>, request: RequestId) -> Result<(), Failure> {
    tx.execute(ERASE, params![request]).await?;
    Ok(())
}

fn read(row: Row) -> Result<StoredEntry, StoreError> {
    let mut columns = row.columns("entries");
    Ok(StoredEntry {
        id: columns.parsed()?,
        at: columns.micros()?,
        epoch: columns.unsigned()?,
        leaf_index: columns.opt_unsigned()?,
        bytes: columns.bytes()?,
        openings: Vec::new(),
    })
}

fn read_pending(row: Row) -> Result<PendingEntry, StoreError> {
    let mut columns = row.columns("entries");
    Ok(PendingEntry {
        id: columns.parsed()?,
        at: columns.micros()?,
        request: columns.opt_parsed()?,
        bytes: columns.bytes()?,
    })
}

fn read_at(row: Row) -> Result<Micros, StoreError> {
    row.columns("entries").micros()
}

fn read_bytes(row: Row) -> Result<Vec<u8>, StoreError> {
    row.columns("entries").bytes()
}

fn read_opening(row: Row) -> Result<Opening, StoreError> {
    let mut columns = row.columns("openings");
    Ok(Opening { field: columns.text()?, salt: columns.salt()?, value: columns.bytes()? })
}
