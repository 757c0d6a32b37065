//! What the rules say about one operation of one principal.
//!
//! Deny wins. Then every matching `require` rule must be met (how they add up is told in `merge.rs`); an `allow` rule never weakens them. Then
//! any `allow` rule lets it pass, within the tightest bounds of all that match. What no rule is about is denied.

use std::collections::BTreeSet;

use countersign_core::decision::{Decision, PathStep, Verdict};
use countersign_core::demand::{Bounds, Demand};
use countersign_core::names::{AccountName, GroupName};
use countersign_core::operation::Operation;

use crate::Policy;
use crate::builtin::{self, BuiltIn, Builtin};
use crate::merge::Wanted;
use crate::rule::{Effect, Rule};
use crate::words;

/// One operation, and who asks for it and why.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    pub operation: &'a Operation,
    pub account: &'a AccountName,
    /// The name of the one human being behind the account, whichever account of his it is.
    pub person: Option<&'a str>,
    /// The groups of that person.
    pub groups: &'a BTreeSet<GroupName>,
    pub reason: Option<&'a str>,
    pub builtin: &'a Builtin,
}

/// What was found, before it is brought into the form that others need.
#[derive(Debug)]
pub(crate) struct Judgement {
    pub(crate) verdict: Verdict,
    pub(crate) path: Vec<PathStep>,
    /// What would have to be met, also where the verdict is a denial only because the reason does not fit yet.
    pub(crate) wanted: Option<Wanted>,
    /// Patterns that the reason does not fit.
    pub(crate) unmet_reasons: Vec<String>,
}

impl Policy {
    /// The verdict, and every rule that was looked at. Depends on its arguments alone.
    ///
    /// A reason is judged here: where it is missing or does not fit, the verdict is a denial that says so; where it fits, the demand stays in the
    /// list so that the evidence tells of it.
    pub fn decide(&self, query: &Query<'_>) -> Decision {
        let Judgement { verdict, path, .. } = self.judge(query);
        Decision { verdict, policy: self.digest(), path }
    }

    /// Why a deny rule refuses it, if one does. A right that was granted under older rules is measured against these again whenever it is used.
    pub fn denied(&self, query: &Query<'_>) -> Option<String> {
        let mut found = Found::default();
        found.add_built_in(builtin::judge(query), &mut Vec::new());
        for rule in
            self.rules.iter().filter(|rule| rule.effect == Effect::Deny && rule.scope.objection(query).is_none())
        {
            found.add(rule);
        }
        found.denial()
    }

    pub(crate) fn judge(&self, query: &Query<'_>) -> Judgement {
        let mut path = Vec::with_capacity(self.rules.len() + 1);
        let mut found = Found::default();
        found.add_built_in(builtin::judge(query), &mut path);
        for rule in &self.rules {
            let objection = rule.scope.objection(query);
            let matched = objection.is_none();
            if matched {
                found.add(rule);
            }
            let why = objection.unwrap_or_else(|| contribution(rule));
            path.push(PathStep { rule: rule.id.clone(), line: rule.line, matched, why });
        }
        let wanted = found.wanted();
        let unmet_reasons: Vec<String> =
            wanted.iter().flat_map(|wanted| wanted.unmet_reasons(query.reason)).map(str::to_owned).collect();
        found.proposal = builtin::is_proposal(query);
        let verdict = found.verdict(wanted.as_ref(), &unmet_reasons);
        let wanted = wanted.filter(|_| found.denial().is_none());
        Judgement { verdict, path, wanted, unmet_reasons }
    }
}

/// What the matching rules say, each by its name.
#[derive(Debug, Default)]
struct Found<'p> {
    refused: Option<&'static str>,
    denies: BTreeSet<&'p str>,
    requires: Vec<(&'p str, Wanted)>,
    allows: Vec<Bounds>,
    /// Whether the server itself asks.
    proposal: bool,
}

impl<'p> Found<'p> {
    fn add_built_in(&mut self, built_in: BuiltIn, path: &mut Vec<PathStep>) {
        let (rule, why) = match built_in {
            BuiltIn::Silent => return,
            BuiltIn::Allow(name) => {
                self.allows.push(Bounds::DEFAULT);
                (name, "allows it".to_owned())
            }
            BuiltIn::Deny(name, why) => {
                self.refused = Some(why);
                (name, why.to_owned())
            }
            BuiltIn::Require(name, wanted) => {
                let why = needs(&wanted);
                self.requires.push((name, wanted));
                (name, why)
            }
        };
        path.push(PathStep { rule: rule.to_owned(), line: 0, matched: true, why });
    }

    fn add(&mut self, rule: &'p Rule) {
        match rule.effect {
            Effect::Allow => self.allows.push(rule.wanted.bounds.clone()),
            Effect::Deny => {
                self.denies.insert(&rule.id);
            }
            Effect::Require => self.requires.push((&rule.id, rule.wanted.clone())),
        }
    }

    fn wanted(&self) -> Option<Wanted> {
        let ((_, first), rest) = self.requires.split_first()?;
        Some(rest.iter().fold(first.clone(), |all, (_, next)| all.and(next)))
    }

    fn denial(&self) -> Option<String> {
        if let Some(why) = self.refused {
            return Some(why.to_owned());
        }
        let names: Vec<&str> = self.denies.iter().copied().collect();
        match names.as_slice() {
            [] => None,
            [one] => Some(format!("rule {one} denies this")),
            several => Some(format!("rules {} deny this", words::and(several))),
        }
    }

    fn verdict(&self, wanted: Option<&Wanted>, unmet_reasons: &[String]) -> Verdict {
        if let Some(reason) = self.denial() {
            return Verdict::Deny { reason };
        }
        let Some(wanted) = wanted else {
            return match self.allows.iter().cloned().reduce(|all, next| all.tightest(&next)) {
                Some(bounds) => Verdict::Allow { bounds },
                None => Verdict::Deny { reason: "no rule allows this".to_owned() },
            };
        };
        if let Some(what) = wanted.conflict() {
            let names: BTreeSet<&str> = self.requires.iter().map(|(name, _)| *name).collect();
            let names: Vec<&str> = names.into_iter().collect();
            let reason = format!(
                "the rules {} want different factors for {what}, and no factor is in all of them; an administrator must change one",
                words::and(&names)
            );
            return Verdict::Deny { reason };
        }
        if self.proposal && wanted.confirm.is_some() {
            // Nobody could ever answer it, and leaving it out would weaken a rule.
            let reason = "a rule wants whoever asks to confirm, and the server has nobody who could; an administrator must propose this policy";
            return Verdict::Deny { reason: reason.to_owned() };
        }
        if unmet_reasons.is_empty() {
            Verdict::Require(wanted.requirements())
        } else {
            Verdict::Deny { reason: words::reason_needed(unmet_reasons) }
        }
    }
}

fn contribution(rule: &Rule) -> String {
    match rule.effect {
        Effect::Allow => "allows it".to_owned(),
        Effect::Deny => "denies it".to_owned(),
        Effect::Require => needs(&rule.wanted),
    }
}

fn needs(wanted: &Wanted) -> String {
    let demands: Vec<Demand> = wanted.demands();
    words::needs_in_words(&demands, &wanted.bounds)
}
