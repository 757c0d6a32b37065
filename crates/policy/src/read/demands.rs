//! What a rule demands: `reason`, `confirm`, `quorum`, `notify`; and for how long: `deadline`, `relayed`, `grant`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use countersign_core::demand::Bounds;
use countersign_core::names::{Factor, GroupName, check_name};
use toml::de::DeValue;

use super::section::{Item, Report, Section};
use crate::duration;
use crate::error::Problem;
use crate::merge::{ReasonPattern, Seats, Wanted};
use crate::pattern::shortened;
use crate::rule::Effect;

/// More people than this in one rule is a typing error, and an expensive one for whoever assigns places.
const MAX_PEOPLE: u32 = 100;
const MAX_USES: i64 = 1_000;
const DAY: Duration = Duration::from_hours(24);
const WEEK: Duration = Duration::from_hours(7 * 24);

pub(super) struct Read<'t> {
    pub(super) wanted: Wanted,
    pub(super) quorum_line: Option<u32>,
    /// The keys of this part that the rule has.
    pub(super) keys: Vec<Item<'t>>,
}

pub(super) fn read<'t>(section: &mut Section<'t>, effect: Option<Effect>, report: &mut Report<'_>) -> Option<Read<'t>> {
    let mut wanted = Wanted::nothing();
    let mut quorum_line = None;
    let mut keys = Vec::new();
    let mut good = true;
    for key in ["reason", "confirm", "quorum", "notify", "relayed", "deadline", "grant"] {
        let Some(item) = section.take(key) else {
            continue;
        };
        good &= belongs(&item, effect, report);
        let part = match key {
            "reason" => reason(&item, report).map(|(text, pattern)| {
                wanted.reasons.insert(text, pattern);
            }),
            "confirm" => confirm(&item, report).map(|factors| wanted.confirm = Some(factors)),
            "quorum" => {
                quorum_line = Some(report.line(item.at));
                quorum(&item, report).map(|seats| wanted.quorum = seats)
            }
            "notify" => notify(&item, report).map(|names| wanted.notify = names),
            "relayed" => relayed(&item, report).map(|allowed| wanted.relayed = allowed),
            "deadline" => {
                let range = (Duration::from_secs(1), "1s", WEEK, "7d");
                span(&item, range, report).map(|deadline| wanted.deadline = deadline)
            }
            _ => grant(&item, report).map(|bounds| wanted.bounds = bounds),
        };
        good &= part.is_some();
        keys.push(item);
    }
    good.then_some(Read { wanted, quorum_line, keys })
}

fn belongs(item: &Item<'_>, effect: Option<Effect>, report: &mut Report<'_>) -> bool {
    let effect = match effect {
        None | Some(Effect::Require) => return true,
        Some(Effect::Allow) if item.key == "grant" => return true,
        Some(other) => other.as_str(),
    };
    report.problem(item.at, Problem::NotInEffect { key: item.key.clone(), effect });
    false
}

fn reason(item: &Item<'_>, report: &mut Report<'_>) -> Option<(String, ReasonPattern)> {
    let text = item.string(report)?;
    let pattern = report.check(item.at, ReasonPattern::new(text).map_err(Problem::Regex))?;
    if pattern.fits("") {
        report.problem(item.at, Problem::EmptyReason);
        return None;
    }
    Some((text.to_owned(), pattern))
}

fn confirm(item: &Item<'_>, report: &mut Report<'_>) -> Option<BTreeSet<Factor>> {
    match item.value {
        DeValue::Boolean(true) => Some(BTreeSet::from([Factor::Totp])),
        DeValue::Boolean(false) => {
            report.problem(item.at, Problem::ConfirmFalse);
            None
        }
        DeValue::Array(_) => item.factors(report),
        _ => item.wrong("true or a list of factors", report),
    }
}

fn quorum(item: &Item<'_>, report: &mut Report<'_>) -> Option<BTreeMap<GroupName, Seats>> {
    let mut places: BTreeMap<GroupName, Seats> = BTreeMap::new();
    let (mut good, mut total) = (true, 0_u64);
    for entry in item.items(report)? {
        let Some((group, seats)) = seats(&entry, report) else {
            good = false;
            continue;
        };
        total += u64::from(seats.k);
        let shared = places
            .entry(group.clone())
            .and_modify(|all| {
                all.k = all.k.saturating_add(seats.k);
                all.factors = all.factors.intersection(&seats.factors).copied().collect();
            })
            .or_insert(seats);
        if shared.factors.is_empty() {
            report.problem(entry.at, Problem::NoCommonFactor(group.to_string()));
            good = false;
        }
    }
    if total > u64::from(MAX_PEOPLE) {
        report.problem(item.at, Problem::TooManyPeople { got: total, most: MAX_PEOPLE });
        return None;
    }
    good.then_some(places)
}

fn seats(entry: &Item<'_>, report: &mut Report<'_>) -> Option<(GroupName, Seats)> {
    let mut section = entry.table(report)?;
    let k = section.need("k", report).and_then(|item| item.in_range(1, i64::from(MAX_PEOPLE), report));
    let of = section.need("of", report).and_then(|item| {
        let text = item.string(report)?;
        item.name(text.parse::<GroupName>(), report)
    });
    let factors = match section.take("factors") {
        Some(item) if item.value.is_array() => item.factors(report),
        Some(item) => item.wrong("a list of factors", report),
        None => Some(BTreeSet::from([Factor::Totp])),
    };
    section.finish(report);
    Some((of?, Seats { k: k?, factors: factors? }))
}

fn notify(item: &Item<'_>, report: &mut Report<'_>) -> Option<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for (text, _) in item.strings(report)? {
        // A plain name, or a group with its realm.
        let good = if text.contains(':') { text.parse::<GroupName>().map(|_| ()) } else { check_name(text) };
        item.name(good, report)?;
        names.insert(text.to_owned());
    }
    Some(names)
}

fn relayed(item: &Item<'_>, report: &mut Report<'_>) -> Option<bool> {
    match item.string(report)? {
        "allow" => Some(true),
        "refuse" => Some(false),
        other => {
            report.problem(item.at, Problem::Relayed(shortened(other)));
            None
        }
    }
}

fn grant(item: &Item<'_>, report: &mut Report<'_>) -> Option<Bounds> {
    let mut section = item.table(report)?;
    let not_before = section.take("not_before");
    let not_before = not_before.map(|item| span(&item, (Duration::ZERO, "0s", WEEK, "7d"), report));
    let ttl = section.take("ttl").map(|item| span(&item, (Duration::from_secs(1), "1s", DAY, "24h"), report));
    let uses = section.take("uses").map(|item| item.in_range(1, MAX_USES, report));
    section.finish(report);
    let Bounds { not_before: begin, ttl: life, uses: count } = Bounds::DEFAULT;
    Some(Bounds {
        not_before: not_before.unwrap_or(Some(begin))?,
        ttl: ttl.unwrap_or(Some(life))?,
        uses: uses.unwrap_or(Some(count))?,
    })
}

fn span(
    item: &Item<'_>,
    (least, least_text, most, most_text): (Duration, &'static str, Duration, &'static str),
    report: &mut Report<'_>,
) -> Option<Duration> {
    let text = item.string(report)?;
    let duration = report.check(item.at, duration::parse(text))?;
    if duration < least || duration > most {
        let (key, got) = (item.key.clone(), shortened(text));
        report.problem(item.at, Problem::DurationRange { key, got, least: least_text, most: most_text });
        return None;
    }
    Some(duration)
}
