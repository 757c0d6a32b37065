//! An entry as the checks of rows read it.

use countersign_core::canonical::Value;
use countersign_core::entry::EntryKind;
use countersign_ledger::{Entry, Opening};

/// An entry with what is left of its clear texts, which were held against it before.
pub(super) struct Told<'a> {
    pub(super) entry: Entry,
    pub(super) openings: &'a [Opening],
}

impl Told<'_> {
    pub(super) fn is(&self, kind: EntryKind) -> bool {
        self.entry.kind() == Some(kind)
    }

    /// A public text.
    pub(super) fn clear(&self, field: &str) -> Option<&str> {
        self.entry.clear.get(field).and_then(Value::as_str)
    }

    /// The clear text of a committed field; `None` if it was erased.
    pub(super) fn opened(&self, field: &str) -> Option<serde_json::Value> {
        let opening = self.openings.iter().find(|opening| opening.field == field)?;
        serde_json::from_slice(&opening.value).ok()
    }

    /// Whether a row may say this, as far as the clear text is still there.
    pub(super) fn agrees(&self, field: &str, says: &impl serde::Serialize) -> bool {
        self.opened(field).is_none_or(|told| serde_json::to_value(says).is_ok_and(|says| says == told))
    }
}

/// What is wrong with a request's own row.
pub(super) fn edited(what: &str) -> String {
    format!("its row was edited: {what}")
}
