//! Decimal numbers by value, with the one spelling each has in the canonical form.

use std::fmt;

/// Characters of a literal that are read at most; more is refused before any work is done on them.
const MAX_LITERAL: usize = 1_000;

/// Characters that the spelling of a [`Number`] has at most: a literal's digits, sign, point, filled zeros and exponent.
const MAX_SPELLING: usize = MAX_LITERAL + 64;

/// Largest power of ten of the leading digit, either way: far past a double's 308 and -324, and nothing is ever expanded by it.
const MAX_EXPONENT: i64 = 1_000;

/// Zeros that a spelling may fill in before it changes to an exponent; the same bound as ECMAScript's.
const MAX_FILL: usize = 21;

/// A decimal number, compared by value: `1`, `1.0` and `1e0` are equal, so are `0` and `-0`.
///
/// At most 1,000 characters as a literal, and a leading digit between 10^-1000 and 10^1000.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Number(Repr);

/// What fits an `i64` is always `Small`, so that equality of the fields is equality of the values. The derived order is a total order, not the
/// numeric one.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Repr {
    Small(i64),
    Big(Decimal),
}

/// `digits` x 10^`exp`; no zero at either end of the digits, never zero itself.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Decimal {
    negative: bool,
    digits: Box<str>,
    exp: i32,
}

/// Why a literal is not a number here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// Not the grammar of RFC 8259.
    #[error("not a JSON number")]
    Syntax,
    /// Over 1,000 characters.
    #[error("a number literal longer than 1,000 characters")]
    TooLong,
    /// Leading digit beyond 10^1000 or below 10^-1000.
    #[error("a number beyond 10^1000 or below 10^-1000")]
    OutOfRange,
}

/// How the canonical form spells a number.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// As a JSON number, in ECMAScript's format.
    Plain(String),
    /// As `{"$int":".."}`.
    Int(String),
    /// As `{"$dec":".."}`.
    Dec(String),
}

impl Number {
    /// Reads a literal of the JSON grammar.
    pub fn from_literal(literal: &str) -> Result<Self, NumberError> {
        if literal.len() > MAX_LITERAL {
            return Err(NumberError::TooLong);
        }
        read(literal)
    }

    /// Reads what a spelling holds; longer than a literal by the zeros that were filled in.
    pub(super) fn from_spelling(text: &str) -> Result<Self, NumberError> {
        if text.len() > MAX_SPELLING {
            return Err(NumberError::TooLong);
        }
        read(text)
    }

    /// The shortest decimal that reads back as this double; `None` for infinities and NaN, which JSON does not have.
    pub fn from_f64(value: f64) -> Option<Self> {
        value.is_finite().then(|| shortest(value))
    }

    /// The value, if it is an integer that fits.
    pub fn as_i64(&self) -> Option<i64> {
        match &self.0 {
            Repr::Small(value) => Some(*value),
            Repr::Big(_) => None,
        }
    }

    /// The value, if it is an integer that fits.
    pub fn as_u64(&self) -> Option<u64> {
        match &self.0 {
            Repr::Small(value) => u64::try_from(*value).ok(),
            Repr::Big(decimal) if decimal.negative || decimal.exp < 0 => None,
            Repr::Big(decimal) => {
                let scale = 10_u64.checked_pow(u32::try_from(decimal.exp).ok()?)?;
                decimal.digits.parse::<u64>().ok()?.checked_mul(scale)
            }
        }
    }

    /// The double whose shortest spelling is this very number; `None` if none is.
    pub fn as_f64(&self) -> Option<f64> {
        let value = self.to_f64_lossy();
        (value.is_finite() && shortest(value) == *self).then_some(value)
    }

    /// The nearest double; infinite past its range.
    pub fn to_f64_lossy(&self) -> f64 {
        match &self.0 {
            #[expect(clippy::cast_precision_loss, reason = "asked for: the name says lossy")]
            Repr::Small(value) => *value as f64,
            Repr::Big(decimal) => decimal.to_string().parse().unwrap_or(f64::NAN),
        }
    }

    /// Whether the value has no fraction.
    pub fn is_integer(&self) -> bool {
        match &self.0 {
            Repr::Small(_) => true,
            Repr::Big(decimal) => decimal.exp >= 0,
        }
    }

    pub(super) fn spelling(&self) -> Spelling {
        const EXACT: std::ops::RangeInclusive<i64> = -(1 << 53)..=1 << 53;
        match &self.0 {
            Repr::Small(value) if EXACT.contains(value) => Spelling::Plain(value.to_string()),
            Repr::Small(value) if self.as_f64().is_some() => Spelling::Plain(value.to_string()),
            Repr::Small(value) => Spelling::Int(value.to_string()),
            Repr::Big(decimal) if self.as_f64().is_some() => Spelling::Plain(decimal.ecmascript()),
            Repr::Big(decimal) if decimal.exp >= 0 => Spelling::Int(decimal.to_string()),
            Repr::Big(decimal) => Spelling::Dec(decimal.to_string()),
        }
    }

    /// The value as a JSON number literal, whether or not a double keeps it.
    pub(super) fn literal(&self) -> String {
        match self.spelling() {
            Spelling::Plain(text) | Spelling::Int(text) | Spelling::Dec(text) => text,
        }
    }
}

/// The value as a JSON number literal.
impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.literal())
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<i64> for Number {
    fn from(value: i64) -> Self {
        Self(Repr::Small(value))
    }
}

impl From<i32> for Number {
    fn from(value: i32) -> Self {
        Self::from(i64::from(value))
    }
}

impl From<u32> for Number {
    fn from(value: u32) -> Self {
        Self::from(i64::from(value))
    }
}

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        i64::try_from(value).map_or_else(|_| build(false, &value.to_string(), 0), Self::from)
    }
}

impl Decimal {
    /// Position of the decimal point, counted from the front of the digits.
    fn point(&self) -> i64 {
        let len = i64::try_from(self.digits.len()).unwrap_or(i64::MAX);
        len.saturating_add(i64::from(self.exp))
    }

    /// `Number::toString` of ECMAScript (RFC 8785, section 3.2.2.3), which for a number that survives a double needs only its own digits.
    fn ecmascript(&self) -> String {
        let fill = i64::try_from(MAX_FILL).unwrap_or(0);
        let point = self.point();
        if (-5..=fill).contains(&point) {
            return self.plain();
        }
        let (head, tail) = self.digits.split_at(1);
        let sign = if self.negative { "-" } else { "" };
        let dot = if tail.is_empty() { "" } else { "." };
        format!("{sign}{head}{dot}{tail}e{:+}", point - 1)
    }

    /// Digits with the point in its place and the zeros filled in.
    fn plain(&self) -> String {
        let sign = if self.negative { "-" } else { "" };
        let digits = &*self.digits;
        match usize::try_from(self.point()) {
            Ok(point) if point >= digits.len() => {
                format!("{sign}{digits}{}", "0".repeat(point - digits.len()))
            }
            Ok(0) => format!("{sign}0.{digits}"),
            Ok(point) => {
                let (whole, fraction) = digits.split_at(point);
                format!("{sign}{whole}.{fraction}")
            }
            Err(_) => {
                let zeros = usize::try_from(self.point().unsigned_abs()).unwrap_or(0);
                format!("{sign}0.{}{digits}", "0".repeat(zeros))
            }
        }
    }
}

/// The spelling within `$int` and `$dec`: plain, unless more than 21 zeros would be filled in; then the digits, `e` and the exponent.
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fill = i64::try_from(MAX_FILL).unwrap_or(0);
        if i64::from(self.exp) <= fill && self.point() >= -fill {
            return f.write_str(&self.plain());
        }
        let sign = if self.negative { "-" } else { "" };
        write!(f, "{sign}{}e{}", self.digits, self.exp)
    }
}

/// The shortest digits that read back as the same double, and of those the closest; of two that are equally close ECMAScript wants the even one, and
/// `{:e}` does not promise that.
fn shortest(value: f64) -> Number {
    let text = format!("{value:e}");
    even_of_a_tie(value, &text).or_else(|| read(&text).ok()).unwrap_or(Number(Repr::Small(0)))
}

/// `Some` if the double lies exactly between the digits in `text` and their neighbour: then the even one of both.
fn even_of_a_tie(value: f64, text: &str) -> Option<Number> {
    let (mantissa, exponent) = text.split_once('e')?;
    let len = mantissa.bytes().filter(u8::is_ascii_digit).count();
    let longer = format!("{value:.len$e}");
    let (longer, _) = longer.split_once('e')?;
    if !longer.ends_with('5') {
        return None;
    }
    // No double has more than 767 significant digits, so this is its exact value.
    let exact = format!("{value:.767e}");
    let (exact, _) = exact.split_once('e')?;
    if exact.trim_end_matches('0') != longer {
        return None;
    }
    let below = longer
        .bytes()
        .filter(u8::is_ascii_digit)
        .try_fold(0_u64, |sum, digit| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')))?
        / 10;
    let even = below + below % 2;
    let exp = exponent.parse::<i64>().ok()? - i64::try_from(len).ok()? + 1;
    let number = build(value.is_sign_negative(), &even.to_string(), exp);
    (number.to_f64_lossy().to_bits() == value.to_bits()).then_some(number)
}

fn read(literal: &str) -> Result<Number, NumberError> {
    let (negative, unsigned) = literal.strip_prefix('-').map_or((false, literal), |rest| (true, rest));
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let leading_zero = whole.len() > 1 && whole.starts_with('0');
    if !is_digits(whole) || leading_zero || fraction.is_some_and(|f| !is_digits(f)) {
        return Err(NumberError::Syntax);
    }
    let fraction = fraction.unwrap_or("");
    let exponent = exponent.map_or(Ok(Some(0)), read_exponent)?;

    let digits = format!("{whole}{fraction}");
    if digits.bytes().all(|b| b == b'0') {
        return Ok(Number(Repr::Small(0)));
    }
    let exponent = exponent.ok_or(NumberError::OutOfRange)?;
    let shift = i64::try_from(fraction.len()).map_err(|_| NumberError::TooLong)?;
    let exp = exponent - shift;
    let significant = digits.trim_start_matches('0').len();
    let leading = exp + i64::try_from(significant).map_err(|_| NumberError::TooLong)? - 1;
    if leading.abs() > MAX_EXPONENT {
        return Err(NumberError::OutOfRange);
    }
    Ok(build(negative, &digits, exp))
}

/// Brings digits and exponent into the one form that each value has. The exponent is bounded by [`read`].
fn build(negative: bool, digits: &str, exp: i64) -> Number {
    let digits = digits.trim_start_matches('0');
    let short = digits.trim_end_matches('0');
    let exp = exp + i64::try_from(digits.len() - short.len()).unwrap_or(0);
    let decimal = Decimal { negative, digits: short.into(), exp: i32::try_from(exp).unwrap_or(0) };
    // 19 digits hold every i64; a longer one must not be expanded only to find that out.
    if exp >= 0
        && decimal.point() <= 19
        && let Ok(small) = decimal.plain().parse::<i64>()
    {
        return Number(Repr::Small(small));
    }
    Number(Repr::Big(decimal))
}

/// `None` for an exponent that no number within the bounds has; only zero may carry it.
fn read_exponent(text: &str) -> Result<Option<i64>, NumberError> {
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'+') => (false, text.get(1..).unwrap_or("")),
        Some(b'-') => (true, text.get(1..).unwrap_or("")),
        _ => (false, text),
    };
    if !is_digits(digits) {
        return Err(NumberError::Syntax);
    }
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Ok(Some(0));
    }
    if digits.len() > 6 {
        return Ok(None);
    }
    let value: i64 = digits.parse().map_err(|_| NumberError::Syntax)?;
    Ok(Some(if negative { -value } else { value }))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}
