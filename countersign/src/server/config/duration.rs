//! Durations as a configuration writes them: a whole number and its unit.

use std::time::Duration;

const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// `90s`, `15m`, `12h`, `7d`; `None` for anything else.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let (_, seconds) = UNITS.iter().find(|(letter, _)| *letter == unit)?;
    let digits = text.strip_suffix(unit)?;
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(*seconds).map(Duration::from_secs)
}

/// In the largest unit that holds it exactly.
pub(super) fn written(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let fits = UNITS.iter().find(|(_, unit)| seconds > 0 && seconds.is_multiple_of(*unit));
    fits.map_or_else(|| format!("{seconds}s"), |(letter, unit)| format!("{}{letter}", seconds / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        for text in ["0s", "90s", "15m", "12h", "7d", "25h"] {
            assert_eq!(written(parse(text).unwrap()), text);
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        for text in ["", "12", "h", "-1h", "+1h", "1.5h", "1 h", "1H", "12h ", "18446744073709551615d", "12\u{200b}h"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
