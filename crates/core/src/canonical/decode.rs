//! Reads the canonical form back and refuses every other spelling of it.

use super::number::{Number, Spelling};
use super::parse::ParseError;
use super::write::{BYTES, DEC, INT, decode_bytes, encode_bytes};
use super::{MAX_CANONICAL_DEPTH, Value};

/// Why bytes are not a canonical form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CanonicalError {
    /// Not even JSON.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// A key that starts with one `$` and is none of ours.
    #[error("a key starts with a single `$`: only $int, $dec and $bytes may, alone in their object")]
    ReservedKey,
    /// `$int`, `$dec` or `$bytes` with content that the writer would not put there.
    #[error("the content of {0} is not in its normal form")]
    Wrapper(&'static str),
    /// The value is fine, its spelling is not: space, order of keys, escapes or number format.
    #[error("not in canonical form: write the value again")]
    NotCanonical,
}

impl Value {
    /// Reads what [`Value::canonical`] wrote. Anything else is refused, so that a value has one spelling and a digest one preimage.
    pub fn from_canonical(bytes: &[u8]) -> Result<Self, CanonicalError> {
        let raw = Self::parse_nested(bytes, MAX_CANONICAL_DEPTH)?;
        let value = raw.decode_canonical()?;
        if value.to_canonical_string().as_bytes() != bytes {
            return Err(CanonicalError::NotCanonical);
        }
        Ok(value)
    }

    /// Undoes the `$` forms in a value that was parsed as plain JSON, for a canonical value that is a member of a larger record.
    pub fn decode_canonical(self) -> Result<Self, CanonicalError> {
        match self {
            Self::Array(items) => {
                items.into_iter().map(Self::decode_canonical).collect::<Result<_, _>>().map(Self::Array)
            }
            Self::Object(members) => {
                if let Some((tag, inner)) = wrapped(&members) {
                    return unwrap(tag, inner);
                }
                members
                    .into_iter()
                    .map(|(key, value)| Ok((unescape_key(key)?, value.decode_canonical()?)))
                    .collect::<Result<_, _>>()
                    .map(Self::Object)
            }
            other => Ok(other),
        }
    }
}

type Members = std::collections::BTreeMap<String, Value>;

fn wrapped(members: &Members) -> Option<(&'static str, &Value)> {
    if members.len() != 1 {
        return None;
    }
    let (key, value) = members.first_key_value()?;
    let tag = [INT, DEC, BYTES].into_iter().find(|tag| tag == key)?;
    Some((tag, value))
}

fn unwrap(tag: &'static str, inner: &Value) -> Result<Value, CanonicalError> {
    let text = inner.as_str().ok_or(CanonicalError::Wrapper(tag))?;
    if tag == BYTES {
        let bytes = decode_bytes(text).ok_or(CanonicalError::Wrapper(tag))?;
        if encode_bytes(&bytes) != text {
            return Err(CanonicalError::Wrapper(tag));
        }
        return Ok(Value::Bytes(bytes));
    }
    let number = Number::from_spelling(text).map_err(|_| CanonicalError::Wrapper(tag))?;
    let normal = match number.spelling() {
        Spelling::Int(spelled) => tag == INT && spelled == text,
        Spelling::Dec(spelled) => tag == DEC && spelled == text,
        Spelling::Plain(_) => false,
    };
    if normal { Ok(Value::Number(number)) } else { Err(CanonicalError::Wrapper(tag)) }
}

fn unescape_key(key: String) -> Result<String, CanonicalError> {
    match key.strip_prefix('$') {
        None => Ok(key),
        Some(rest) if rest.starts_with('$') => Ok(rest.to_owned()),
        Some(_) => Err(CanonicalError::ReservedKey),
    }
}
