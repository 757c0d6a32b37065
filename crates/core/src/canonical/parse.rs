//! A strict reader of RFC 8259 that loses nothing.
//!
//! Two readers that disagree about one text are how an approved operation becomes another one, so whatever readers are known to disagree about is
//! refused: duplicate keys, lone surrogates, broken UTF-8, a byte order mark, text after the value.

use std::collections::BTreeMap;
use std::fmt;

use super::number::{Number, NumberError};
use super::{MAX_DEPTH, Value};

/// Where and why a text is not JSON that we accept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not acceptable JSON at byte {offset}: {reason}")]
pub struct ParseError {
    /// Bytes before the place.
    pub offset: usize,
    /// What is wrong there.
    pub reason: ParseReason,
}

/// What is wrong at the offset.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseReason {
    /// Bytes that are not UTF-8.
    NotUtf8,
    /// The text ends within a value.
    UnexpectedEnd,
    /// A byte that the grammar does not allow here.
    UnexpectedByte,
    /// Something follows the value.
    TrailingData,
    /// Too many containers within containers; the limit.
    TooDeep(usize),
    /// The same key twice in one object, after unescaping.
    DuplicateKey,
    /// A control character that is not escaped in a string.
    ControlCharacter,
    /// An escape that JSON does not have.
    BadEscape,
    /// Half of a surrogate pair.
    LoneSurrogate,
    /// A number that is malformed or too large.
    Number(NumberError),
}

impl fmt::Display for ParseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUtf8 => f.write_str("not UTF-8"),
            Self::UnexpectedEnd => f.write_str("the text ends within a value"),
            Self::UnexpectedByte => f.write_str("unexpected character"),
            Self::TrailingData => f.write_str("text after the value"),
            Self::TooDeep(limit) => write!(f, "more than {limit} levels of nesting"),
            Self::DuplicateKey => f.write_str("the same key twice in one object"),
            Self::ControlCharacter => f.write_str("a control character that is not escaped"),
            Self::BadEscape => f.write_str("an unknown escape in a string"),
            Self::LoneSurrogate => f.write_str("half of a surrogate pair"),
            Self::Number(error) => error.fmt(f),
        }
    }
}

impl Value {
    /// Reads JSON as a user wrote it: a key `$int` is a key here, not a number. The caller limits the size; nesting is limited to [`MAX_DEPTH`].
    pub fn parse(text: &[u8]) -> Result<Self, ParseError> {
        Self::parse_nested(text, MAX_DEPTH)
    }

    /// The same with another limit of nesting, for records that carry values; keep it below a few hundred, the reader is recursive.
    pub fn parse_nested(text: &[u8], max_depth: usize) -> Result<Self, ParseError> {
        let text = std::str::from_utf8(text)
            .map_err(|e| ParseError { offset: e.valid_up_to(), reason: ParseReason::NotUtf8 })?;
        let mut reader = Reader { text, at: 0, max_depth };
        reader.skip_space();
        let value = reader.value(0)?;
        reader.skip_space();
        if reader.peek().is_some() {
            return Err(reader.fail(ParseReason::TrailingData));
        }
        Ok(value)
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    max_depth: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<Value, ParseError> {
        match self.peek() {
            Some(b'{') => self.object(self.deeper(depth)?),
            Some(b'[') => self.array(self.deeper(depth)?),
            Some(b'"') => self.string().map(Value::String),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.unexpected()),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, ParseError> {
        let mut members = BTreeMap::new();
        self.at += 1;
        self.skip_space();
        if self.take(b'}') {
            return Ok(Value::Object(members));
        }
        loop {
            let key_at = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.unexpected());
            }
            let key = self.string()?;
            if members.contains_key(&key) {
                return Err(ParseError { offset: key_at, reason: ParseReason::DuplicateKey });
            }
            self.skip_space();
            self.expect(b':')?;
            self.skip_space();
            let value = self.value(depth)?;
            members.insert(key, value);
            self.skip_space();
            if self.take(b'}') {
                return Ok(Value::Object(members));
            }
            self.expect(b',')?;
            self.skip_space();
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, ParseError> {
        let mut items = Vec::new();
        self.at += 1;
        self.skip_space();
        if self.take(b']') {
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value(depth)?);
            self.skip_space();
            if self.take(b']') {
                return Ok(Value::Array(items));
            }
            self.expect(b',')?;
            self.skip_space();
        }
    }

    fn string(&mut self) -> Result<String, ParseError> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let run = self.rest().bytes().take_while(|b| *b >= 0x20 && *b != b'"' && *b != b'\\').count();
            out.push_str(self.rest().get(..run).unwrap_or(""));
            self.at += run;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => out.push(self.escape()?),
                Some(_) => return Err(self.fail(ParseReason::ControlCharacter)),
                None => return Err(self.fail(ParseReason::UnexpectedEnd)),
            }
        }
    }

    fn escape(&mut self) -> Result<char, ParseError> {
        let start = self.at;
        let fail = |reason| ParseError { offset: start, reason };
        self.at += 1;
        let Some(letter) = self.peek() else {
            return Err(self.fail(ParseReason::UnexpectedEnd));
        };
        self.at += 1;
        let plain = match letter {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hex4()?;
                if let 0xD800..=0xDBFF = first {
                    if !self.rest().starts_with("\\u") {
                        return Err(fail(ParseReason::LoneSurrogate));
                    }
                    self.at += 2;
                    let second = self.hex4()?;
                    let (0xDC00..=0xDFFF) = second else {
                        return Err(fail(ParseReason::LoneSurrogate));
                    };
                    let code = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
                    return char::from_u32(code).ok_or_else(|| fail(ParseReason::LoneSurrogate));
                }
                return char::from_u32(first).ok_or_else(|| fail(ParseReason::LoneSurrogate));
            }
            _ => return Err(fail(ParseReason::BadEscape)),
        };
        Ok(plain)
    }

    fn hex4(&mut self) -> Result<u32, ParseError> {
        let mut code = 0;
        for _ in 0..4 {
            let Some(byte) = self.peek() else {
                return Err(self.fail(ParseReason::UnexpectedEnd));
            };
            let Some(digit) = char::from(byte).to_digit(16) else {
                return Err(self.fail(ParseReason::BadEscape));
            };
            code = code * 16 + digit;
            self.at += 1;
        }
        Ok(code)
    }

    fn number(&mut self) -> Result<Value, ParseError> {
        let start = self.at;
        let len =
            self.rest().bytes().take_while(|b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')).count();
        let literal = self.rest().get(..len).unwrap_or("");
        let number = Number::from_literal(literal)
            .map_err(|error| ParseError { offset: start, reason: ParseReason::Number(error) })?;
        self.at += len;
        Ok(Value::Number(number))
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, ParseError> {
        if self.rest().starts_with(word) {
            self.at += word.len();
            Ok(value)
        } else {
            Err(self.unexpected())
        }
    }

    fn deeper(&self, depth: usize) -> Result<usize, ParseError> {
        if depth >= self.max_depth {
            return Err(self.fail(ParseReason::TooDeep(self.max_depth)));
        }
        Ok(depth + 1)
    }

    fn expect(&mut self, byte: u8) -> Result<(), ParseError> {
        if self.take(byte) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn unexpected(&self) -> ParseError {
        self.fail(match self.peek() {
            Some(_) => ParseReason::UnexpectedByte,
            None => ParseReason::UnexpectedEnd,
        })
    }

    fn fail(&self, reason: ParseReason) -> ParseError {
        ParseError { offset: self.at, reason }
    }
}
