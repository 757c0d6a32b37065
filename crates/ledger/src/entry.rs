//! The bytes of a leaf.
//!
//! An entry is one canonical JSON object with exactly these members:
//!
//! | member | is |
//! |---|---|
//! | `v` | 1 |
//! | `type` | dotted name, see [`EntryKind`] |
//! | `time` | integer microseconds since the Unix epoch |
//! | `id` | UUID of the entry |
//! | `request` | UUID of the request, or null |
//! | `policy` | digest of the policy in force, or null |
//! | `epoch` | integer |
//! | `kid` | the key that signs this epoch |
//! | `clear` | object of values that tell nothing of anybody |
//! | `commitments` | object: field -> digest, see [`countersign_core::digest::commit`] |

use std::collections::BTreeMap;

use countersign_core::canonical::Value;
use countersign_core::digest::{Digest, Salt, commit};
use countersign_core::entry::{EntryDraft, EntryKind};
use countersign_core::ids::{EntryId, RequestId};
use countersign_core::time::Micros;

use crate::error::Error;

/// Bytes that an entry has at most: its length in a bundle is a 16-bit number.
pub const ENTRY_LIMIT: usize = 65_535;

const VERSION: i64 = 1;
const MEMBERS: usize = 10;

/// A draft as the log keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedEntry {
    /// The leaf: canonical JSON, public.
    pub bytes: Vec<u8>,
    /// Clear texts of the commitments, in the order of the draft; they belong where they can be erased.
    pub openings: Vec<Opening>,
}

/// What proves that a commitment stands for a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// The committed field.
    pub field: String,
    /// The salt of this field alone.
    pub salt: Salt,
    /// The canonical form of the value.
    pub value: Vec<u8>,
}

impl Opening {
    /// The opening of a value.
    pub fn new(field: &str, salt: Salt, value: &Value) -> Self {
        Self { field: field.to_owned(), salt, value: value.canonical() }
    }

    /// The commitment that it opens.
    pub fn commitment(&self) -> Digest {
        commit(&self.field, &self.salt, &self.value)
    }

    /// The value itself.
    pub fn value(&self) -> Result<Value, Error> {
        Ok(Value::from_canonical(&self.value)?)
    }
}

/// An entry as read from its leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The dotted type; a verifier that is older than the log may not know it.
    pub kind: String,
    /// When it happened, by the clock of the node that decided.
    pub at: Micros,
    /// The entry's own id.
    pub id: EntryId,
    /// The request that it belongs to.
    pub request: Option<RequestId>,
    /// The policy in force.
    pub policy: Option<Digest>,
    /// The epoch in which it was written.
    pub epoch: u64,
    /// The key that signs this epoch.
    pub kid: String,
    /// Public values.
    pub clear: BTreeMap<String, Value>,
    /// Commitments by field.
    pub commitments: BTreeMap<String, Digest>,
}

impl Entry {
    /// The type, if this version knows it.
    pub fn kind(&self) -> Option<EntryKind> {
        self.kind.parse().ok()
    }
}

/// Makes the leaf of a draft, in this epoch, under the key named `kid`.
pub fn encode(draft: &EntryDraft, epoch: u64, kid: &str) -> Result<EncodedEntry, Error> {
    let mut clear = BTreeMap::new();
    for (field, value) in &draft.clear {
        check_field(field)?;
        if clear.insert((*field).to_owned(), value.clone()).is_some() {
            return Err(Error::DuplicateField((*field).to_owned()));
        }
    }
    let mut commitments = BTreeMap::new();
    let mut openings = Vec::with_capacity(draft.committed.len());
    for committed in &draft.committed {
        check_field(committed.field)?;
        let opening = Opening::new(committed.field, committed.salt, &committed.value);
        let digest = Value::from(opening.commitment().to_string());
        let field = committed.field.to_owned();
        // One name, one meaning: a clear value beside a commitment of the same name could be shown in its place.
        if clear.contains_key(&field) || commitments.insert(field.clone(), digest).is_some() {
            return Err(Error::DuplicateField(field));
        }
        openings.push(opening);
    }
    let bytes = Value::object([
        ("v", Value::from(VERSION)),
        ("type", Value::from(draft.kind.as_str())),
        ("time", Value::from(draft.at.as_micros())),
        ("id", Value::from(draft.id.to_string())),
        ("request", draft.request.map(|id| id.to_string()).into()),
        ("policy", draft.policy.map(|digest| digest.to_string()).into()),
        ("epoch", Value::from(epoch)),
        ("kid", Value::from(kid)),
        ("clear", Value::Object(clear)),
        ("commitments", Value::Object(commitments)),
    ])
    .canonical();
    if bytes.len() > ENTRY_LIMIT {
        return Err(Error::EntryTooLarge(bytes.len()));
    }
    Ok(EncodedEntry { bytes, openings })
}

/// Reads a leaf; only what [`encode`] may have written is accepted.
pub fn decode(bytes: &[u8]) -> Result<Entry, Error> {
    if bytes.len() > ENTRY_LIMIT {
        return Err(Error::EntryTooLarge(bytes.len()));
    }
    let value = Value::from_canonical(bytes)?;
    if value.as_object().map(BTreeMap::len) != Some(MEMBERS) {
        return Err(Error::EntryShape("members are missing or unknown"));
    }
    if value.get("v").and_then(Value::as_i64) != Some(VERSION) {
        return Err(Error::EntryShape("written by a version that this one does not know"));
    }
    let kind = text(&value, "type")?.to_owned();
    check_field(&kind)?;
    let clear = fields(&value, "clear")?.clone();
    let commitments = fields(&value, "commitments")?
        .iter()
        .map(|(field, digest)| {
            let digest = digest.as_str().and_then(|hex| hex.parse().ok());
            let digest = digest.ok_or(Error::EntryShape("a commitment is not a digest"))?;
            Ok((field.clone(), digest))
        })
        .collect::<Result<BTreeMap<_, _>, Error>>()?;
    if let Some(field) = commitments.keys().find(|field| clear.contains_key(*field)) {
        return Err(Error::DuplicateField(field.clone()));
    }
    Ok(Entry {
        kind,
        at: value
            .get("time")
            .and_then(Value::as_i64)
            .map(Micros::from_micros)
            .ok_or(Error::EntryShape("`time` is not an integer"))?,
        id: text(&value, "id")?.parse().map_err(|_| Error::EntryShape("`id` is not an id"))?,
        request: optional(&value, "request")?
            .map(str::parse)
            .transpose()
            .map_err(|_| Error::EntryShape("`request` is not an id"))?,
        policy: optional(&value, "policy")?
            .map(str::parse)
            .transpose()
            .map_err(|_| Error::EntryShape("`policy` is not a digest"))?,
        epoch: value.get("epoch").and_then(Value::as_u64).ok_or(Error::EntryShape("`epoch` is not an integer"))?,
        kid: text(&value, "kid")?.to_owned(),
        clear,
        commitments,
    })
}

fn check_field(name: &str) -> Result<(), Error> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-.".contains(&b);
    if name.is_empty() || !name.bytes().all(fits) {
        return Err(Error::FieldName(name.to_owned()));
    }
    Ok(())
}

fn fields<'a>(value: &'a Value, member: &str) -> Result<&'a BTreeMap<String, Value>, Error> {
    let fields = value
        .get(member)
        .and_then(Value::as_object)
        .ok_or(Error::EntryShape("`clear` and `commitments` are objects"))?;
    fields.keys().try_for_each(|field| check_field(field))?;
    Ok(fields)
}

fn text<'a>(value: &'a Value, member: &str) -> Result<&'a str, Error> {
    optional(value, member)?.ok_or(Error::EntryShape("`type`, `id` and `kid` are text"))
}

fn optional<'a>(value: &'a Value, member: &str) -> Result<Option<&'a str>, Error> {
    match value.get(member) {
        Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        _ => Err(Error::EntryShape("a member that should be text is missing or is something else")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{draft, request};

    /// The commitment is computed with Python's hashlib.
    #[test]
    fn an_entry_has_this_form() {
        let encoded = encode(&draft(EntryKind::RequestAsked, 7), 3, "0a1b2c3d").unwrap();
        assert_eq!(
            String::from_utf8(encoded.bytes).unwrap(),
            concat!(
                r#"{"clear":{"stage":"challenged"},"commitments":{"#,
                r#""person":"5a5980437db5ca0284f8ffc08788625bd411b509f80600b812a162b7fc025f29"},"#,
                r#""epoch":3,"id":"00000000-0007-7000-8000-000000000000","kid":"0a1b2c3d","policy":null,"#,
                r#""request":"00000000-0001-7101-8101-010101010101","time":7000,"type":"request.asked","v":1}"#
            )
        );
    }

    #[test]
    fn it_reads_back_and_its_openings_open() {
        let draft = draft(EntryKind::RequestAnswered, 9);
        let encoded = encode(&draft, 1, "k").unwrap();
        let entry = decode(&encoded.bytes).unwrap();
        assert_eq!(entry.kind(), Some(EntryKind::RequestAnswered));
        assert_eq!(entry.request, Some(request()));
        assert_eq!((entry.at, entry.id, entry.epoch), (draft.at, draft.id, 1));
        assert_eq!(entry.clear.len(), 1);
        for opening in &encoded.openings {
            assert_eq!(entry.commitments.get(&opening.field), Some(&opening.commitment()));
        }
        let first = encoded.openings.first().unwrap();
        assert_eq!(first.value().unwrap(), draft.committed.first().unwrap().value);
    }

    #[test]
    fn what_is_committed_cannot_be_read_from_the_leaf() {
        let leaf = encode(&draft(EntryKind::RequestAsked, 7), 1, "k").unwrap().bytes;
        assert!(!String::from_utf8(leaf).unwrap().contains("person-7"));
    }

    #[test]
    fn a_name_means_one_thing() {
        let mut twice = draft(EntryKind::RequestAsked, 1);
        twice.clear.push(("person", Value::from("mallory")));
        assert_eq!(encode(&twice, 1, "k"), Err(Error::DuplicateField("person".into())));
        let mut twice = draft(EntryKind::RequestAsked, 1);
        twice.committed.extend(twice.committed.clone());
        assert_eq!(encode(&twice, 1, "k"), Err(Error::DuplicateField("person".into())));
        let mut odd = draft(EntryKind::RequestAsked, 1);
        odd.clear.push(("$int", Value::Null));
        assert_eq!(encode(&odd, 1, "k"), Err(Error::FieldName("$int".into())));
    }

    #[test]
    fn the_limit_is_the_length_field_of_a_bundle() {
        let fill = |n: usize| {
            let mut big = draft(EntryKind::RequestAsked, 1);
            big.clear.push(("fill", Value::from("x".repeat(n))));
            encode(&big, 1, "k")
        };
        let used = fill(0).unwrap().bytes.len();
        assert_eq!(fill(ENTRY_LIMIT - used).unwrap().bytes.len(), ENTRY_LIMIT);
        assert_eq!(fill(ENTRY_LIMIT - used + 1), Err(Error::EntryTooLarge(ENTRY_LIMIT + 1)));
    }

    #[test]
    fn only_the_exact_shape_is_an_entry() {
        let good = String::from_utf8(encode(&draft(EntryKind::RequestAsked, 7), 1, "k").unwrap().bytes).unwrap();
        assert!(decode(good.as_bytes()).is_ok());
        for (from, to) in [
            (r#""v":1"#, r#""v":2"#),
            (r#""v":1"#, r#""v":1,"w":1"#),
            (r#""epoch":1,"#, ""),
            (r#""epoch":1"#, r#""epoch":-1"#),
            (r#""epoch":1"#, r#""epoch":"1""#),
            (r#""policy":null"#, r#""policy":"""#),
            (r#""kid":"k""#, r#""kid":null"#),
            (r#""time":7000"#, r#""time":0.5"#),
            (r#""type":"request.asked""#, r#""type":"Request Asked""#),
            (r#"{"stage":"#, r#"{"person":"#),
            ("{\"clear", "{ \"clear"),
        ] {
            let bad = good.replace(from, to);
            assert_ne!(bad, good, "{from}");
            assert!(decode(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
