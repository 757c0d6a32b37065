//! Demands in plain words, for the command line, the API and notices.

use std::time::Duration;

use countersign_core::demand::{Bounds, Demand};
use countersign_core::names::Factor;

use crate::duration;

/// The pattern that any reason fits. Nobody needs to read it.
const ANY_REASON: &str = ".+";

/// One line: `needs your own fresh totp, a reason, and 1 of local:dba and 1 of local:security, not you; grants 30 min`.
pub fn needs_in_words(demands: &[Demand], bounds: &Bounds) -> String {
    sentence(demands, bounds, None)
}

/// The same with how many people could approve: `..., not you; 6 people can; grants 30 min`.
pub(crate) fn sentence(demands: &[Demand], bounds: &Bounds, supply: Option<usize>) -> String {
    let mut needs = Vec::new();
    let mut people = Vec::new();
    let mut told = Vec::new();
    for demand in demands {
        match demand {
            Demand::Fresh { factors } => needs.push(format!("your own fresh {}", or(factors))),
            Demand::Quorum { .. } => people.push(demand_in_words(demand)),
            Demand::Reason { pattern } if pattern == ANY_REASON => needs.push("a reason".to_owned()),
            Demand::Reason { pattern } => needs.push(format!("a reason that fits {pattern}")),
            Demand::Notify { whom } => told.push(whom.as_str()),
        }
    }
    if !people.is_empty() {
        needs.push(format!("{}, not you", and(&people)));
    }
    let needs = if needs.is_empty() { "nothing".to_owned() } else { and_after_comma(&needs) };
    let told = if told.is_empty() { String::new() } else { format!("; tells {}", and(&told)) };
    let supply = match supply {
        None => String::new(),
        Some(1) => "; 1 person can".to_owned(),
        Some(count) => format!("; {count} people can"),
    };
    format!("needs {needs}{supply}{told}; {}", bounds_in_words(bounds))
}

/// `grants 5 min`, with the delay and the number of uses where they are not none and one.
pub fn bounds_in_words(bounds: &Bounds) -> String {
    let delay = match bounds.not_before {
        Duration::ZERO => String::new(),
        delay => format!(", beginning {} after approval", duration::in_words(delay)),
    };
    let uses = match bounds.uses {
        1 => String::new(),
        uses => format!(", {uses} uses"),
    };
    format!("grants {}{uses}{delay}", duration::in_words(bounds.ttl))
}

/// One demand as a test in a policy names it: `confirm`, `1 of local:security`, `reason`, `notify ops`.
pub fn demand_in_words(demand: &Demand) -> String {
    match demand {
        Demand::Fresh { .. } => "confirm".to_owned(),
        Demand::Quorum { k, of, .. } => format!("{k} of {of}"),
        Demand::Reason { .. } => "reason".to_owned(),
        Demand::Notify { whom } => format!("notify {whom}"),
    }
}

pub(crate) fn reason_needed(patterns: &[String]) -> String {
    if patterns.iter().all(|pattern| pattern == ANY_REASON) {
        return "a reason is needed; give one with --reason".to_owned();
    }
    format!("a reason is needed that fits {}; give one with --reason", and(patterns))
}

/// `a`, `a and b`, `a, b and c`.
pub(crate) fn and<T: AsRef<str>>(items: &[T]) -> String {
    let items: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    match items.split_last() {
        None => String::new(),
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

pub(crate) fn or(factors: &[Factor]) -> String {
    factors.iter().map(|factor| factor.as_str()).collect::<Vec<_>>().join(" or ")
}

pub(crate) fn or_names(names: &[String]) -> String {
    names.join(" or ")
}

/// Keeps `1 of a and 1 of b, not you` together.
fn and_after_comma(items: &[String]) -> String {
    match items.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{}, and {last}", rest.join(", ")),
        _ => items.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quorum(k: u32, group: &str) -> Demand {
        Demand::Quorum { k, of: group.parse().expect("a group"), factors: vec![Factor::Totp] }
    }

    #[test]
    fn people_are_named_with_the_one_who_does_not_count() {
        let half_an_hour = Bounds { ttl: Duration::from_mins(30), ..Bounds::DEFAULT };
        assert_eq!(
            needs_in_words(&[quorum(1, "local:security"), quorum(1, "local:dba")], &half_an_hour),
            "needs 1 of local:security and 1 of local:dba, not you; grants 30 min"
        );
    }

    #[test]
    fn everything_at_once() {
        let demands = [
            Demand::Fresh { factors: vec![Factor::Totp] },
            quorum(2, "local:dba"),
            Demand::Reason { pattern: "OPS-.+".to_owned() },
            Demand::Notify { whom: "ops".to_owned() },
            Demand::Notify { whom: "audit".to_owned() },
        ];
        let bounds = Bounds { not_before: Duration::from_hours(1), ttl: Duration::from_mins(90), uses: 3 };
        assert_eq!(
            needs_in_words(&demands, &bounds),
            "needs your own fresh totp, a reason that fits OPS-.+, and 2 of local:dba, not you; tells ops and audit; \
             grants 1 h 30 min, 3 uses, beginning 1 h after approval"
        );
    }

    #[test]
    fn nothing_is_said_too() {
        assert_eq!(needs_in_words(&[], &Bounds::DEFAULT), "needs nothing; grants 5 min");
        assert_eq!(
            needs_in_words(&[Demand::Notify { whom: "ops".to_owned() }], &Bounds::DEFAULT),
            "needs nothing; tells ops; grants 5 min"
        );
    }
}
