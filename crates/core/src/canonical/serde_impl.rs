//! serde through the canonical structure, `$int` wrappers included, so that nothing is lost on the way through `serde_json`.
//!
//! This is for our own records. A body that a user wrote goes through [`Value::parse`]: here his key `$x` would be an error.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap as _, Serializer};

use super::Value;
use super::number::{Number, Spelling};
use super::write::{BYTES, DEC, INT, encode_bytes, escape_key};

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::String(text) => serializer.serialize_str(text),
            Self::Bytes(bytes) => wrap(serializer, BYTES, &encode_bytes(bytes)),
            Self::Array(items) => serializer.collect_seq(items),
            Self::Object(members) => serializer.collect_map(members.iter().map(|(k, v)| (escape_key(k), v))),
            Self::Number(number) => match number.spelling() {
                Spelling::Int(text) => wrap(serializer, INT, &text),
                Spelling::Dec(text) => wrap(serializer, DEC, &text),
                Spelling::Plain(_) => {
                    if let Some(value) = number.as_i64() {
                        serializer.serialize_i64(value)
                    } else if let Some(value) = number.as_u64() {
                        serializer.serialize_u64(value)
                    } else {
                        serializer.serialize_f64(number.to_f64_lossy())
                    }
                }
            },
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Raw)?.decode_canonical().map_err(de::Error::custom)
    }
}

fn wrap<S: Serializer>(serializer: S, tag: &str, text: &str) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(1))?;
    map.serialize_entry(tag, text)?;
    map.end()
}

/// The structure as it stands, before the wrappers are undone; undoing them level by level would undo an escaped key twice.
struct Raw;

struct RawValue(Value);

impl<'de> Deserialize<'de> for RawValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Raw).map(RawValue)
    }
}

impl<'de> Visitor<'de> for Raw {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a canonical JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number that is not finite"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(RawValue(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((key, RawValue(value))) = map.next_entry::<String, RawValue>()? {
            if members.insert(key, value).is_some() {
                return Err(de::Error::custom("the same key twice in one object"));
            }
        }
        Ok(Value::Object(members))
    }
}
