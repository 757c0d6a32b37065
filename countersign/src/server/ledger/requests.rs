//! What the service decides by, held against the log: a request whose row was edited would be approved as something else than it was asked as.

use countersign_core::canonical::Value;
use countersign_core::entry::EntryKind;
use countersign_core::request::Request;
use countersign_ledger::{Entry, decode};
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
    let entries: Result<Vec<Entry>, _> = rows.iter().map(|row| decode(&row.bytes)).collect();
    Ok(entries.map_err(|error| error.to_string()).and_then(|entries| told(request, &entries)))
}

/// Whether these entries tell of this request: as many as it counted, in order, beginning with the digest that it was asked under.
fn told(request: &Request, entries: &[Entry]) -> Result<(), String> {
    let found = i64::try_from(entries.len()).unwrap_or(i64::MAX);
    if found != request.entries {
        return Err(format!("it wrote {} entries, there are {found}", request.entries));
    }
    let asked = entries.iter().find(|entry| entry.kind() == Some(EntryKind::RequestAsked));
    let asked = asked.ok_or("no entry tells that it was asked")?;
    let digest = asked.clear.get("digest").and_then(Value::as_str);
    if digest != Some(request.digest.to_string().as_str()) {
        return Err("its row was edited: the log holds another digest".to_owned());
    }
    if asked.policy != Some(request.policy) {
        return Err("its row was edited: it was asked under another policy".to_owned());
    }
    Ok(())
}
