//! `entries` and `openings`: what happened, and what its commitments stand for.

use countersign_core::digest::Salt;
use countersign_core::ids::{EntryId, PersonId, RequestId};
use countersign_core::time::Micros;
use countersign_ledger::{EncodedEntry, Opening};

use super::{load, signed, statements};
use crate::error::{Expectation, Failure, StoreError};
use crate::reader::Tx;
use crate::sql::{Columns, Row, params};

statements! {
    INSERT = "INSERT INTO entries (id, epoch, at, request, person, bytes, leaf_index) \
        SELECT $1, epoch, CAST($3 AS BIGINT), $4, $5, $6, NULL FROM log_state WHERE epoch = $2 AND closed = 0 \
        ON CONFLICT DO NOTHING";
    IS_OPEN = "SELECT epoch FROM log_state WHERE epoch = $1 AND closed = 0";
    OPEN = "INSERT INTO openings (entry, opened) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    ASSIGN = "UPDATE entries SET leaf_index = $3 WHERE id = $1 AND epoch = $2 AND leaf_index IS NULL";
    UNSEQUENCED = "SELECT id, at, request, bytes FROM entries WHERE epoch = $1 AND leaf_index IS NULL \
        ORDER BY at, id LIMIT $2";
    OLDEST = "SELECT at FROM entries WHERE epoch = $1 AND leaf_index IS NULL ORDER BY at, id LIMIT 1";
    OF_REQUEST = "SELECT e.id, e.at, e.epoch, e.leaf_index, e.bytes, o.opened FROM entries e \
        LEFT JOIN openings o ON o.entry = e.id WHERE e.request = $1 ORDER BY e.at, e.id";
    BY_ID = "SELECT e.id, e.at, e.epoch, e.leaf_index, e.bytes, o.opened FROM entries e \
        LEFT JOIN openings o ON o.entry = e.id WHERE e.id = $1";
    AT = "SELECT e.id, e.at, e.epoch, e.leaf_index, e.bytes, o.opened FROM entries e \
        LEFT JOIN openings o ON o.entry = e.id WHERE e.epoch = $1 AND e.leaf_index = $2";
    RANGE = "SELECT bytes FROM entries WHERE epoch = $1 AND leaf_index >= $2 AND leaf_index < $3 ORDER BY leaf_index";
}

/// An entry to be committed together with the change that it tells.
#[derive(Clone, Debug, PartialEq)]
pub struct EntryRow {
    pub id: EntryId,
    pub at: Micros,
    pub request: Option<RequestId>,
    /// Whom it names, until that person is erased.
    pub person: Option<PersonId>,
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

/// The entry at this place of an epoch's log.
#[derive(Clone, Copy, Debug)]
pub struct EntryAt {
    pub epoch: u64,
    pub index: u64,
}

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
load!(EntriesOf => Vec<StoredEntry>, |Self(request), reader| reader.all(OF_REQUEST, params![request], read).await);
load!(EntryById => Option<StoredEntry>, |Self(id), reader| reader.first(BY_ID, params![id], read).await);
load!(EntryAt => Option<StoredEntry>, |Self { epoch, index }, reader| {
    reader.first(AT, params![signed(epoch)?, signed(index)?], read).await
});
load!(heavy EntryRange => Vec<Vec<u8>>, |Self { epoch, from, to }, reader| {
    reader.all(RANGE, params![signed(epoch)?, signed(from)?, signed(to)?], read_bytes).await
});

pub(crate) async fn insert(tx: &mut Tx<'_>, entry: &EntryRow) -> Result<(), Failure> {
    let EntryRow { id, at, request, person, epoch, encoded } = entry;
    let exists = || Expectation::Exists { what: "entry", key: id.to_string() };
    let row = params![id, signed(*epoch)?, *at, *request, *person, &encoded.bytes];
    if tx.execute(INSERT, row).await? != 1 {
        // A log that was closed takes nothing, whichever process still believes in it.
        let open = tx.query(IS_OPEN, params![signed(*epoch)?]).await?;
        return Err(Failure::Unmet(if open.is_empty() { Expectation::LogClosed { epoch: *epoch } } else { exists() }));
    }
    if encoded.openings.is_empty() {
        return Ok(());
    }
    tx.one(OPEN, params![id, opened(&encoded.openings)?], exists).await
}

/// Gives an entry its place. One that has a place already is never moved.
pub(crate) async fn assign(tx: &mut Tx<'_>, id: EntryId, epoch: u64, leaf_index: u64) -> Result<(), Failure> {
    tx.one(ASSIGN, params![id, signed(epoch)?, signed(leaf_index)?], || Expectation::LogMoved { epoch }).await
}

pub(crate) fn read(row: Row) -> Result<StoredEntry, StoreError> {
    let mut columns = row.columns("entries");
    Ok(StoredEntry {
        id: columns.parsed()?,
        at: columns.micros()?,
        epoch: columns.unsigned()?,
        leaf_index: columns.opt_unsigned()?,
        bytes: columns.bytes()?,
        openings: columns.opt_text()?.map_or(Ok(Vec::new()), |text| openings(&text, &columns))?,
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

/// All openings of an entry in one text: a JSON list of `[field, salt, canonical JSON of the value]`. One row for each entry, because each
/// row costs more than all that it holds.
pub(super) fn opened(openings: &[Opening]) -> Result<String, Failure> {
    let rows = openings
        .iter()
        .map(|Opening { field, salt, value }| Ok((field, salt, std::str::from_utf8(value)?)))
        .collect::<Result<Vec<_>, std::str::Utf8Error>>()
        .map_err(|error| Failure::Refused(error.to_string()))?;
    serde_json::to_string(&rows).map_err(|error| Failure::Refused(error.to_string()))
}

fn openings(text: &str, columns: &Columns) -> Result<Vec<Opening>, StoreError> {
    // The error of serde_json quotes what it met, and that is what openings keep apart.
    let rows: Vec<(String, Salt, String)> =
        serde_json::from_str(text).map_err(|_| columns.corrupt("the openings of an entry"))?;
    Ok(rows.into_iter().map(|(field, salt, value)| Opening { field, salt, value: value.into_bytes() }).collect())
}
