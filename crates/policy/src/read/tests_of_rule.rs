//! `[[rule.test]]`: examples that the author states and that must hold, or the policy is not loaded.
//!
//! A test asks the whole file and the built-in rules, with two administrators, and looks at the final verdict; only `skip` looks at the one rule that
//! the test stands in, which must not match.

use std::collections::{BTreeMap, BTreeSet};

use countersign_core::canonical::{Number, Value};
use countersign_core::decision::{Decision, Verdict};
use countersign_core::names::{AccountName, Action, GroupName, LOCAL_REALM, check_name};
use countersign_core::operation::Operation;
use toml::de::DeValue;

use super::section::{Item, Report, Section, integer, optional};
use crate::builtin::Builtin;
use crate::decide::Query;
use crate::error::Problem;
use crate::pattern::shortened;
use crate::{Policy, words};

const ADMINISTRATORS_IN_TESTS: Builtin = Builtin { administrators: 2 };

#[derive(Debug)]
pub(super) struct Test<'t> {
    rule: usize,
    line: u32,
    name: &'t str,
    account: AccountName,
    person: Option<&'t str>,
    groups: BTreeSet<GroupName>,
    operation: Operation,
    reason: Option<&'t str>,
    expect: Expectation,
    needs: Option<Vec<&'t str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expectation {
    Allow,
    Deny,
    Require,
    Skip,
}

pub(super) fn read<'t>(section: &mut Section<'t>, rule: usize, report: &mut Report<'_>) -> Vec<Test<'t>> {
    let items = section.take("test").and_then(|item| item.items(report)).unwrap_or_default();
    items.iter().filter_map(|item| one(item.table(report)?, rule, report)).collect()
}

pub(super) fn run(policy: &Policy, tests: &[Test<'_>], report: &mut Report<'_>) {
    for test in tests {
        let Err((expected, got)) = test.check(policy) else {
            continue;
        };
        report.rule = policy.rules.get(test.rule).map(|rule| rule.id.clone());
        report.push(test.line, Problem::Test { name: shortened(test.name), expected, got });
    }
}

impl Test<'_> {
    fn check(&self, policy: &Policy) -> Result<(), (String, String)> {
        let decision = policy.decide(&Query {
            operation: &self.operation,
            account: &self.account,
            person: self.person,
            groups: &self.groups,
            reason: self.reason,
            builtin: &ADMINISTRATORS_IN_TESTS,
        });
        let (verdict, got) = match &decision.verdict {
            Verdict::Allow { .. } => (Expectation::Allow, "allow".to_owned()),
            Verdict::Deny { reason } => (Expectation::Deny, format!("deny ({reason})")),
            Verdict::Require(_) => (Expectation::Require, format!("require ({})", needs_of(&decision).join(", "))),
        };
        if self.expect == Expectation::Skip {
            let id = policy.rules.get(self.rule).map(|rule| rule.id.as_str());
            if decision.path.iter().any(|step| Some(step.rule.as_str()) == id && step.matched) {
                return Err(("that the rule does not match".to_owned(), "a match".to_owned()));
            }
        } else if verdict != self.expect {
            return Err((self.expect.as_str().to_owned(), got));
        }
        let Some(needs) = &self.needs else {
            return Ok(());
        };
        let mut wanted: Vec<String> = needs.iter().map(|need| (*need).to_owned()).collect();
        let mut found = needs_of(&decision);
        wanted.sort();
        found.sort();
        if wanted == found {
            Ok(())
        } else {
            Err((format!("needs [{}]", wanted.join(", ")), format!("[{}]", found.join(", "))))
        }
    }
}

impl Expectation {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Require => "require",
            Self::Skip => "skip",
        }
    }
}

/// Each need once: two patterns for the reason are one `reason`.
fn needs_of(decision: &Decision) -> Vec<String> {
    let Verdict::Require(requirements) = &decision.verdict else {
        return Vec::new();
    };
    let mut needs: Vec<String> = requirements.demands.iter().map(words::demand_in_words).collect();
    needs.dedup();
    needs
}

fn one<'t>(mut section: Section<'t>, rule: usize, report: &mut Report<'_>) -> Option<Test<'t>> {
    let line = report.line(section.at);
    let name = section.need("name", report).and_then(|item| item.string(report));
    let by = section.need("by", report).and_then(|item| who(&item, report));
    let groups = optional(section.take("groups"), |item| groups(item, report));
    let action = section.need("action", report).and_then(|item| {
        let text = item.string(report)?;
        item.name(text.parse::<Action>(), report)
    });
    let target = optional(section.take("target"), |item| item.string(report));
    let parameters = optional(section.take("params"), |item| parameters(item, report));
    let reason = optional(section.take("reason"), |item| item.string(report));
    let expect = section.need("expect", report).and_then(|item| expectation(&item, report));
    let needs = optional(section.take("needs"), |item| texts(item, report));
    section.finish(report);
    let (account, person) = by?;
    let operation = Operation {
        door: "test".to_owned(),
        action: action?,
        target: target.ok()?.unwrap_or_default().to_owned(),
        parameters: parameters.ok()?.unwrap_or_else(|| Value::Object(BTreeMap::new())),
        context: Value::Null,
    };
    Some(Test {
        rule,
        line,
        name: name?,
        account,
        person,
        groups: groups.ok()?.unwrap_or_default(),
        operation,
        reason: reason.ok()?,
        expect: expect?,
        needs: needs.ok()?,
    })
}

/// A person asks with the local account of that name.
fn who<'t>(item: &Item<'t>, report: &mut Report<'_>) -> Option<(AccountName, Option<&'t str>)> {
    let text = item.string(report)?;
    let found = match text.split_once(':') {
        Some(("person", name)) if check_name(name).is_ok() => {
            AccountName::new(LOCAL_REALM, name).ok().map(|account| (account, Some(name)))
        }
        Some(("account", name)) if name.contains(':') => name.parse().ok().map(|account| (account, None)),
        _ => None,
    };
    report.check(item.at, found.ok_or_else(|| Problem::TestWho(shortened(text))))
}

fn groups(item: &Item<'_>, report: &mut Report<'_>) -> Option<BTreeSet<GroupName>> {
    let texts = texts(item, report)?;
    texts.into_iter().map(|text| item.name(text.parse::<GroupName>(), report)).collect()
}

/// A list that may be empty: in a test "none" is worth saying.
fn texts<'t>(item: &Item<'t>, report: &mut Report<'_>) -> Option<Vec<&'t str>> {
    match item.value.as_array() {
        Some(array) if array.is_empty() => Some(Vec::new()),
        Some(_) => item.strings(report).map(|texts| texts.into_iter().map(|(text, _)| text).collect()),
        None => item.wrong("a list of texts", report),
    }
}

fn expectation(item: &Item<'_>, report: &mut Report<'_>) -> Option<Expectation> {
    match item.string(report)? {
        "allow" => Some(Expectation::Allow),
        "deny" => Some(Expectation::Deny),
        "require" => Some(Expectation::Require),
        "skip" => Some(Expectation::Skip),
        other => {
            report.problem(item.at, Problem::Expectation(shortened(other)));
            None
        }
    }
}

fn parameters(item: &Item<'_>, report: &mut Report<'_>) -> Option<Value> {
    if item.value.is_table() { value(item, item.value, report) } else { item.wrong("a table", report) }
}

fn value(item: &Item<'_>, from: &DeValue<'_>, report: &mut Report<'_>) -> Option<Value> {
    match from {
        DeValue::String(text) => Some(Value::from(text.as_ref())),
        DeValue::Boolean(value) => Some(Value::from(*value)),
        DeValue::Integer(_) => match integer(from) {
            Some(number) => Some(Value::from(number)),
            None => item.wrong("made of texts and numbers of 64 bits", report),
        },
        DeValue::Float(number) => match Number::from_literal(number.as_str()) {
            Ok(number) => Some(Value::from(number)),
            Err(_) => item.wrong("made of texts and finite numbers", report),
        },
        DeValue::Datetime(_) => {
            report.problem(item.at, Problem::Date);
            None
        }
        DeValue::Array(items) => {
            let items = items.iter().map(|from| value(item, from.get_ref(), report));
            items.collect::<Option<Vec<_>>>().map(Value::from)
        }
        DeValue::Table(members) => {
            let member = |(key, from): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
                let key: &std::borrow::Cow<'_, str> = key.get_ref();
                value(item, from.get_ref(), report).map(|found| (key.to_string(), found))
            };
            members.iter().map(member).collect::<Option<BTreeMap<_, _>>>().map(Value::from)
        }
    }
}
