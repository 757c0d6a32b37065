//! `sink_positions`: how far the sinks that follow the log have come. A position costs one row for each sink, whatever is delivered.

use countersign_core::ids::EntryId;
use countersign_core::time::Micros;

use super::entries::{self, StoredEntry};
use super::{load, signed, statements};
use crate::error::{Expectation, Failure, StoreError};
use crate::reader::Tx;
use crate::sql::{Row, params};

statements! {
    POSITION = "SELECT epoch, next FROM sink_positions WHERE sink = $1";
    BEGIN = "INSERT INTO sink_positions (sink, epoch, next) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    ADVANCE = "UPDATE sink_positions SET epoch = $4, next = $5 WHERE sink = $1 AND epoch = $2 AND next = $3";
    AHEAD = "SELECT e.id, e.at, e.epoch, e.leaf_index, e.bytes, o.opened FROM entries e \
        LEFT JOIN openings o ON o.entry = e.id WHERE e.epoch = $1 AND e.leaf_index >= $2 \
        ORDER BY e.leaf_index LIMIT $3";
    LEFT = "SELECT e.id, e.at, e.epoch, e.leaf_index, e.bytes, o.opened FROM entries e \
        LEFT JOIN openings o ON o.entry = e.id WHERE e.epoch = $1 AND e.leaf_index IS NULL \
        AND (e.at, e.id) > ($2, $3) ORDER BY e.at, e.id LIMIT $4";
}

/// A leaf of the log of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPosition {
    pub epoch: u64,
    pub leaf: u64,
}

/// The leaf that a sink gets next. `None` when it never got one.
#[derive(Clone, Debug)]
pub struct SinkPosition(pub String);

/// The leaves of an epoch from a place on, in their order.
#[derive(Clone, Copy, Debug)]
pub struct EntriesAhead {
    pub from: LogPosition,
    pub limit: u32,
}

/// Entries that have no place in the log of an epoch, by time and id. In an epoch that is over they never get one.
#[derive(Clone, Copy, Debug)]
pub struct EntriesLeftBehind {
    pub epoch: u64,
    /// The last one of the page before.
    pub after: Option<(Micros, EntryId)>,
    pub limit: u32,
}

load!(SinkPosition => Option<LogPosition>, |Self(sink), reader| reader.first(POSITION, params![&sink], read).await);
load!(heavy EntriesAhead => Vec<StoredEntry>, |Self { from, limit }, reader| {
    reader.all(AHEAD, params![signed(from.epoch)?, signed(from.leaf)?, limit], entries::read).await
});
load!(heavy EntriesLeftBehind => Vec<StoredEntry>, |Self { epoch, after, limit }, reader| {
    let (at, id) = after.map_or((i64::MIN, String::new()), |(at, id)| (at.as_micros(), id.to_string()));
    reader.all(LEFT, params![signed(epoch)?, at, id, limit], entries::read).await
});

/// Moves a sink on. Expects that it still stands where it stood, so that two who deliver never set it back.
pub(crate) async fn advance(
    tx: &mut Tx<'_>,
    sink: &str,
    from: Option<LogPosition>,
    to: LogPosition,
) -> Result<(), Failure> {
    let moved = || Expectation::LeaseLost { name: format!("sink {sink}") };
    let (epoch, leaf) = (signed(to.epoch)?, signed(to.leaf)?);
    match from {
        None => tx.one(BEGIN, params![sink, epoch, leaf], moved).await,
        Some(from) => tx.one(ADVANCE, params![sink, signed(from.epoch)?, signed(from.leaf)?, epoch, leaf], moved).await,
    }
}

fn read(row: Row) -> Result<LogPosition, StoreError> {
    let mut columns = row.columns("sink_positions");
    Ok(LogPosition { epoch: columns.unsigned()?, leaf: columns.unsigned()? })
}
