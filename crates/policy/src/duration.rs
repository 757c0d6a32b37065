//! Durations as rules write and people read them.

use std::time::Duration;

use crate::error::Problem;
use crate::pattern::shortened;

const UNITS: [(char, u64, &str); 4] = [('d', 86_400, "d"), ('h', 3_600, "h"), ('m', 60, "min"), ('s', 1, "s")];

/// A whole number and its unit: `10s`, `5m`, `2h`, `1d`.
pub(crate) fn parse(text: &str) -> Result<Duration, Problem> {
    let wrong = || Problem::Duration(shortened(text));
    let unit = text.chars().last().ok_or_else(wrong)?;
    let (_, seconds, _) = UNITS.iter().find(|(letter, _, _)| *letter == unit).ok_or_else(wrong)?;
    let digits = text.strip_suffix(unit).unwrap_or_default();
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(*seconds).map(Duration::from_secs).ok_or_else(wrong)
}

/// In words, with all units that it needs: `1 h 30 min`.
pub(crate) fn in_words(duration: Duration) -> String {
    let mut left = duration.as_secs();
    let mut parts = Vec::new();
    for (_, seconds, name) in UNITS {
        let (count, rest) = (left / seconds, left % seconds);
        if count > 0 {
            parts.push(format!("{count} {name}"));
        }
        left = rest;
    }
    if parts.is_empty() { "0 s".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_and_one_unit() {
        for (text, seconds) in [("0s", 0), ("10s", 10), ("5m", 300), ("2h", 7_200), ("1d", 86_400), ("007m", 420)] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in [
            "",
            "5",
            "m",
            "-5m",
            "+5m",
            "5 m",
            "5M",
            "1h30m",
            "5.5m",
            "5ms",
            "٣m",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn words_name_each_unit_once() {
        for (seconds, words) in [(0, "0 s"), (300, "5 min"), (5_400, "1 h 30 min"), (90_061, "1 d 1 h 1 min 1 s")] {
            assert_eq!(in_words(Duration::from_secs(seconds)), words);
        }
    }
}
