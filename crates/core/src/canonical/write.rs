//! Writers of the canonical form and of plain JSON.

use std::borrow::Cow;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Value;
use super::number::Spelling;

pub(super) const INT: &str = "$int";
pub(super) const DEC: &str = "$dec";
pub(super) const BYTES: &str = "$bytes";

impl Value {
    /// The canonical form; equal values have equal bytes, unequal values unequal ones.
    pub fn canonical(&self) -> Vec<u8> {
        self.to_canonical_string().into_bytes()
    }

    /// The canonical form; it is always text.
    pub fn to_canonical_string(&self) -> String {
        let mut out = String::new();
        write_canonical(self, &mut out);
        out
    }

    /// Plain JSON with the user's own keys and whole number literals, in canonical order, to show or to pass on; never to be digested. `None` if
    /// the value holds bytes, which JSON cannot say.
    pub fn to_plain_json(&self) -> Option<String> {
        let mut out = String::new();
        write_plain(self, &mut out).then_some(out)
    }
}

/// How a key of the user stands in the canonical form.
pub(super) fn escape_key(key: &str) -> Cow<'_, str> {
    if key.starts_with('$') { Cow::Owned(format!("${key}")) } else { Cow::Borrowed(key) }
}

pub(super) fn encode_bytes(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub(super) fn decode_bytes(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => match number.spelling() {
            Spelling::Plain(text) => out.push_str(&text),
            Spelling::Int(text) => write_wrapped(INT, &text, out),
            Spelling::Dec(text) => write_wrapped(DEC, &text, out),
        },
        Value::String(text) => write_string(text, out),
        Value::Bytes(bytes) => write_wrapped(BYTES, &encode_bytes(bytes), out),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut sorted: Vec<(Cow<'_, str>, &Value)> = members.iter().map(|(k, v)| (escape_key(k), v)).collect();
            sorted.sort_by(|(a, _), (b, _)| utf16_order(a, b));
            out.push('{');
            for (i, (key, member)) in sorted.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_string(&key, out);
                out.push(':');
                write_canonical(member, out);
            }
            out.push('}');
        }
    }
}

fn write_plain(value: &Value, out: &mut String) -> bool {
    match value {
        Value::Bytes(_) => return false,
        Value::Number(number) => out.push_str(&number.literal()),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                if !write_plain(item, out) {
                    return false;
                }
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_by(|(a, _), (b, _)| utf16_order(a, b));
            out.push('{');
            for (i, (key, member)) in sorted.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_string(key, out);
                out.push(':');
                if !write_plain(member, out) {
                    return false;
                }
            }
            out.push('}');
        }
        _ => write_canonical(value, out),
    }
    true
}

fn write_wrapped(tag: &str, text: &str, out: &mut String) {
    out.push('{');
    write_string(tag, out);
    out.push(':');
    write_string(text, out);
    out.push('}');
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            c if c < ' ' => {
                let _infallible = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// RFC 8785 sorts keys by UTF-16 code units, which differs from the order of the bytes for characters past U+FFFF.
fn utf16_order(a: &str, b: &str) -> std::cmp::Ordering {
    a.encode_utf16().cmp(b.encode_utf16())
}
