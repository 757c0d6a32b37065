//! Canonical JSON: the one byte form of a value that digests, commitments and the ledger are made over.
//!
//! The form is RFC 8785 with three additions, because a digest over an approved amount must not be shared by another amount:
//!
//! - a number whose decimal value is lost in a double enters as `{"$int":"9007199254740993"}` or `{"$dec":"0.10000000000000000555"}`;
//! - bytes that are not text enter as `{"$bytes":"base64"}`, standard alphabet with padding;
//! - a key of an object that starts with `$` gets another `$`, so that nobody can write a number or bytes by hand.
//!
//! Numbers are compared as decimal values: `1`, `1.0` and `1e0` are one number, `-0` is `0`. Strings are not normalised.

mod decode;
mod number;
mod parse;
mod serde_impl;
mod write;

use std::collections::BTreeMap;
use std::fmt;

pub use decode::CanonicalError;
pub use number::{Number, NumberError};
pub use parse::{ParseError, ParseReason};

/// Containers within containers that [`Value::parse`] accepts; recursion over a parsed value is bounded by it.
pub const MAX_DEPTH: usize = 64;

/// Containers within containers that [`Value::from_canonical`] accepts: a parsed value, its `$int` wrappers and the records that hold it.
pub const MAX_CANONICAL_DEPTH: usize = 128;

/// A JSON value, or bytes, without loss.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Value {
    /// `null`
    #[default]
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A decimal number of any size that [`Number`] accepts.
    Number(Number),
    /// Text.
    String(String),
    /// An ordered list.
    Array(Vec<Value>),
    /// Named members; the keys are the user's own, not escaped.
    Object(BTreeMap<String, Value>),
    /// Bytes. Its form differs from the same bytes as text: use [`Value::bytes_or_string`] where either may come.
    Bytes(Vec<u8>),
}

impl Value {
    /// Text if the bytes are UTF-8, bytes otherwise; the one right way for argv, paths and environment variables.
    pub fn bytes_or_string(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::String(text.to_owned()),
            Err(_) => Self::Bytes(bytes.to_vec()),
        }
    }

    /// An object of these members; of two with the same key the later one stays.
    pub fn object<K: Into<String>, V: Into<Self>>(members: impl IntoIterator<Item = (K, V)>) -> Self {
        Self::Object(members.into_iter().map(|(k, v)| (k.into(), v.into())).collect())
    }

    /// An array of these items.
    pub fn array<V: Into<Self>>(items: impl IntoIterator<Item = V>) -> Self {
        Self::Array(items.into_iter().map(Into::into).collect())
    }

    /// The member of an object; `None` for another kind of value.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.as_object()?.get(key)
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The bytes of a string or of bytes.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::String(text) => Some(text.as_bytes()),
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The truth value.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The number.
    pub fn as_number(&self) -> Option<&Number> {
        match self {
            Self::Number(number) => Some(number),
            _ => None,
        }
    }

    /// The number, if it is an integer that fits; `3.0` is one.
    pub fn as_i64(&self) -> Option<i64> {
        self.as_number()?.as_i64()
    }

    /// The number, if it is an integer that fits; `3.0` is one.
    pub fn as_u64(&self) -> Option<u64> {
        self.as_number()?.as_u64()
    }

    /// The items of an array.
    pub fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The members of an object.
    pub fn as_object(&self) -> Option<&BTreeMap<String, Self>> {
        match self {
            Self::Object(members) => Some(members),
            _ => None,
        }
    }

    /// Whether this is `null`.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The members of an object in key order; nothing for another kind of value.
    pub fn members(&self) -> impl Iterator<Item = (&str, &Self)> {
        self.as_object().into_iter().flatten().map(|(k, v)| (k.as_str(), v))
    }

    /// The items of an array in order; nothing for another kind of value.
    pub fn items(&self) -> impl Iterator<Item = &Self> {
        self.as_array().into_iter().flatten()
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_canonical_string())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<Number> for Value {
    fn from(number: Number) -> Self {
        Self::Number(number)
    }
}

macro_rules! from_integer {
    ($($int:ty),*) => {$(
        impl From<$int> for Value {
            fn from(value: $int) -> Self {
                Self::Number(Number::from(value))
            }
        }
    )*};
}
from_integer!(i32, u32, i64, u64);

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Self {
        Self::Array(items)
    }
}

impl From<BTreeMap<String, Value>> for Value {
    fn from(members: BTreeMap<String, Value>) -> Self {
        Self::Object(members)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

#[cfg(test)]
mod tests;
