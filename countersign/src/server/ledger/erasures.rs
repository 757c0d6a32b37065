//! What was erased, as the log tells it. A clear text that is gone although no erasure tells of it was taken away by somebody else.

use std::collections::{BTreeMap, BTreeSet};

use countersign_core::entry::EntryKind;
use countersign_core::ids::{EntryId, RequestId};
use countersign_ledger::{Entry, Opening};

/// Where the entries of all erasures name what they closed, and which requests lost their words.
const CLOSED: &str = "closed";
const ROWS: &str = "rows";

/// Gathered while the log is walked; an erasure comes after what it erased.
#[derive(Debug, Default)]
pub(super) struct Erasures {
    closed: BTreeMap<EntryId, BTreeSet<String>>,
    rows: BTreeSet<RequestId>,
    /// Closed fields whose erasure is still to be found, with words for where they are.
    missing: Vec<(String, EntryId, String)>,
}

impl Erasures {
    /// Takes up an entry whose openings were held against it. Returns how many of its clear texts are gone.
    pub(super) fn read(&mut self, entry: &Entry, openings: &[Opening], place: &str) -> Result<u64, String> {
        let gone = entry.commitments.keys().filter(|field| !openings.iter().any(|opening| opening.field == **field));
        let before = self.missing.len();
        self.missing.extend(gone.map(|field| (place.to_owned(), entry.id, field.clone())));
        if entry.kind() == Some(EntryKind::AuditErased) {
            self.tell(openings).ok_or("an entry that tells of an erasure does not say of what")?;
        }
        Ok(u64::try_from(self.missing.len() - before).unwrap_or(0))
    }

    fn tell(&mut self, openings: &[Opening]) -> Option<()> {
        let opened = |field: &str| {
            let opening = openings.iter().find(|opening| opening.field == field)?;
            serde_json::from_slice::<serde_json::Value>(&opening.value).ok()
        };
        for (entry, fields) in opened(CLOSED)?.as_object()? {
            let fields = fields.as_array()?.iter().filter_map(|field| field.as_str().map(str::to_owned));
            self.closed.entry(entry.parse().ok()?).or_default().extend(fields);
        }
        for request in opened(ROWS)?.as_array()? {
            self.rows.insert(request.as_str()?.parse().ok()?);
        }
        Some(())
    }

    /// Whether an erasure tells of each clear text that is gone.
    pub(super) fn account_for_all(&self) -> Result<(), String> {
        let unaccounted = self
            .missing
            .iter()
            .find(|(_, entry, field)| !self.closed.get(entry).is_some_and(|fields| fields.contains(field)));
        match unaccounted {
            None => Ok(()),
            Some((place, _, field)) => {
                Err(format!("{place}: the clear text of `{field}` is gone, and no erasure tells of it"))
            }
        }
    }

    /// Whether the log says that this request lost its words.
    pub(super) fn took_the_words_of(&self, request: RequestId) -> bool {
        self.rows.contains(&request)
    }
}
