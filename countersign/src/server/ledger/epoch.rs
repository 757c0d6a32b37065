//! One epoch's log, row by row.

use std::fmt;

use countersign_ledger::{
    Break, Entry, KnownCheckpoint, LogWalker, SourceError, TileId, TileMap, TileSource, VerifierKey, decode,
};
use countersign_store::{Checkpoints, EntryById, EntryRange, LogState, StoredEntry, Tiles, UnsequencedEntries};
use serde::Serialize;

use super::erasures::Erasures;
use super::{Finding, Rows};

/// Rows that are held in memory at once.
const BATCH: u64 = 256;
const CHECKPOINTS: u32 = 1_000;

/// An epoch whose rows, tiles, openings and checkpoints agree.
#[derive(Debug, Serialize)]
pub(in crate::server) struct Walked {
    pub(super) epoch: u64,
    pub(in crate::server) origin: String,
    /// The key that signs it: pin it elsewhere.
    pub(super) vkey: String,
    pub(in crate::server) size: u64,
    pub(super) root: String,
    pub(super) checkpoints: usize,
    /// Rows that no checkpoint covers yet.
    pub(super) unsigned: u64,
    /// Entries that are durable, but not in the tree yet.
    pub(super) waiting: u64,
    /// Another log continues it.
    pub(super) ended: bool,
    /// How many entries, of which a checkpoint is known, are not in this database, because it was restored from a backup.
    pub(super) lost: u64,
    /// Committed values whose clear text was erased.
    pub(super) erased: u64,
}

impl fmt::Display for Walked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, vkey, size, root, checkpoints, unsigned, waiting, ended, lost, erased, .. } = self;
        writeln!(f, "{origin} is intact: {size} entries, {checkpoints} checkpoints agree")?;
        writeln!(f, "  root  {root}")?;
        write!(f, "  key   {vkey}")?;
        if *lost > 0 {
            write!(f, "\n  {lost} more entries were signed, and lost when a backup was restored")?;
        }
        if *ended && (*unsigned > 0 || *waiting > 0) {
            write!(
                f,
                "\n  {unsigned} entries were never signed, {waiting} never got a place: the log ended with a restore"
            )?;
        } else if *unsigned > 0 || *waiting > 0 {
            write!(
                f,
                "\n  {unsigned} entries are not signed yet, {waiting} not sequenced yet: the server does both when it runs"
            )?;
        }
        if *erased > 0 {
            write!(f, "\n  the clear text of {erased} values was erased")?;
        }
        Ok(())
    }
}

pub(super) fn walk(
    database: &Rows,
    epoch: u64,
    key: &VerifierKey,
    mut checkpoints: Vec<KnownCheckpoint>,
    erasures: &mut Erasures,
) -> Result<Walked, Finding> {
    let state = database.load(LogState(epoch))?;
    let state = state.ok_or_else(|| Finding::Broken(format!("the log of epoch {epoch} is not there")))?;
    checkpoints.extend(stored_checkpoints(database, epoch)?);
    let tiles = StoredTiles { database, epoch };
    let broken = |found: Break| told(key, &found);
    let mut walker = LogWalker::new(key, &tiles, &checkpoints).map_err(broken)?;
    let (mut next, mut erased) = (0, 0);
    loop {
        // On past the size that the log says it has: what lies there was put there by somebody else.
        let rows = database.load(EntryRange { epoch, from: next, to: next.saturating_add(BATCH) })?;
        let full = u64::try_from(rows.len()).is_ok_and(|rows| rows == BATCH);
        for (expected, bytes) in (next..).zip(&rows) {
            let stored = stored(database, bytes)?;
            // The row says itself where it lies; where it does not say, its turn does, and the walk finds what it hashes to.
            let index = stored.as_ref().and_then(|row| row.leaf_index).unwrap_or(expected);
            walker.row(index, bytes).map_err(broken)?;
            if let Some(row) = &stored {
                let place = format!("row {index} of {}", key.name());
                let found = openings(row, &place, erasures);
                erased += found.map_err(|what| Finding::Broken(format!("{place}: {what}")))?;
            }
        }
        next += BATCH;
        // A batch with a hole in it is followed by what shows the hole.
        if !full && next >= state.size {
            break;
        }
    }
    let intact = walker.finish().map_err(broken)?;
    if intact.head != state {
        return Err(Finding::Broken(format!(
            "the log {} says that it has {} rows with root {}, but there are {} with root {}",
            key.name(),
            state.size,
            state.root,
            intact.head.size,
            intact.head.root
        )));
    }
    let waiting = waiting(database, epoch, erasures)?;
    Ok(Walked {
        epoch,
        origin: key.name().to_owned(),
        vkey: key.to_string(),
        size: intact.head.size,
        root: intact.head.root.to_string(),
        checkpoints: intact.checkpoints,
        unsigned: intact.unsigned,
        waiting,
        ended: false,
        lost: 0,
        erased,
    })
}

fn told(key: &VerifierKey, found: &Break) -> Finding {
    Finding::Broken(format!("{}: {found}", key.name()))
}

fn stored_checkpoints(database: &Rows, epoch: u64) -> Result<Vec<KnownCheckpoint>, Finding> {
    let (mut known, mut after) = (Vec::new(), None);
    loop {
        let page = database.load(Checkpoints { epoch, after, limit: CHECKPOINTS })?;
        let Some(last) = page.last() else { return Ok(known) };
        after = Some(last.size);
        known.extend(
            page.into_iter().map(|row| KnownCheckpoint { kept_by: "of the database".to_owned(), text: row.note }),
        );
    }
}

/// The row of these bytes with its place and its openings, if the bytes still say which one they are.
fn stored(database: &Rows, bytes: &[u8]) -> Result<Option<StoredEntry>, Finding> {
    let Ok(entry) = decode(bytes) else { return Ok(None) };
    Ok(database.load(EntryById(entry.id))?.filter(|row| row.bytes == bytes))
}

/// Holds the clear texts against the commitments, and counts those that are gone.
fn openings(row: &StoredEntry, place: &str, erasures: &mut Erasures) -> Result<u64, String> {
    let entry = decode(&row.bytes).map_err(|error| error.to_string())?;
    let Entry { commitments, .. } = &entry;
    for opening in &row.openings {
        match commitments.get(&opening.field) {
            Some(commitment) if *commitment == opening.commitment() => {}
            Some(_) => {
                return Err(format!(
                    "the clear text of `{}` was edited: the entry commits to another value",
                    opening.field
                ));
            }
            None => {
                return Err(format!(
                    "there is a clear text of `{}`, which the entry does not commit to",
                    opening.field
                ));
            }
        }
    }
    erasures.read(&entry, &row.openings, place)
}

/// Entries that a crash left outside the tree are as good as the others, and must read.
fn waiting(database: &Rows, epoch: u64, erasures: &mut Erasures) -> Result<u64, Finding> {
    let rows = database.load(UnsequencedEntries { epoch, limit: u32::MAX })?;
    for row in &rows {
        let found = decode(&row.bytes).map_err(|error| error.to_string()).and_then(|entry| {
            if entry.id == row.id { Ok(()) } else { Err("it lies under another id than its own".to_owned()) }
        });
        let place = format!("entry {}, not sequenced yet", row.id);
        found.map_err(|what| Finding::Broken(format!("{place}: {what}")))?;
        if let Some(row) = database.load(EntryById(row.id))? {
            openings(&row, &place, erasures).map_err(|what| Finding::Broken(format!("{place}: {what}")))?;
        }
    }
    Ok(u64::try_from(rows.len()).unwrap_or(u64::MAX))
}

struct StoredTiles<'a> {
    database: &'a Rows,
    epoch: u64,
}

impl TileSource for StoredTiles<'_> {
    fn tile(&self, tile: TileId) -> Result<Option<Vec<u8>>, SourceError> {
        let found = self.database.load(Tiles { epoch: self.epoch, tiles: vec![tile] });
        let found: TileMap = found.map_err(|error| SourceError(error.to_string()))?.into_iter().collect();
        found.tile(tile)
    }
}
