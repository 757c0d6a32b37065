//! Who won.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;
use serde_json::Value;

use super::super::http::{Answer, Call, Http};

/// The races of one kind or of all.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// For each race: how often it was run, by what won.
    won: BTreeMap<&'static str, BTreeMap<String, u64>>,
    /// What the others were told.
    lost: BTreeMap<String, u64>,
    wrong: Vec<String>,
    /// What the ledger has to tell of each request.
    told: Vec<Told>,
}

/// How often entries of these types belong to a request, by what was answered.
#[derive(Debug)]
struct Told {
    race: &'static str,
    request: String,
    entries: Vec<(&'static str, usize)>,
}

/// Answers of one race that say that it was done, and the others.
#[derive(Debug)]
pub(super) struct Sorted<'a> {
    /// Numbers of the shots.
    pub(super) done: Vec<usize>,
    answers: &'a [Answer],
}

impl Tally {
    /// Sorts answers into winners and losers; anything that is neither is wrong.
    pub(super) fn sort<'a>(&mut self, race: &'static str, answers: &'a [Answer]) -> Sorted<'a> {
        let mut done = Vec::new();
        for (number, answer) in answers.iter().enumerate() {
            match answer.status {
                200..300 => done.push(number),
                // A proof of freshness with a used code is told so as a malformed one.
                400 if answer.text().contains("this code was used before") => {
                    *self.lost.entry("used before".to_owned()).or_default() += 1;
                }
                401 | 409 | 422 | 429 | 503 => {
                    let body = answer.json();
                    let words = [&body["slug"], &body["why"]].map(|word| word.as_str().unwrap_or_default().to_owned());
                    *self.lost.entry(words.join(" ").trim_end().to_owned()).or_default() += 1;
                }
                other => self.is_wrong(format!("{race}: {other}: {}", answer.text())),
            }
        }
        Sorted { done, answers }
    }

    /// Exactly one won; `name` tells what its shot was.
    pub(super) fn one_winner(&mut self, race: &'static str, sorted: &Sorted<'_>, name: impl Fn(usize) -> String) {
        match sorted.done.as_slice() {
            [winner] => *self.won.entry(race).or_default().entry(name(*winner)).or_default() += 1,
            several => {
                let told: Vec<String> =
                    sorted.answers.iter().map(|answer| format!("{} {}", answer.status, answer.text())).collect();
                self.is_wrong(format!(
                    "{race}: {} winners of {}: {}",
                    several.len(),
                    sorted.answers.len(),
                    told.join("\n    ")
                ));
            }
        }
    }

    /// A race that nobody but the clock has won.
    pub(super) fn won_by(&mut self, race: &'static str, name: &str) {
        *self.won.entry(race).or_default().entry(name.to_owned()).or_default() += 1;
    }

    /// What must stand in the ledger about this request.
    pub(super) fn tells(&mut self, race: &'static str, request: &Value, entries: &[(&'static str, usize)]) {
        let request = request["id"].as_str().unwrap_or_default().to_owned();
        self.told.push(Told { race, request, entries: entries.to_vec() });
    }

    pub(super) fn is_wrong(&mut self, what: String) {
        self.wrong.push(what);
    }

    /// What must be empty.
    pub(crate) fn wrong(&self) -> &[String] {
        &self.wrong
    }

    /// How often each race was run.
    pub(crate) fn rounds(&self) -> BTreeMap<&'static str, u64> {
        self.won.iter().map(|(race, won)| (*race, won.values().sum())).collect()
    }

    pub(super) fn add(&mut self, other: Self) {
        for (race, won) in other.won {
            for (name, count) in won {
                *self.won.entry(race).or_default().entry(name).or_default() += count;
            }
        }
        for (what, count) in other.lost {
            *self.lost.entry(what).or_default() += count;
        }
        self.wrong.extend(other.wrong);
        self.told.extend(other.told);
    }

    /// Counts the entries of each raced request in its receipt.
    pub(super) fn hold_to_the_ledger(&mut self, http: &mut Http, requester: &str) -> Result<()> {
        for Told { race, request, entries } in std::mem::take(&mut self.told) {
            let path = format!("/requests/{request}/receipt?timeout_secs=20");
            let answer = http.call(Call { path: &path, token: requester, ..Call::default() })?;
            let found = types(&answer.json());
            for (kind, expected) in entries {
                let count = found.iter().filter(|found| *found == kind).count();
                if answer.status != 200 || count != expected {
                    self.is_wrong(format!(
                        "{race}: request {request} has {count} entries {kind}, not {expected}: {found:?}"
                    ));
                }
            }
        }
        Ok(())
    }
}

/// The types of a receipt's entries.
fn types(receipt: &Value) -> Vec<String> {
    let entries = receipt["entries"].as_array().map_or(&[][..], Vec::as_slice);
    let leaf =
        |entry: &Value| serde_json::from_str::<Value>(entry["leaf"].as_str().unwrap_or_default()).unwrap_or_default();
    entries.iter().map(|entry| leaf(entry)["type"].as_str().unwrap_or_default().to_owned()).collect()
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |all: &BTreeMap<String, u64>| {
            all.iter().map(|(what, count)| format!("{what} {count}")).collect::<Vec<_>>().join(", ")
        };
        for (race, won) in &self.won {
            writeln!(f, "  {race}: {} rounds, one winner each ({})", won.values().sum::<u64>(), list(won))?;
        }
        write!(f, "  the others were told: {}", list(&self.lost))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answers(statuses: &[u16]) -> Vec<Answer> {
        statuses.iter().map(|status| Answer { status: *status, body: b"{\"slug\": \"conflict\"}".to_vec() }).collect()
    }

    fn raced(statuses: &[u16]) -> Tally {
        let mut tally = Tally::default();
        let answers = answers(statuses);
        let sorted = tally.sort("a race", &answers);
        tally.one_winner("a race", &sorted, |number| number.to_string());
        tally
    }

    #[test]
    fn one_winner_is_good_and_none_or_two_are_wrong() {
        let tally = raced(&[409, 200, 422]);
        assert_eq!((tally.wrong().len(), tally.rounds()["a race"]), (0, 1));
        assert!(tally.to_string().contains("(1 1)"), "{tally}");
        assert_eq!(raced(&[409, 422]).wrong().len(), 1);
        assert_eq!(raced(&[200, 204]).wrong().len(), 1);
        assert_eq!(raced(&[200, 500]).wrong().len(), 1);
    }

    #[test]
    fn types_are_read_from_a_receipt() {
        let receipt =
            json!({"entries": [{"leaf": "{\"type\":\"request.asked\"}"}, {"leaf": "{\"type\":\"request.granted\"}"}]});
        assert_eq!(types(&receipt), ["request.asked", "request.granted"]);
    }
}
