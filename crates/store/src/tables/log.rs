//! `log_state`, `tiles` and `checkpoints`: the tree over the entries.

use countersign_core::digest::Digest;
use countersign_core::ids::EntryId;
use countersign_core::time::Micros;
use countersign_ledger::{TileId, TreeHead};

use super::{entries, load, signed, statements};
use crate::error::{Expectation, Failure, StoreError};
use crate::reader::{Reader, Tx};
use crate::sql::{Row, params};

statements! {
    OPEN = "INSERT INTO log_state (epoch, size, root, closed) VALUES ($1, 0, $2, 0) ON CONFLICT DO NOTHING";
    CLOSE = "UPDATE log_state SET closed = 1 WHERE epoch = $1 AND closed = 0";
    GROW = "UPDATE log_state SET size = $3, root = $4 WHERE epoch = $1 AND size = $2 AND closed = 0";
    STATE = "SELECT size, root FROM log_state WHERE epoch = $1";
    CURRENT = "SELECT epoch FROM log_state ORDER BY epoch DESC LIMIT 1";
    NEWEST = "SELECT epoch, size, root, closed FROM log_state ORDER BY epoch DESC LIMIT 1";
    EPOCHS = "SELECT epoch, size, root, closed FROM log_state ORDER BY epoch LIMIT $1";
    PUT_TILE = "INSERT INTO tiles (epoch, level, n, width, bytes) VALUES ($1, $2, $3, $4, $5) \
        ON CONFLICT (epoch, level, n) DO UPDATE SET width = excluded.width, bytes = excluded.bytes \
        WHERE tiles.width < excluded.width";
    TILE = "SELECT level, n, width, bytes FROM tiles WHERE epoch = $1 AND level = $2 AND n = $3";
    PUT_CHECKPOINT = "INSERT INTO checkpoints (epoch, size, note, at) \
        SELECT epoch, CAST($2 AS BIGINT), $3, CAST($4 AS BIGINT) FROM log_state WHERE epoch = $1 AND closed = 0 \
        ON CONFLICT DO NOTHING";
    LATEST = "SELECT epoch, size, note, at FROM checkpoints WHERE epoch = $1 ORDER BY size DESC LIMIT 1";
    LIST = "SELECT epoch, size, note, at FROM checkpoints WHERE epoch = $1 AND size > $2 ORDER BY size LIMIT $3";
}

/// Entries that become the leaves `from..head.size` of an epoch's tree.
#[derive(Clone, Debug, PartialEq)]
pub struct Integration {
    pub epoch: u64,
    /// The size that the tree must still have.
    pub from: u64,
    /// The tree with them.
    pub head: TreeHead,
    /// In the order of their leaves.
    pub entries: Vec<EntryId>,
    pub tiles: Vec<(TileId, Vec<u8>)>,
}

/// A signed tree head, as published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointRow {
    pub epoch: u64,
    pub size: u64,
    pub note: String,
    pub at: Micros,
}

/// The log of an epoch as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochRow {
    pub epoch: u64,
    pub head: TreeHead,
    /// Nothing is added to it any more.
    pub closed: bool,
}

/// The newest epoch and its newest checkpoint, as of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub log: EpochRow,
    pub checkpoint: Option<CheckpointRow>,
}

/// Every epoch that was opened, the first one first.
#[derive(Clone, Copy, Debug)]
pub struct Epochs;

/// `None` before anything was set up.
#[derive(Clone, Copy, Debug)]
pub struct LogStanding;

/// The tree of an epoch.
#[derive(Clone, Copy, Debug)]
pub struct LogState(pub u64);

/// The newest epoch that was opened.
#[derive(Clone, Copy, Debug)]
pub struct CurrentEpoch;

/// The widest stored version of each of these tiles, under the width that it has; what is not stored is left out.
#[derive(Clone, Debug)]
pub struct Tiles {
    pub epoch: u64,
    pub tiles: Vec<TileId>,
}

#[derive(Clone, Copy, Debug)]
pub struct LatestCheckpoint(pub u64);

/// A page of an epoch's checkpoints, the smallest first.
#[derive(Clone, Copy, Debug)]
pub struct Checkpoints {
    pub epoch: u64,
    /// The size of the last one of the page before.
    pub after: Option<u64>,
    pub limit: u32,
}

load!(LogState => Option<TreeHead>, |Self(epoch), reader| reader.first(STATE, params![signed(epoch)?], read_head).await);
load!(CurrentEpoch => Option<u64>, |Self, reader| reader.first(CURRENT, params![], read_epoch).await);
load!(Epochs => Vec<EpochRow>, |Self, reader| reader.all(EPOCHS, params![u32::MAX], read_log).await);
load!(LogStanding => Option<Standing>, |Self, reader| {
    let Some(log) = reader.first(NEWEST, params![], read_log).await? else { return Ok(None) };
    let checkpoint = reader.first(LATEST, params![signed(log.epoch)?], read_checkpoint).await?;
    Ok(Some(Standing { log, checkpoint }))
});
load!(Tiles => Vec<(TileId, Vec<u8>)>, |Self { epoch, tiles }, reader| find_tiles(reader, epoch, tiles).await);
load!(LatestCheckpoint => Option<CheckpointRow>, |Self(epoch), reader| {
    reader.first(LATEST, params![signed(epoch)?], read_checkpoint).await
});
load!(Checkpoints => Vec<CheckpointRow>, |Self { epoch, after, limit }, reader| {
    let after = after.map_or(Ok(-1), signed)?;
    reader.all(LIST, params![signed(epoch)?, after, limit], read_checkpoint).await
});

async fn find_tiles(
    reader: &mut Reader<'_>,
    epoch: u64,
    tiles: Vec<TileId>,
) -> Result<Vec<(TileId, Vec<u8>)>, StoreError> {
    let mut found = Vec::with_capacity(tiles.len());
    for tile in tiles {
        let place = params![signed(epoch)?, i64::from(tile.level), signed(tile.index)?];
        found.extend(reader.first(TILE, place, read_tile).await?);
    }
    Ok(found)
}

pub(crate) async fn open(tx: &mut Tx<'_>, epoch: u64) -> Result<(), Failure> {
    let root = countersign_ledger::empty_root();
    tx.one(OPEN, params![signed(epoch)?, &root], || Expectation::Exists { what: "epoch", key: epoch.to_string() }).await
}

/// From now on nothing is added to this log. Waits for the commits that are adding something.
pub(crate) async fn close(tx: &mut Tx<'_>, epoch: u64) -> Result<(), Failure> {
    tx.hold_entries().await?;
    tx.one(CLOSE, params![signed(epoch)?], || Expectation::LogClosed { epoch }).await
}

/// The tree grows by exactly these entries, or by none.
pub(crate) async fn integrate(tx: &mut Tx<'_>, integration: &Integration) -> Result<(), Failure> {
    let Integration { epoch, from, head, entries: leaves, tiles } = integration;
    if head.size.checked_sub(*from) != u64::try_from(leaves.len()).ok() {
        return Err(Failure::Refused(format!(
            "a tree that grows from {from} to {} needs as many entries, not {}",
            head.size,
            leaves.len()
        )));
    }
    let root: &Digest = &head.root;
    tx.one(GROW, params![signed(*epoch)?, signed(*from)?, signed(head.size)?, root], || Expectation::LogMoved {
        epoch: *epoch,
    })
    .await?;
    for (place, id) in (*from..).zip(leaves) {
        entries::assign(tx, *id, *epoch, place).await?;
    }
    for (tile, bytes) in tiles {
        let row = params![signed(*epoch)?, i64::from(tile.level), signed(tile.index)?, i64::from(tile.width), bytes];
        tx.execute(PUT_TILE, row).await?;
    }
    Ok(())
}

pub(crate) async fn put_checkpoint(tx: &mut Tx<'_>, checkpoint: &CheckpointRow) -> Result<(), Failure> {
    let CheckpointRow { epoch, size, note, at } = checkpoint;
    tx.execute(PUT_CHECKPOINT, params![signed(*epoch)?, signed(*size)?, note, *at]).await?;
    Ok(())
}

fn read_head(row: Row) -> Result<TreeHead, StoreError> {
    let mut columns = row.columns("log_state");
    Ok(TreeHead { size: columns.unsigned()?, root: columns.digest()? })
}

fn read_log(row: Row) -> Result<EpochRow, StoreError> {
    let mut columns = row.columns("log_state");
    Ok(EpochRow {
        epoch: columns.unsigned()?,
        head: TreeHead { size: columns.unsigned()?, root: columns.digest()? },
        closed: columns.flag()?,
    })
}

fn read_epoch(row: Row) -> Result<u64, StoreError> {
    row.columns("log_state").unsigned()
}

fn read_tile(row: Row) -> Result<(TileId, Vec<u8>), StoreError> {
    let mut columns = row.columns("tiles");
    let (level, index, width) = (columns.unsigned()?, columns.unsigned()?, columns.unsigned()?);
    let level = u8::try_from(level).map_err(|_| columns.corrupt("a level"))?;
    let width = u16::try_from(width).map_err(|_| columns.corrupt("a width"))?;
    Ok((TileId { level, index, width }, columns.bytes()?))
}

fn read_checkpoint(row: Row) -> Result<CheckpointRow, StoreError> {
    let mut columns = row.columns("checkpoints");
    Ok(CheckpointRow {
        epoch: columns.unsigned()?,
        size: columns.unsigned()?,
        note: columns.text()?,
        at: columns.micros()?,
    })
}
