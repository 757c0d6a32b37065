//! A rule as it was read.

use countersign_core::canonical::Value;

use crate::decide::Query;
use crate::merge::Wanted;
use crate::pattern::{ActionPattern, Glob, Who};
use crate::when::Condition;

#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) id: String,
    /// Of its header.
    pub(crate) line: u32,
    pub(crate) effect: Effect,
    pub(crate) scope: Scope,
    /// What it demands and how far the right reaches that it gives; of an allow rule only the bounds count.
    pub(crate) wanted: Wanted,
    /// Where its quorum is written; of no meaning without one.
    pub(crate) quorum_line: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Allow,
    Deny,
    Require,
}

/// Which operations a rule is about: all of these conditions, each with any of its patterns.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    pub(crate) actions: Vec<ActionPattern>,
    /// `None`: any.
    pub(crate) targets: Option<Vec<Glob>>,
    /// `None`: anyone.
    pub(crate) by: Option<Vec<Who>>,
    pub(crate) when: Vec<Condition>,
}

impl Effect {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Require => "require",
        }
    }
}

impl Scope {
    /// The first condition that does not hold, in words. It repeats the rule, never the operation, whose parameters may be secret.
    pub(crate) fn objection(&self, query: &Query<'_>) -> Option<String> {
        let operation = query.operation;
        if !self.actions.iter().any(|pattern| pattern.fits(&operation.action)) {
            return Some(format!("the action is not {}", listed(&self.actions)));
        }
        if let Some(targets) = &self.targets
            && !targets.iter().any(|glob| glob.fits(operation.target.as_bytes()))
        {
            return Some(format!("the target is not {}", listed(targets)));
        }
        if let Some(by) = &self.by
            && !by.iter().any(|who| who.fits(query))
        {
            return Some(format!("who asks is not {}", listed(by)));
        }
        let parameters: &Value = &operation.parameters;
        self.when.iter().find(|condition| !condition.fits(parameters)).map(ToString::to_string)
    }

    pub(crate) fn names_administration(&self) -> bool {
        self.actions.iter().any(ActionPattern::names_administration)
    }

    pub(crate) fn names_login(&self) -> bool {
        self.actions.iter().any(ActionPattern::names_login)
    }

    /// Whether it is about everybody, everywhere, always.
    pub(crate) fn is_unconditional(&self) -> bool {
        let everywhere = self.targets.as_ref().is_none_or(|globs| globs.iter().any(|glob| glob.to_string() == "*"));
        let everybody = self.by.as_ref().is_none_or(|who| who.contains(&Who::Anyone));
        everywhere && everybody && self.when.is_empty()
    }
}

fn listed<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
}
