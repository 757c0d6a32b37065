//! How the logs of two epochs hang together: the first entry of the later one says what it continues.

use countersign_ledger::{Checkpoint, EpochLink, KnownCheckpoint, VerifierKey, decode};
use countersign_store::EntryAt;

use super::epoch::Walked;
use super::{Finding, Rows};

/// What the log of `epoch` says that it continues.
pub(super) fn of(database: &Rows, epoch: u64) -> Result<EpochLink, Finding> {
    let broken = |what: &str| Finding::Broken(format!("the log of epoch {epoch} {what}"));
    let first = database.load(EntryAt { epoch, index: 0 })?.ok_or_else(|| broken("is empty"))?;
    let first = decode(&first.bytes).map_err(|error| Finding::Broken(format!("row 0 of epoch {epoch}: {error}")))?;
    EpochLink::read(&first).ok_or_else(|| broken("does not begin with what it continues"))
}

/// Of the checkpoints of a log, those that it must continue. The others are of what was lost with the restore that ended it, and the log after it says so.
pub(super) fn still_held(link: &EpochLink, kept: Vec<KnownCheckpoint>) -> Vec<KnownCheckpoint> {
    let lost = |text: &str| {
        Checkpoint::claimed(text).is_ok_and(|claimed| claimed.head.size > link.held.size && link.covers(&claimed.head))
    };
    let own =
        link.checkpoint.clone().map(|text| KnownCheckpoint { kept_by: "named by the log after it".to_owned(), text });
    kept.into_iter().chain(own).filter(|known| !lost(&known.text)).collect()
}

/// Holds the log that ended against the words of the one after it.
pub(super) fn check(link: &EpochLink, key: &VerifierKey, walked: &mut Walked) -> Result<(), Finding> {
    let broken = |what: String| Err(Finding::Broken(format!("{}: {what}", key.name())));
    if link.previous != *key {
        return broken(format!("the log after it continues {}, not this one", link.previous));
    }
    if link.held.size != walked.size || link.held.root.to_string() != walked.root {
        return broken(format!(
            "the log after it continues {} entries with root {}, but there are {} with root {}",
            link.held.size, link.held.root, walked.size, walked.root
        ));
    }
    if link.stranded != walked.waiting {
        return broken(format!(
            "the log after it says that {} entries never got a place, but there are {}",
            link.stranded, walked.waiting
        ));
    }
    walked.ended = true;
    walked.lost = link.known().size - link.held.size;
    Ok(())
}
