//! What the service decides by, held against the log: a request whose row was edited would be approved as something else than it was asked as, or be
//! used once more than anybody approved.

use std::collections::BTreeSet;

use countersign_core::canonical::Value;
use countersign_core::entry::EntryKind;
use countersign_core::grant::GrantState;
use countersign_core::request::{Request, Stage};
use countersign_ledger::{Entry, Opening, decode};
use countersign_store::{EntriesOf, RequestsOf, Whose};

use super::{Database, Finding};

const PAGE: u32 = 256;

/// How many requests there are, all of which agree with their entries.
pub(super) fn check(database: &Database) -> Result<u64, Finding> {
    let (mut count, mut before) = (0, None);
    loop {
        let page = database.load(RequestsOf { whose: Whose::Everybody, before, limit: PAGE })?;
        let Some(last) = page.last() else { return Ok(count) };
        before = Some(last.id);
        for request in &page {
            one(database, request)?.map_err(|what| Finding::Broken(format!("request {}: {what}", request.id)))?;
            count += 1;
        }
    }
}

fn one(database: &Database, request: &Request) -> Result<Result<(), String>, Finding> {
    if !request.digest_holds() {
        return Ok(Err("its row was edited: it is not what was digested when it was asked".to_owned()));
    }
    let rows = database.load(EntriesOf(request.id))?;
    let entries: Result<Vec<Told>, _> =
        rows.iter().map(|row| decode(&row.bytes).map(|entry| Told { entry, openings: &row.openings })).collect();
    Ok(entries.map_err(|error| error.to_string()).and_then(|entries| {
        counted(request, &entries)?;
        asked(request, &entries)?;
        stage(request, &entries)?;
        answered(request, &entries)?;
        granted(request, &entries)
    }))
}

/// An entry with what is left of its clear texts, which were held against it before.
struct Told<'a> {
    entry: Entry,
    openings: &'a [Opening],
}

impl Told<'_> {
    fn is(&self, kind: EntryKind) -> bool {
        self.entry.kind() == Some(kind)
    }

    /// The clear text of a field; `None` if it was erased.
    fn opened(&self, field: &str) -> Option<serde_json::Value> {
        let opening = self.openings.iter().find(|opening| opening.field == field)?;
        serde_json::from_slice(&opening.value).ok()
    }

    /// Whether a row may say this, as far as the clear text is still there.
    fn agrees(&self, field: &str, says: &impl serde::Serialize) -> bool {
        self.opened(field).is_none_or(|told| serde_json::to_value(says).is_ok_and(|says| says == told))
    }
}

fn edited(what: &str) -> String {
    format!("its row was edited: {what}")
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

/// Who approved: each approval that counts has its entry, in the same order.
fn answered(request: &Request, entries: &[Told<'_>]) -> Result<(), String> {
    let logged: Vec<_> = entries.iter().filter(|told| told.is(EntryKind::RequestAnswered)).collect();
    let approvals = request.approvals();
    let same = logged.len() == approvals.len()
        && logged.iter().zip(approvals).all(|(told, approval)| {
            told.agrees("person", &approval.evidence.person.name) && told.agrees("factor", &approval.evidence.factor)
        });
    if same { Ok(()) } else { Err(edited("the log holds other approvals")) }
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
    // A use is told when it begins and when it ends, under the same fingerprint; one within the grant only when it ends.
    let fingerprints: BTreeSet<&str> = entries
        .iter()
        .filter(|told| told.is(EntryKind::ReleaseIntended) || told.is(EntryKind::ReleaseDone))
        .filter_map(|told| told.entry.clear.get("fingerprint").and_then(Value::as_str))
        .collect();
    let left = u64::try_from(fingerprints.len()).ok().and_then(|used| u64::from(grant.uses).checked_sub(used));
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
