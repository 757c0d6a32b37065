//! A decision in words: for whoever asks why, before and after.

use std::fmt;

use countersign_core::decision::{PathStep, Verdict};
use countersign_core::demand::Demand;
use countersign_core::digest::Digest;
use countersign_core::ids::PersonId;
use countersign_core::names::{Factor, GroupName};
use countersign_core::people::People;
use countersign_core::quorum;
use serde::Serialize;

use crate::builtin::is_proposal;
use crate::decide::{Judgement, Query};
use crate::merge::Wanted;
use crate::{Policy, duration, words};

/// The people whom an explanation may name.
#[derive(Clone, Copy, Debug)]
pub struct SupplyView<'a> {
    /// The members of the groups that the policy names, as they stand now.
    pub people: &'a People,
    /// Who asks; fills no place.
    pub requester: Option<PersonId>,
}

/// Why the verdict is what it is, and what it takes. As JSON for programs; displayed, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// `allow`, `deny` or `require`.
    pub verdict: &'static str,
    /// In one line.
    pub sentence: String,
    /// What has to be met, also when the verdict is a denial only because the reason does not fit yet.
    pub needs: Vec<Need>,
    /// Different people who could fill a place.
    pub people: usize,
    /// What keeps it from being granted as things stand.
    pub missing: Vec<String>,
    /// How long people have to answer, in words.
    pub deadline: Option<String>,
    /// Whether codes that the requester carries count.
    pub relayed: bool,
    /// The digest of the policy.
    pub policy: Digest,
    /// Every rule in the order of the file, with what it contributed or the first condition that did not hold.
    pub path: Vec<PathStep>,
}

/// One demand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Need {
    /// As a test in a policy names it, for example `1 of local:security`.
    pub words: String,
    /// The group that supplies the people, if it takes people.
    pub group: Option<GroupName>,
    /// Names of those who could meet it now; only for people of a group.
    pub who: Option<Vec<String>>,
}

impl Policy {
    /// Decides, and tells how it came to that and who could do what.
    pub fn explain(&self, query: &Query<'_>, view: &SupplyView<'_>) -> Explanation {
        let Judgement { verdict, path, wanted, unmet_reasons } = self.judge(query);
        let demands = wanted.as_ref().map(Wanted::demands).unwrap_or_default();
        let mut missing = Vec::new();
        if wanted.is_some() && !unmet_reasons.is_empty() {
            missing.push(words::reason_needed(&unmet_reasons));
        }
        if query.person.is_none()
            && view.requester.is_none()
            && !is_proposal(query)
            && demands.iter().any(Demand::needs_a_person)
        {
            missing.push(format!("{} belongs to no person; an administrator can link it", query.account));
        }
        missing.extend(view.lacking(&demands));
        let supply = view.anybody_for(&demands);
        let has_quorum = demands.iter().any(|demand| matches!(demand, Demand::Quorum { .. }));
        let (name, sentence) = match &verdict {
            Verdict::Allow { bounds } => ("allow", words::bounds_in_words(bounds)),
            Verdict::Deny { reason } => ("deny", reason.clone()),
            Verdict::Require(requirements) => {
                ("require", words::sentence(&demands, &requirements.bounds, has_quorum.then_some(supply)))
            }
        };
        Explanation {
            verdict: name,
            sentence,
            needs: demands.iter().map(|demand| view.need(demand)).collect(),
            people: supply,
            missing,
            deadline: wanted.as_ref().map(|wanted| duration::in_words(wanted.deadline)),
            relayed: wanted.as_ref().is_some_and(|wanted| wanted.relayed),
            policy: self.digest(),
            path,
        }
    }
}

impl SupplyView<'_> {
    fn need(&self, demand: &Demand) -> Need {
        let (group, who) = match demand {
            Demand::Quorum { of, factors, .. } => {
                (Some(of.clone()), Some(self.names(|group, has| group == of && factors.contains(&has))))
            }
            Demand::Fresh { .. } | Demand::Reason { .. } | Demand::Notify { .. } => (None, None),
        };
        Need { words: words::demand_in_words(demand), group, who }
    }

    fn anybody_for(&self, demands: &[Demand]) -> usize {
        let fits = |group: &GroupName, has: Factor| {
            demands.iter().any(
                |demand| matches!(demand, Demand::Quorum { of, factors, .. } if of == group && factors.contains(&has)),
            )
        };
        self.names(fits).len()
    }

    /// Active people other than the requester with a group and a factor that fit together.
    fn names(&self, fits: impl Fn(&GroupName, Factor) -> bool) -> Vec<String> {
        let able = self.people.iter().filter(|standing| {
            standing.active
                && Some(standing.person.id) != self.requester
                && standing.groups.iter().any(|group| standing.factors.iter().any(|factor| fits(group, *factor)))
        });
        let mut names: Vec<String> = able.map(|standing| standing.person.name.clone()).collect();
        names.sort();
        names
    }

    /// Places that stay empty even if everybody answers.
    fn lacking(&self, demands: &[Demand]) -> Vec<String> {
        let slots = quorum::fill(quorum::slots(demands), &self.people.supply(), self.requester);
        let mut empty: Vec<String> = slots
            .iter()
            .filter(|slot| slot.filled_by.is_none())
            .map(|slot| {
                format!(
                    "{} lacks somebody else who is active and enrolled with {}",
                    slot.group,
                    words::or(&slot.factors)
                )
            })
            .collect();
        empty.dedup();
        empty
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.verdict, self.sentence)?;
        for need in &self.needs {
            match &need.who {
                None => writeln!(f, "  {}", need.words)?,
                Some(who) if who.is_empty() => writeln!(f, "  {}: nobody can", need.words)?,
                Some(who) => writeln!(f, "  {}: {}", need.words, who.join(", "))?,
            }
        }
        for missing in &self.missing {
            writeln!(f, "  missing: {missing}")?;
        }
        if let Some(deadline) = &self.deadline {
            writeln!(f, "  answers count for {deadline} after asking")?;
        }
        writeln!(f, "rules:")?;
        for step in &self.path {
            let verb = if step.matched { "applies" } else { "does not apply" };
            match step.line {
                0 => writeln!(f, "  {}: {verb}: {}", step.rule, step.why)?,
                line => writeln!(f, "  line {line}, {}: {verb}: {}", step.rule, step.why)?,
            }
        }
        Ok(())
    }
}
