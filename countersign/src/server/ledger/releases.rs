//! The rows of `releases`, held against the log: what was let go must not look as if it had not been, nor what is in doubt as if it were done.

use std::collections::BTreeSet;

use countersign_core::entry::EntryKind;
use countersign_core::release::{Release, ReleaseState};

use super::told::Told;

const KINDS: &[EntryKind] = &[
    EntryKind::ReleaseIntended,
    EntryKind::ReleaseDone,
    EntryKind::ReleaseFailed,
    EntryKind::ReleaseInDoubt,
    EntryKind::ReleaseClosed,
];

/// Each release of a request stands where the log says, and none is missing.
pub(super) fn check(releases: &[Release], entries: &[Told<'_>]) -> Result<(), String> {
    let told: Vec<&Told<'_>> = entries.iter().filter(|told| KINDS.iter().any(|kind| told.is(*kind))).collect();
    let fingerprints: BTreeSet<&str> = told.iter().filter_map(|told| told.clear("fingerprint")).collect();
    if releases.len() != fingerprints.len() {
        let (rows, logged) = (releases.len(), fingerprints.len());
        return Err(format!("the log tells of {logged} releases, there are {rows}"));
    }
    for release in releases {
        let what = one(release, &told);
        what.map_err(|what| format!("the row of release {} was edited: {what}", release.id))?;
    }
    // An entry that bears no fingerprint and whose clear text was erased no longer says which release it is about; how many there are, it does.
    let closed = told.iter().filter(|told| told.is(EntryKind::ReleaseClosed)).count();
    let says = releases.iter().filter(|release| matches!(release.state, ReleaseState::Closed { .. })).count();
    if closed == says {
        Ok(())
    } else {
        Err("a row of its releases was edited: the log tells of other ends".to_owned())
    }
}

fn one(release: &Release, told: &[&Told<'_>]) -> Result<(), String> {
    let (id, fingerprint) = (serde_json::Value::from(release.id.to_string()), release.fingerprint.to_string());
    let mine = |told: &&&Told<'_>| match told.opened("release") {
        Some(named) => named == id,
        None => told.clear("fingerprint") == Some(fingerprint.as_str()),
    };
    let mine: Vec<&&Told<'_>> = told.iter().filter(mine).collect();
    if mine.is_empty() || mine.iter().any(|told| told.clear("fingerprint").is_some_and(|told| told != fingerprint)) {
        return Err("the log holds another fingerprint".to_owned());
    }
    let Some(last) = mine.last() else { return Ok(()) };
    // Once erased, doubt and its end are counted only.
    let blurred = told.iter().any(|told| told.opened("release").is_none() && told.clear("fingerprint").is_none());
    let agrees = match &release.state {
        ReleaseState::Intended { .. } => last.is(EntryKind::ReleaseIntended),
        ReleaseState::Done { result, .. } => {
            last.is(EntryKind::ReleaseDone)
                && last.agrees("outcome", &result.outcome)
                && last.clear("reported_by") == Some(result.reported_by.as_str())
        }
        ReleaseState::Failed { why, .. } => last.is(EntryKind::ReleaseFailed) && last.agrees("why", why),
        ReleaseState::InDoubt { .. } => {
            last.is(EntryKind::ReleaseInDoubt) || blurred && last.is(EntryKind::ReleaseIntended)
        }
        ReleaseState::Closed { by, reason, .. } => {
            last.is(EntryKind::ReleaseClosed) && last.agrees("person", &by.name) && last.agrees("why", reason)
                || blurred && last.is(EntryKind::ReleaseIntended)
        }
    };
    if agrees { Ok(()) } else { Err("the log says otherwise how it ended".to_owned()) }
}
