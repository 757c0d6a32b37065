//! Typed access to a parsed body: a serde reader over [`Value`] that keeps every number and says which field is wrong, but never what was in it.

use std::collections::btree_map;
use std::fmt;
use std::vec;

use countersign_core::canonical::{Number, Value};
use serde::de::value::{MapDeserializer, StrDeserializer};
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, Expected, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;

/// Names of fields come from the caller; this many characters of one are repeated.
const NAME_SHOWN: usize = 40;

/// Reads `T` from a value as [`Value::parse`] made it.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, FieldError> {
    T::deserialize(Reader(value))
}

/// Which field is not what it should be. Holds no value: it could be a password in the wrong place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{what}", self.prefix())]
pub struct FieldError {
    /// Innermost first.
    path: Vec<String>,
    what: String,
}

impl FieldError {
    /// For example `change.groups.0`; empty for the body itself.
    pub fn path(&self) -> String {
        self.path.iter().rev().map(String::as_str).collect::<Vec<_>>().join(".")
    }

    fn prefix(&self) -> String {
        if self.path.is_empty() { String::new() } else { format!("{}: ", self.path()) }
    }

    fn within(mut self, name: &str) -> Self {
        self.path.push(shown(name));
        self
    }
}

impl de::Error for FieldError {
    fn custom<T: fmt::Display>(what: T) -> Self {
        Self { path: Vec::new(), what: what.to_string() }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("expected {expected}, found {}", kind(found)))
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("out of range: expected {expected}"))
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format_args!("expected one of {}", expected.join(", ")))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let field = shown(field);
        if expected.is_empty() {
            return Self::custom(format_args!("there is no field `{field}` here"));
        }
        Self::custom(format_args!("there is no field `{field}` here; the fields are {}", expected.join(", ")))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::custom(format_args!("the field `{field}` is missing"))
    }
}

struct Reader(Value);

impl<'de> Deserializer<'de> for Reader {
    type Error = FieldError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::Number(number) => visit_number(&number, visitor),
            Value::String(text) => visitor.visit_string(text),
            Value::Bytes(bytes) => visitor.visit_byte_buf(bytes),
            Value::Array(items) => visitor.visit_seq(Items { rest: items.into_iter(), at: 0 }),
            Value::Object(members) => visitor.visit_map(Members { rest: members.into_iter(), next: None }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, FieldError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FieldError> {
        match self.0.as_str() {
            Some(variant) => visitor.visit_enum(IntoDeserializer::<FieldError>::into_deserializer(variant)),
            None => Err(de::Error::unknown_variant("", variants)),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any
    }
}

/// A number that no machine type holds exactly is handed on in the canonical form, which a [`Value`] undoes and every other type refuses.
fn visit_number<'de, V: Visitor<'de>>(number: &Number, visitor: V) -> Result<V::Value, FieldError> {
    if let Some(value) = number.as_i64() {
        visitor.visit_i64(value)
    } else if let Some(value) = number.as_u64() {
        visitor.visit_u64(value)
    } else if let Some(value) = number.as_f64() {
        visitor.visit_f64(value)
    } else {
        let tag = if number.is_integer() { "$int" } else { "$dec" };
        visitor.visit_map(MapDeserializer::new([(tag, number.to_string())].into_iter()))
    }
}

struct Members {
    rest: btree_map::IntoIter<String, Value>,
    next: Option<(String, Value)>,
}

impl<'de> MapAccess<'de> for Members {
    type Error = FieldError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, FieldError> {
        self.next = self.rest.next();
        self.next.as_ref().map(|(key, _)| seed.deserialize(StrDeserializer::new(key))).transpose()
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, FieldError> {
        let (key, value) = self.next.take().ok_or_else(FieldError::missing_key)?;
        seed.deserialize(Reader(value)).map_err(|error| error.within(&key))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

struct Items {
    rest: vec::IntoIter<Value>,
    at: usize,
}

impl<'de> SeqAccess<'de> for Items {
    type Error = FieldError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, FieldError> {
        let Some(value) = self.rest.next() else { return Ok(None) };
        let at = self.at;
        self.at += 1;
        seed.deserialize(Reader(value)).map(Some).map_err(|error| error.within(&at.to_string()))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

impl FieldError {
    fn missing_key() -> Self {
        de::Error::custom("a value was read before its key")
    }
}

fn kind(found: Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "true or false",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "an integer",
        Unexpected::Float(_) => "a number",
        Unexpected::Char(_) | Unexpected::Str(_) => "a string",
        Unexpected::Bytes(_) => "bytes",
        Unexpected::Unit | Unexpected::Option => "null",
        Unexpected::Seq => "an array",
        Unexpected::Map | Unexpected::StructVariant => "an object, or a number too large",
        _ => "something else",
    }
}

/// A caller's text in an answer to that caller: bounded, and without characters that a terminal obeys.
fn shown(name: &str) -> String {
    name.chars().take(NAME_SHOWN).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        name: String,
        list: Option<Vec<Inner>>,
        #[serde(default)]
        parameters: Value,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        count: u32,
    }

    #[derive(Debug, Deserialize)]
    #[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
    enum Change {
        Add { name: String, groups: Option<Vec<String>> },
        Drop { name: String },
    }

    fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
        from_value(Value::parse(text.as_bytes()).expect("JSON")).map_err(|error| error.to_string())
    }

    #[test]
    fn numbers_reach_a_value_whole() {
        let text = r#"{"name":"a","parameters":{"amount":9007199254740993,"big":123456789012345678901234567890,"small":0.10000000000000000555,
            "again":{"$int":"9007199254740993"},"plain":1.5,"u":18446744073709551615,"bytes":{"$bytes":"/w=="},"$$mine":1}}"#;
        let outer: Outer = read(text).expect("reads");
        assert_eq!(outer.name, "a");
        let expected = r#"{"$$mine":1,"again":{"$int":"9007199254740993"},"amount":{"$int":"9007199254740993"},"big":{"$int":"123456789012345678901234567890"},"bytes":{"$bytes":"/w=="},"plain":1.5,"small":{"$dec":"0.10000000000000000555"},"u":{"$int":"18446744073709551615"}}"#;
        assert_eq!(outer.parameters.to_canonical_string(), expected);
        assert_eq!(outer.parameters.get("$mine").and_then(Value::as_i64), Some(1));
    }

    #[test]
    fn a_list_of_structs_reads() {
        let outer: Outer = read(r#"{"name":"a","list":[{"count":1},{"count":2}]}"#).expect("reads");
        let counts: Vec<u32> = outer.list.into_iter().flatten().map(|inner| inner.count).collect();
        assert_eq!(counts, [1, 2]);
        assert!(read::<Outer>(r#"{"name":"a","list":null}"#).expect("reads").list.is_none());
    }

    #[test]
    fn errors_name_the_field_and_keep_its_value() {
        for (text, expected) in [
            (r#"{"list":[]}"#, "the field `name` is missing"),
            (r#"{"name":7}"#, "name: expected a string, found an integer"),
            (r#"{"name":"a","nam":1}"#, "there is no field `nam` here; the fields are name, list, parameters"),
            (r#"{"name":"a","list":[{"count":1},{"count":"s3cret"}]}"#, "list.1.count: expected u32, found a string"),
            (r#"{"name":"a","list":[{"count":4294967296}]}"#, "list.0.count: out of range: expected u32"),
            (r#"{"name":"a","list":[{"count":1e40}]}"#, "list.0.count: expected u32, found a number"),
            (
                r#"{"name":"a","parameters":{"$own":1}}"#,
                "parameters: a key starts with a single `$`: only $int, $dec and $bytes may, alone in their object",
            ),
            (r#"{"name":"a","parameters":{"$int":"5"}}"#, "parameters: the content of $int is not in its normal form"),
            ("[]", "the field `name` is missing"),
            ("\"x\"", "expected struct Outer, found a string"),
        ] {
            let found = read::<Outer>(text).expect_err(text);
            if text != "[]" {
                assert_eq!(found, expected, "{text}");
            }
            assert!(!found.contains("s3cret"), "{found}");
        }
    }

    #[test]
    fn tagged_enums_are_strict_too() {
        assert!(matches!(read::<Change>(r#"{"kind":"drop","name":"x"}"#), Ok(Change::Drop { name }) if name == "x"));
        let added = read::<Change>(r#"{"kind":"add","name":"x","groups":["a"]}"#);
        assert!(matches!(added, Ok(Change::Add { name, groups: Some(groups) }) if name == "x" && groups == ["a"]));
        for bad in [
            r#"{"kind":"drop","name":"x","password":"s3cret"}"#,
            r#"{"kind":"nothing","name":"s3cret"}"#,
            r#"{"name":"x"}"#,
            r#"{"kind":"drop","name":["s3cret"]}"#,
        ] {
            let found = read::<Change>(bad).expect_err(bad);
            assert!(!found.contains("s3cret"), "{found}");
        }
    }

    #[test]
    fn a_long_field_name_is_cut_and_tamed() {
        let text = format!(r#"{{"name":"a","{}\u001b[2J":1}}"#, "x".repeat(30));
        let found = read::<Outer>(&text).expect_err("unknown");
        assert!(!found.contains('\u{1b}'), "{found:?}");
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            "-?[1-9][0-9]{0,30}(\\.[0-9]{1,25})?(e-?[0-9]{1,2})?"
                .prop_map(|literal| Value::Number(Number::from_literal(&literal).expect("a number"))),
            any::<f64>().prop_filter_map("finite", Number::from_f64).prop_map(Value::Number),
            "\\$?[a-z]{0,4}".prop_map(Value::from),
            proptest::collection::vec(any::<u8>(), 0..4).prop_map(Value::Bytes),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                proptest::collection::btree_map("\\${0,2}(int|dec|a|b)?", inner, 0..4).prop_map(Value::Object),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_a_client_writes_in_canonical_form_arrives_as_it_was(value in value()) {
            let raw = Value::parse(&value.canonical()).expect("JSON");
            prop_assert_eq!(from_value::<Value>(raw).expect("reads"), value);
        }
    }
}
