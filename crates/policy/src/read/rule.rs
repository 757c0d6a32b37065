//! One `[[rule]]`.

use std::collections::BTreeMap;

use countersign_core::names::check_name;
use toml::de::DeValue;

use super::demands;
use super::section::{Item, Report, Section, integer, optional};
use crate::error::Problem;
use crate::pattern::{ActionPattern, Glob, Who, shortened};
use crate::rule::{Effect, Rule, Scope};
use crate::when::{Condition, Wanted};

/// The rule's name, so that every later complaint can use it. `lines` holds those of the rules before.
pub(super) fn id(
    section: &mut Section<'_>,
    lines: &mut BTreeMap<String, u32>,
    report: &mut Report<'_>,
) -> Option<String> {
    let item = section.need("id", report)?;
    let text = item.string(report)?;
    item.name(check_name(text), report)?;
    report.rule = Some(text.to_owned());
    let line = report.line(item.at);
    if let Some(first) = lines.get(text) {
        report.problem(item.at, Problem::DuplicateId(*first));
        return None;
    }
    lines.insert(text.to_owned(), line);
    Some(text.to_owned())
}

/// Reads everything, also after a first mistake, so that the author sees all of them.
pub(super) fn read(mut section: Section<'_>, id: Option<String>, report: &mut Report<'_>) -> Option<Rule> {
    let at = section.at;
    let line = report.line(at);
    let effect_item = section.need("effect", report);
    let effect = effect_item.as_ref().and_then(|item| effect(item, report));
    let action_item = section.need("action", report);
    let actions = action_item.as_ref().and_then(|item| each(item, report, ActionPattern::parse));
    let targets = optional(section.take("target"), |item| each(item, report, |text| Ok(Glob::new(text))));
    let by = optional(section.take("by"), |item| each(item, report, Who::parse));
    let when = optional(section.take("when"), |item| when(item, effect, report));
    let read = demands::read(&mut section, effect, report);
    section.finish(report);
    let (effect, actions, targets, by, when, read) = (effect?, actions?, targets.ok()?, by.ok()?, when.ok()?, read?);
    let scope = Scope { actions, targets, by, when: when.unwrap_or_default() };
    let action_at = action_item.map_or(at, |item| item.at);
    let rule =
        Rule { id: id?, line, effect, scope, wanted: read.wanted, quorum_line: read.quorum_line.unwrap_or(line) };
    if effect == Effect::Require && !rule.wanted.demands_something() {
        report.problem(effect_item.map_or(at, |item| item.at), Problem::NoDemand);
        return None;
    }
    built_in(&rule, action_at, &read.keys, report)?;
    Some(rule)
}

/// What a rule cannot say of the actions that have rules of their own.
fn built_in(rule: &Rule, action_at: usize, keys: &[Item<'_>], report: &mut Report<'_>) -> Option<()> {
    let (administration, login) = (rule.scope.names_administration(), rule.scope.names_login());
    let problem = match rule.effect {
        Effect::Allow if administration => Problem::AllowBuiltIn("admin.*"),
        Effect::Allow if login => Problem::AllowBuiltIn("login"),
        Effect::Deny
            if rule.scope.is_unconditional() && rule.scope.actions.iter().any(ActionPattern::covers_policy_apply) =>
        {
            Problem::LockOut("admin.policy.apply")
        }
        Effect::Deny if rule.scope.is_unconditional() && login => Problem::LockOut("login"),
        Effect::Require if login => {
            let Some(other) = keys.iter().find(|item| item.key != "confirm") else {
                return Some(());
            };
            report.problem(other.at, Problem::LoginDemand(other.key.clone()));
            return None;
        }
        _ => return Some(()),
    };
    report.problem(action_at, problem);
    None
}

fn effect(item: &Item<'_>, report: &mut Report<'_>) -> Option<Effect> {
    match item.string(report)? {
        "allow" => Some(Effect::Allow),
        "deny" => Some(Effect::Deny),
        "require" => Some(Effect::Require),
        other => {
            report.problem(item.at, Problem::Effect(shortened(other)));
            None
        }
    }
}

fn each<T>(item: &Item<'_>, report: &mut Report<'_>, parse: impl Fn(&str) -> Result<T, Problem>) -> Option<Vec<T>> {
    let texts = item.strings(report)?;
    let parsed: Vec<Option<T>> = texts.into_iter().map(|(text, at)| report.check(at, parse(text))).collect();
    parsed.into_iter().collect()
}

fn when(item: &Item<'_>, effect: Option<Effect>, report: &mut Report<'_>) -> Option<Vec<Condition>> {
    let mut conditions = Vec::new();
    let complete = conditions_of(item, "", effect, &mut conditions, report);
    complete.then_some(conditions)
}

/// Unquoted dots make tables within tables; both spellings are the same path.
fn conditions_of(
    item: &Item<'_>,
    prefix: &str,
    effect: Option<Effect>,
    conditions: &mut Vec<Condition>,
    report: &mut Report<'_>,
) -> bool {
    let Some(table) = item.value.as_table() else {
        return item.wrong::<()>("a table", report).is_some();
    };
    if table.is_empty() {
        report.problem(item.at, Problem::EmptyList(item.key.clone()));
        return false;
    }
    let mut complete = true;
    for (key, value) in table {
        let path = if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
        let entry = Item { key: format!("when.{}", shortened(&path)), at: key.span().start, value: value.get_ref() };
        complete &= match value.get_ref() {
            DeValue::Table(_) => conditions_of(&entry, &path, effect, conditions, report),
            _ => condition(&entry, &path, effect, report).map(|condition| conditions.push(condition)).is_some(),
        };
    }
    complete
}

fn condition(item: &Item<'_>, path: &str, effect: Option<Effect>, report: &mut Report<'_>) -> Option<Condition> {
    let wanted = match item.value {
        DeValue::Array(_) => item.items(report)?.iter().map(|item| wanted(item, report)).collect::<Option<Vec<_>>>()?,
        _ => vec![wanted(item, report)?],
    };
    let condition = Condition::new(path, wanted).ok_or_else(|| Problem::Path(shortened(path)));
    let condition = report.check(item.at, condition)?;
    if effect == Some(Effect::Allow) && condition.looks_at_any_item() {
        report.problem(item.at, Problem::AnyItemAllows(item.key.clone()));
        return None;
    }
    Some(condition)
}

fn wanted(item: &Item<'_>, report: &mut Report<'_>) -> Option<Wanted> {
    match item.value {
        DeValue::String(_) => item.string(report).map(|text| Wanted::Text(Glob::new(text))),
        DeValue::Boolean(value) => Some(Wanted::Bool(*value)),
        value => match integer(value) {
            Some(number) => Some(Wanted::Int(number)),
            None => item.wrong("a text, a whole number, true or false, or a list of these", report),
        },
    }
}
