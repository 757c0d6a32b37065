//! From text to rules. Everything that is wrong is found at once; whatever is unknown is wrong.

mod demands;
mod rule;
mod section;
mod tests_of_rule;

use std::collections::BTreeMap;

use toml::de::DeTable;

use self::section::{Report, Section};
use crate::error::{PolicyError, Problem};
use crate::{Policy, rule::Rule};

pub(crate) const MAX_BYTES: usize = 1 << 20;
pub(crate) const MAX_RULES: usize = 1_000;

pub(crate) fn policy(text: &str, name: &str) -> Result<Policy, Vec<PolicyError>> {
    let mut report = Report::new(name, text);
    if text.len() > MAX_BYTES {
        report.problem(0, Problem::TooLong(MAX_BYTES));
        return Err(report.into_errors());
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let at = error.span().map_or(0, |span| span.start);
        // One line each, whatever the parser says.
        let message = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
        report.problem(at, Problem::Syntax(message));
    }
    if !report.is_clean() {
        return Err(report.into_errors());
    }
    let mut root = Section::new(0, table.get_ref());
    version(&mut root, &mut report);
    let (rules, tests) = rules(&mut root, &mut report);
    root.finish(&mut report);
    let policy = Policy { name: name.to_owned(), text: text.to_owned(), rules };
    // A test of a file that is wrong elsewhere would only say so again.
    if report.is_clean() {
        tests_of_rule::run(&policy, &tests, &mut report);
    }
    if report.is_clean() { Ok(policy) } else { Err(report.into_errors()) }
}

fn version(root: &mut Section<'_>, report: &mut Report<'_>) {
    let Some(item) = root.take("version") else {
        return report.problem(0, Problem::NoVersion);
    };
    match item.integer(report) {
        Some(1) | None => {}
        Some(other) => report.problem(item.at, Problem::Version(other)),
    }
}

fn rules<'t>(root: &mut Section<'t>, report: &mut Report<'_>) -> (Vec<Rule>, Vec<tests_of_rule::Test<'t>>) {
    let (mut rules, mut tests) = (Vec::new(), Vec::new());
    // A file without rules is a policy too: it denies everything.
    let items = root.take("rule").and_then(|item| item.items(report)).unwrap_or_default();
    if let Some(first) = items.first()
        && items.len() > MAX_RULES
    {
        report.problem(first.at, Problem::TooManyRules(MAX_RULES));
        return (rules, tests);
    }
    let mut lines = BTreeMap::new();
    for (index, item) in items.iter().enumerate() {
        report.rule = Some(format!("#{}", index + 1));
        let Some(mut section) = item.table(report) else {
            continue;
        };
        let id = rule::id(&mut section, &mut lines, report);
        let own_tests = tests_of_rule::read(&mut section, index, report);
        // Only a rule that is right in all its parts is kept; the indices of tests hold because tests run only when all are.
        if let Some(rule) = rule::read(section, id, report) {
            rules.push(rule);
        }
        tests.extend(own_tests);
    }
    report.rule = None;
    (rules, tests)
}
