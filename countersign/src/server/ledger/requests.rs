//! What the service decides by, held against the log: a request whose row was edited would be approved as something else than it was asked as, or be
//! used once more than anybody approved.

use std::collections::BTreeSet;

use countersign_core::canonical::Value;
use countersign_core::entry::EntryKind;
use countersign_core::grant::GrantState;
use countersign_core::request::{Request, Stage};
use countersign_ledger::decode;
use countersign_store::{EntriesOf, ReleasesOf, RequestsOf, Whose};

use super::answers::Names;
use super::erasures::Erasures;
use super::told::{Told, edited};
use super::{Finding, Rows, answers, releases};

const PAGE: u32 = 256;

/// How many requests there are, all of which agree with their entries.
pub(super) fn check(database: &Rows, erasures: &Erasures) -> Result<u64, Finding> {
    let (mut count, mut before) = (0, None);
    let mut names = Names::default();
    loop {
        let page = database.load(RequestsOf { whose: Whose::Everybody, before, limit: PAGE })?;
        let Some(last) = page.last() else { return Ok(count) };
        before = Some(last.id);
        for request in &page {
            one(database, request, erasures, &mut names)?
                .map_err(|what| Finding::Broken(format!("request {}: {what}", request.id)))?;
            count += 1;
        }
    }
}

fn one(
    database: &Rows,
    request: &Request,
    erasures: &Erasures,
    names: &mut Names,
) -> Result<Result<(), String>, Finding> {
    if let Err(what) = words(request, erasures) {
        return Ok(Err(what));
    }
    let rows = database.load(EntriesOf(request.id))?;
    let releases = database.load(ReleasesOf(request.id))?;
    let entries: Result<Vec<Told>, _> =
        rows.iter().map(|row| decode(&row.bytes).map(|entry| Told { entry, openings: &row.openings })).collect();
    let entries = match entries {
        Ok(entries) => entries,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let found = counted(request, &entries)
        .and_then(|()| asked(request, &entries))
        .and_then(|()| stage(request, &entries))
        .and_then(|()| granted(request, &entries))
        .and_then(|()| releases::check(&releases, &entries));
    match found {
        Ok(()) => answers::check(database, request, &entries, names),
        Err(what) => Ok(Err(what)),
    }
}

/// What was digested is there, or an erasure tells that it is gone.
fn words(request: &Request, erasures: &Erasures) -> Result<(), String> {
    match (request.erased, erasures.took_the_words_of(request.id)) {
        (true, true) => Ok(()),
        (true, false) => Err(edited("it says that it was erased, and no erasure tells of it")),
        (false, true) => Err(edited("it was erased, and its words are back")),
        (false, false) if request.digest_holds() => Ok(()),
        (false, false) => Err(edited("it is not what was digested when it was asked")),
    }
}

fn counted(request: &Request, entries: &[Told<'_>]) -> Result<(), String> {
    let found = i64::try_from(entries.len()).unwrap_or(i64::MAX);
    if found == request.entries {
        Ok(())
    } else {
        Err(format!("it wrote {} entries, there are {found}", request.entries))
    }
}

/// What was asked, and under which policy; the digest holds everything else of it, demands and bounds too.
fn asked(request: &Request, entries: &[Told<'_>]) -> Result<(), String> {
    let asked = entries.iter().find(|told| told.is(EntryKind::RequestAsked));
    let asked = asked.ok_or("no entry tells that it was asked")?;
    let digest = asked.entry.clear.get("digest").and_then(Value::as_str);
    if digest != Some(request.digest.to_string().as_str()) {
        return Err(edited("the log holds another digest"));
    }
    if asked.entry.policy != Some(request.policy) {
        return Err(edited("it was asked under another policy"));
    }
    Ok(())
}

/// Where it stands: what was denied must not wait again.
fn stage(request: &Request, entries: &[Told<'_>]) -> Result<(), String> {
    let logged = entries.iter().rev().find_map(|told| match told.entry.kind()? {
        EntryKind::RequestGranted => Some("granted"),
        EntryKind::RequestDenied => Some("denied"),
        EntryKind::RequestExpired => Some("expired"),
        EntryKind::RequestCancelled => Some("cancelled"),
        _ => None,
    });
    let says = match request.stage {
        Stage::Asked | Stage::Challenged { .. } => None,
        Stage::Granted { .. } => Some("granted"),
        Stage::Refused { .. } => Some("denied"),
        Stage::Expired { .. } => Some("expired"),
        Stage::Cancelled { .. } => Some("cancelled"),
    };
    if logged == says {
        return Ok(());
    }
    let [logged, says] = [logged, says].map(|stage| stage.unwrap_or("still waiting"));
    Err(edited(&format!("it says {says}, the log says {logged}")))
}

/// What the right is, and how much of it is left: what was used up must not be fit for use again.
fn granted(request: &Request, entries: &[Told<'_>]) -> Result<(), String> {
    let (Some(grant), Some(logged)) = (request.grant(), entries.iter().find(|told| told.is(EntryKind::RequestGranted)))
    else {
        return Ok(());
    };
    let uses = logged.entry.clear.get("uses").and_then(Value::as_u64);
    let bounds = [("not_before", grant.not_before), ("expires_at", grant.expires_at)];
    if uses != Some(u64::from(grant.uses))
        || !logged.agrees("grant", &grant.id)
        || !bounds.iter().all(|(field, at)| logged.agrees(field, &at.to_string()))
    {
        return Err(edited("the log holds another grant"));
    }
    // A use is told when it begins and when it ends, under the same fingerprint; one within the grant only when it ends. One that failed was given back.
    let of = |kinds: &[EntryKind]| -> BTreeSet<&str> {
        let told = entries.iter().filter(|told| kinds.iter().any(|kind| told.is(*kind)));
        told.filter_map(|told| told.clear("fingerprint")).collect()
    };
    let given_back = of(&[EntryKind::ReleaseFailed]);
    let uses_taken = of(&[EntryKind::ReleaseIntended, EntryKind::ReleaseDone]).difference(&given_back).count();
    let left = u64::try_from(uses_taken).ok().and_then(|taken| u64::from(grant.uses).checked_sub(taken));
    let has = |kind| entries.iter().any(|told| told.is(kind));
    let (revoked, ended) = (has(EntryKind::GrantRevoked), has(EntryKind::GrantEnded));
    let agrees = left.is_some()
        && match grant.state {
            GrantState::Live { uses_left } => left == Some(u64::from(uses_left)) && !revoked && !ended,
            GrantState::Spent => left == Some(0) && !revoked && !ended,
            GrantState::Revoked { .. } => revoked,
            GrantState::Ended { .. } => ended,
        };
    if agrees { Ok(()) } else { Err(edited("the log holds other uses of its grant")) }
}
