//! What goes into a statement and what comes out of it, the same for every engine.

use std::borrow::Cow;
use std::str::FromStr;

use countersign_core::digest::Digest;
use countersign_core::ids::{
    AccountId, AuthenticatorId, EntryId, OutboxId, PersonId, ReleaseId, RequestId, SessionId, TokenId,
};
use countersign_core::names::{AccountName, GroupName};
use countersign_core::sealed::Sealed;
use countersign_core::time::Micros;
use serde::de::DeserializeOwned;

use crate::error::{DbError, StoreError};

/// A value for `$1`, `$2`, ... The engine sees only integers of 64 bits, text and bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Param<'a> {
    Null,
    Int(i64),
    Text(Cow<'a, str>),
    Bytes(&'a [u8]),
}

/// A value of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Null,
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// One row, its columns in the order of the statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row(pub(crate) Vec<Value>);

/// Takes a row's columns one after the other; `table` names it in errors.
#[derive(Debug)]
pub(crate) struct Columns {
    table: &'static str,
    values: std::vec::IntoIter<Value>,
}

macro_rules! params {
    ($($value:expr),* $(,)?) => { &[$($crate::sql::Param::from($value)),*] };
}
pub(crate) use params;

impl Row {
    pub fn values(&self) -> &[Value] {
        &self.0
    }

    pub(crate) fn columns(self, table: &'static str) -> Columns {
        Columns { table, values: self.0.into_iter() }
    }
}

impl Columns {
    pub(crate) fn opt_int(&mut self) -> Result<Option<i64>, StoreError> {
        match self.values.next() {
            Some(Value::Int(int)) => Ok(Some(int)),
            Some(Value::Null) => Ok(None),
            _ => Err(self.corrupt("an integer")),
        }
    }

    pub(crate) fn int(&mut self) -> Result<i64, StoreError> {
        self.opt_int()?.ok_or_else(|| self.corrupt("an integer"))
    }

    pub(crate) fn flag(&mut self) -> Result<bool, StoreError> {
        match self.int()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.corrupt("0 or 1")),
        }
    }

    pub(crate) fn unsigned(&mut self) -> Result<u64, StoreError> {
        u64::try_from(self.int()?).map_err(|_| self.corrupt("a count"))
    }

    pub(crate) fn opt_unsigned(&mut self) -> Result<Option<u64>, StoreError> {
        self.opt_int()?.map(u64::try_from).transpose().map_err(|_| self.corrupt("a count"))
    }

    pub(crate) fn micros(&mut self) -> Result<Micros, StoreError> {
        self.int().map(Micros::from_micros)
    }

    pub(crate) fn opt_micros(&mut self) -> Result<Option<Micros>, StoreError> {
        Ok(self.opt_int()?.map(Micros::from_micros))
    }

    pub(crate) fn opt_text(&mut self) -> Result<Option<String>, StoreError> {
        match self.values.next() {
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(Value::Null) => Ok(None),
            _ => Err(self.corrupt("text")),
        }
    }

    pub(crate) fn text(&mut self) -> Result<String, StoreError> {
        self.opt_text()?.ok_or_else(|| self.corrupt("text"))
    }

    /// Text that is an id, a name or one of a list.
    pub(crate) fn parsed<T: FromStr>(&mut self) -> Result<T, StoreError> {
        self.text()?.parse().map_err(|_| self.corrupt("a name or an id"))
    }

    pub(crate) fn opt_parsed<T: FromStr>(&mut self) -> Result<Option<T>, StoreError> {
        self.opt_text()?.map(|text| text.parse()).transpose().map_err(|_| self.corrupt("a name or an id"))
    }

    /// Text that is one of a list whose reader returns an option.
    pub(crate) fn one_of<T>(&mut self, read: impl FnOnce(&str) -> Option<T>) -> Result<T, StoreError> {
        let text = self.text()?;
        read(&text).ok_or_else(|| self.corrupt("a word that is known here"))
    }

    pub(crate) fn json<T: DeserializeOwned>(&mut self) -> Result<T, StoreError> {
        let text = self.text()?;
        // The error of serde_json quotes what it met; that may be what the row keeps confidential.
        serde_json::from_str(&text).map_err(|_| self.corrupt("JSON of the known shape"))
    }

    pub(crate) fn opt_bytes(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        match self.values.next() {
            Some(Value::Bytes(bytes)) => Ok(Some(bytes)),
            Some(Value::Null) => Ok(None),
            _ => Err(self.corrupt("bytes")),
        }
    }

    pub(crate) fn bytes(&mut self) -> Result<Vec<u8>, StoreError> {
        self.opt_bytes()?.ok_or_else(|| self.corrupt("bytes"))
    }

    pub(crate) fn digest(&mut self) -> Result<Digest, StoreError> {
        <[u8; 32]>::try_from(self.bytes()?).map(Digest::from_bytes).map_err(|_| self.corrupt("32 bytes"))
    }

    pub(crate) fn sealed(&mut self) -> Result<Sealed, StoreError> {
        self.bytes().map(Sealed::from_bytes)
    }

    pub(crate) fn corrupt(&self, wanted: &str) -> StoreError {
        StoreError::Corrupt(format!(
            "a row of {} does not hold {wanted}, {} columns from its end",
            self.table,
            self.values.len()
        ))
    }
}

impl From<i64> for Param<'_> {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<u32> for Param<'_> {
    fn from(value: u32) -> Self {
        Self::Int(i64::from(value))
    }
}

impl From<bool> for Param<'_> {
    fn from(value: bool) -> Self {
        Self::Int(i64::from(value))
    }
}

impl From<Micros> for Param<'_> {
    fn from(value: Micros) -> Self {
        Self::Int(value.as_micros())
    }
}

impl<'a> From<&'a str> for Param<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(Cow::Borrowed(value))
    }
}

impl<'a> From<&'a String> for Param<'a> {
    fn from(value: &'a String) -> Self {
        Self::Text(Cow::Borrowed(value))
    }
}

impl From<String> for Param<'_> {
    fn from(value: String) -> Self {
        Self::Text(Cow::Owned(value))
    }
}

impl<'a> From<&'a [u8]> for Param<'a> {
    fn from(value: &'a [u8]) -> Self {
        Self::Bytes(value)
    }
}

impl<'a> From<&'a Vec<u8>> for Param<'a> {
    fn from(value: &'a Vec<u8>) -> Self {
        Self::Bytes(value)
    }
}

impl<'a> From<&'a Digest> for Param<'a> {
    fn from(value: &'a Digest) -> Self {
        Self::Bytes(value.as_bytes())
    }
}

impl<'a> From<&'a Sealed> for Param<'a> {
    fn from(value: &'a Sealed) -> Self {
        Self::Bytes(value.as_bytes())
    }
}

impl<T: Into<Self>> From<Option<T>> for Param<'_> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

macro_rules! textual {
    ($($name:ident)+) => {$(
        impl From<$name> for Param<'_> {
            fn from(value: $name) -> Self {
                Self::Text(Cow::Owned(value.to_string()))
            }
        }
        impl From<&$name> for Param<'_> {
            fn from(value: &$name) -> Self {
                Self::Text(Cow::Owned(value.to_string()))
            }
        }
    )+};
}
textual! { AccountId AuthenticatorId EntryId OutboxId PersonId ReleaseId RequestId SessionId TokenId GroupName AccountName }

/// Refuses what one of the engines could not keep: PostgreSQL has no text with U+0000, and SQLite would compare and print only what is before it.
pub(crate) fn storable(params: &[Param<'_>]) -> Result<(), DbError> {
    let nul = |param: &Param<'_>| matches!(param, Param::Text(text) if text.contains('\0'));
    match params.iter().position(nul) {
        Some(index) => Err(DbError::Sql(format!("value {} is a text with the character U+0000", index + 1))),
        None => Ok(()),
    }
}

/// How a claim passes over rows that another transaction holds. SQLite has one writer and no such words.
const SKIP_LOCKED: &str = " FOR UPDATE SKIP LOCKED";

/// A statement as SQLite reads it: `$n` is `?n`, and claims do without [`SKIP_LOCKED`]. SQLite reads `$2` as a name and numbers names in the order in
/// which they appear, so `SELECT $2, $1` would bind the wrong values without an error. Text in quotes and comments is left alone.
pub(crate) fn for_sqlite(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut rest = sql;
    let mut quote = None;
    while let Some(char) = rest.chars().next() {
        if quote.is_none()
            && let Some(after) = rest.strip_prefix(SKIP_LOCKED)
        {
            rest = after;
            continue;
        }
        let tail = rest.get(char.len_utf8()..).unwrap_or_default();
        match quote {
            Some(end) => {
                out.push(char);
                if char == end {
                    quote = None;
                }
            }
            None if char == '$' && tail.starts_with(|next: char| next.is_ascii_digit()) => out.push('?'),
            None => {
                if char == '\'' || char == '"' {
                    quote = Some(char);
                } else if char == '-' && tail.starts_with('-') {
                    quote = Some('\n');
                }
                out.push(char);
            }
        }
        rest = tail;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbered_and_text_is_left_alone() {
        assert_eq!(for_sqlite("SELECT $2, $10 -- $1\n, '$3', \"$4\", $1"), "SELECT ?2, ?10 -- $1\n, '$3', \"$4\", ?1");
        assert_eq!(for_sqlite("SELECT '$1''$2', $3"), "SELECT '$1''$2', ?3");
        assert_eq!(for_sqlite("SELECT $name"), "SELECT $name");
    }

    #[test]
    fn sqlite_claims_without_the_words_that_it_does_not_have_and_keeps_the_rest() {
        assert_eq!(
            for_sqlite(
                "SELECT id FROM t WHERE a = $1 LIMIT $2 FOR UPDATE SKIP LOCKED) RETURNING 'ä FOR UPDATE SKIP LOCKED'"
            ),
            "SELECT id FROM t WHERE a = ?1 LIMIT ?2) RETURNING 'ä FOR UPDATE SKIP LOCKED'"
        );
        assert_eq!(for_sqlite("SELECT 1 FOR UPDATE"), "SELECT 1 FOR UPDATE");
    }

    #[test]
    fn a_text_with_nul_is_refused_and_bytes_with_nul_are_not() {
        assert_eq!(storable(params!["a", b"a\0".as_slice(), 0_i64]), Ok(()));
        let refused = storable(params!["a", "b\0c"]).unwrap_err();
        assert_eq!(refused, DbError::Sql("value 2 is a text with the character U+0000".to_owned()));
    }

    #[test]
    fn a_column_of_another_type_is_an_error_and_not_a_default() {
        let row = Row(vec![Value::Int(2), Value::Text("x".to_owned()), Value::Bytes(vec![1; 31])]);
        let mut columns = row.columns("things");
        assert!(matches!(columns.flag(), Err(StoreError::Corrupt(_))));
        assert!(matches!(columns.int(), Err(StoreError::Corrupt(_))));
        let error = columns.digest().unwrap_err();
        assert!(error.to_string().contains("things"), "{error}");
        assert!(matches!(columns.text(), Err(StoreError::Corrupt(_))), "past the end");
    }
}
