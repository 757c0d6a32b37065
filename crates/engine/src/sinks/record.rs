//! A ledger entry as sinks get it: one JSON object on one line.
//!
//! | member | is |
//! |---|---|
//! | `v` | 1 |
//! | `id` | UUID of the entry: a record that comes twice has the same one |
//! | `time` | RFC 3339, UTC, microseconds |
//! | `type` | the entry's type |
//! | `log`, `epoch` | which log |
//! | `leaf` | the entry's place in the log; null before it has one |
//! | `request`, `policy` | UUID and digest, or null |
//! | `clear` | the public values of the entry |
//! | `fields` | the opened ones: who, what, why |
//! | `erased` | names of fields whose clear text is gone; absent where there are none |
//! | `altered` | names of fields whose stored clear text is not the one that was logged; absent where there are none |
//!
//! Sealed parameters are no part of an entry, so no record holds one.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use countersign_core::canonical::Value;
use countersign_core::ids::EntryId;
use countersign_ledger::{Error, Opening, decode};
use countersign_store::StoredEntry;

const VERSION: i64 = 1;

/// One entry for a sink. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    id: EntryId,
    line: Arc<str>,
}

impl Record {
    /// The record of a leaf with what is left of its clear texts.
    pub(crate) fn new(log: &str, bytes: &[u8], openings: &[Opening], leaf: Option<u64>) -> Result<Self, Error> {
        let entry = decode(bytes)?;
        let (mut fields, mut erased, mut altered) = (Vec::new(), Vec::new(), Vec::new());
        for (field, commitment) in &entry.commitments {
            let opening = openings.iter().find(|opening| opening.field == *field);
            match opening {
                Some(opening) if opening.commitment() == *commitment => fields.push((field.clone(), opening.value()?)),
                Some(_) => altered.push(field.as_str()),
                None => erased.push(field.as_str()),
            }
        }
        let mut members = vec![
            ("v", Value::from(VERSION)),
            ("id", Value::from(entry.id.to_string())),
            ("time", Value::from(format!("{:.6}", entry.at))),
            ("type", Value::from(entry.kind.as_str())),
            ("log", Value::from(log)),
            ("epoch", Value::from(entry.epoch)),
            ("leaf", leaf.into()),
            ("request", entry.request.map(|id| id.to_string()).into()),
            ("policy", entry.policy.map(|digest| digest.to_string()).into()),
            ("clear", Value::Object(entry.clear)),
            ("fields", Value::object(fields)),
        ];
        if !erased.is_empty() {
            members.push(("erased", Value::array(erased)));
        }
        if !altered.is_empty() {
            members.push(("altered", Value::array(altered)));
        }
        Ok(Self::of(entry.id, &Value::object(members)))
    }

    /// The record of a row. One that holds no entry any more is told as such: it must not hide those that come after it.
    pub(crate) fn of_row(log: &str, row: &StoredEntry) -> Self {
        Self::new(log, &row.bytes, &row.openings, row.leaf_index).unwrap_or_else(|error| {
            tracing::error!(%error, id = %row.id, "a row of the log is no entry; look with `countersign ledger verify`");
            let members = [
                ("v", Value::from(VERSION)),
                ("id", Value::from(row.id.to_string())),
                ("type", Value::from("damaged")),
                ("log", Value::from(log)),
                ("epoch", Value::from(row.epoch)),
                ("leaf", row.leaf_index.into()),
            ];
            Self::of(row.id, &Value::object(members))
        })
    }

    /// The entry that it tells.
    pub fn id(&self) -> EntryId {
        self.id
    }

    /// JSON without a line break, and without what a terminal or an editor would take for one.
    pub fn line(&self) -> &str {
        &self.line
    }

    fn of(id: EntryId, value: &Value) -> Self {
        Self { id, line: one_line(&value.to_canonical_string()).into() }
    }
}

/// It tells of people, so no log of the service prints it.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").field("id", &self.id).finish_non_exhaustive()
    }
}

/// JSON escapes control characters of ASCII. A reason could still hold what readers break lines at (U+0085, U+2028), or what shows a line in another order
/// than it has; outside of strings canonical JSON holds none of these, so each can be written as an escape.
fn one_line(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for char in json.chars() {
        if misleads(char) {
            let mut units = [0; 2];
            for unit in char.encode_utf16(&mut units) {
                let _infallible = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(char);
        }
    }
    out
}

fn misleads(char: char) -> bool {
    char.is_control()
        || matches!(u32::from(char),
            0xad | 0x61c | 0x180e | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0xfeff | 0xfff9..=0xfffb | 0xe0000..=0xe007f)
}

#[cfg(test)]
mod tests {
    use countersign_core::decide::Ctx;
    use countersign_core::entry::{EntryDraft, EntryKind};
    use countersign_core::time::Micros;
    use countersign_ledger::{EncodedEntry, encode};

    use super::*;

    fn draft(reason: &str) -> EntryDraft {
        let mut ctx = Ctx::new(Micros::from_micros(1_767_225_600_000_007), [7; 32]);
        let fields = vec![ctx.field("requester", "alice"), ctx.field("reason", reason)];
        ctx.entry(EntryKind::RequestAsked, None, vec![("seq", Value::from(1))], fields)
    }

    fn encoded(reason: &str) -> EncodedEntry {
        encode(&draft(reason), 3, "k1").unwrap()
    }

    fn json(record: &Record) -> serde_json::Value {
        serde_json::from_str(record.line()).unwrap()
    }

    #[test]
    fn a_record_says_who_what_and_why() {
        let entry = encoded("because");
        let record = Record::new("log.example", &entry.bytes, &entry.openings, Some(12)).unwrap();
        let expected = serde_json::json!({
            "v": 1, "id": record.id().to_string(), "time": "2026-01-01T00:00:00.000007Z", "type": "request.asked",
            "log": "log.example", "epoch": 3, "leaf": 12, "request": null, "policy": null,
            "clear": {"seq": 1}, "fields": {"requester": "alice", "reason": "because"},
        });
        assert_eq!(json(&record), expected);
        assert!(!format!("{record:?}").contains("alice"));
    }

    #[test]
    fn nothing_that_somebody_writes_makes_a_line() {
        let reason = "a\"}\n{\"v\":1}\r\u{b}\u{c}\u{7f}\u{85}\u{2028}\u{2029}\u{202e}\u{200f}\u{feff}\u{e0041}\0é𝄞";
        let entry = encoded(reason);
        let record = Record::new("log.example", &entry.bytes, &entry.openings, None).unwrap();
        assert_eq!(record.line().lines().count(), 1);
        assert!(!record.line().chars().any(misleads), "{}", record.line());
        // And nothing of it is lost.
        assert_eq!(json(&record)["fields"]["reason"], reason);
    }

    #[test]
    fn what_was_erased_or_altered_is_told() {
        let mut entry = encoded("because");
        entry.openings.retain(|opening| opening.field != "requester");
        entry.openings[0].value = b"\"another reason\"".to_vec();
        let record = Record::new("log.example", &entry.bytes, &entry.openings, None).unwrap();
        let json = json(&record);
        assert_eq!(
            (&json["erased"], &json["altered"]),
            (&serde_json::json!(["requester"]), &serde_json::json!(["reason"]))
        );
        assert_eq!(json["fields"], serde_json::json!({}));
        assert!(!record.line().contains("another"));
    }

    #[test]
    fn a_row_that_is_no_entry_hides_nothing() {
        let mut row = StoredEntry {
            id: draft("x").id,
            at: Micros::from_secs(1),
            epoch: 1,
            leaf_index: Some(4),
            bytes: b"{}".to_vec(),
            openings: Vec::new(),
        };
        let json = json(&Record::of_row("log.example", &row));
        assert_eq!((&json["type"], &json["leaf"]), (&serde_json::json!("damaged"), &serde_json::json!(4)));
        row.bytes = encoded("x").bytes;
        assert_eq!(Record::of_row("log.example", &row).id(), row.id);
    }
}
