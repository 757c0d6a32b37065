//! Whether the people exist whom a policy demands. A quorum that nobody can fill is found when the policy is loaded, not in the night when it is needed.

use std::collections::BTreeSet;

use countersign_core::demand::Demand;
use countersign_core::ids::PersonId;
use countersign_core::names::{GroupName, LOCAL_REALM};
use countersign_core::people::{People, Standing};
use countersign_core::quorum::{self, Slot};

use crate::error::{Place, PolicyError, Problem, Warning};
use crate::merge::Wanted;
use crate::pattern::{ActionPattern, Who};
use crate::rule::Rule;
use crate::{Policy, builtin, words};

/// Who exists, as far as quorums are concerned.
#[derive(Clone, Copy, Debug)]
pub struct SupplyFacts<'a> {
    /// Everybody in a group of [`Policy::groups_named`], as they stand now.
    pub people: &'a People,
    /// The local groups that exist.
    pub groups: &'a BTreeSet<GroupName>,
}

/// What is wrong, and what may be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct SupplyReport {
    pub errors: Vec<PolicyError>,
    pub warnings: Vec<Warning>,
}

impl Policy {
    /// Judges each rule that has a quorum, by itself, as if it alone applied:
    ///
    /// - a local group that does not exist, or one rule's places that different people cannot fill all at once, is an error;
    /// - the requester fills no place: a rule whose `by` names persons and local groups alone is an error when it works for none of them, and a
    ///   warning when it works for some only. A rule on `admin.*` is judged with the built-in rules and with the administrators as requesters;
    /// - who is in a group of another realm is not known here: a warning, and the places of that group are left to the moment when somebody asks.
    pub fn check_supply(&self, facts: &SupplyFacts<'_>) -> SupplyReport {
        let mut report = SupplyReport::default();
        for rule in self.rules.iter().filter(|rule| !rule.wanted.quorum.is_empty()) {
            Check { rule, facts, place: self.place(rule), report: &mut report }.run();
        }
        report
    }

    fn place(&self, rule: &Rule) -> Place {
        Place { file: self.name.clone(), line: rule.quorum_line, rule: Some(rule.id.clone()) }
    }
}

struct Check<'c> {
    rule: &'c Rule,
    facts: &'c SupplyFacts<'c>,
    place: Place,
    report: &'c mut SupplyReport,
}

impl Check<'_> {
    fn run(mut self) {
        let mut exist = true;
        for group in self.rule.wanted.quorum.keys() {
            if group.realm() != LOCAL_REALM {
                self.warn(format!(
                    "who is in {group} is known only to its directory; whether enough of them can approve is seen when somebody asks"
                ));
            } else if !self.facts.groups.contains(group) {
                self.error(Problem::NoGroup(group.to_string()));
                exist = false;
            }
        }
        if !exist {
            return;
        }
        let scope = &self.rule.scope;
        if !scope.actions.iter().all(ActionPattern::names_administration) {
            self.people_suffice(&self.rule.wanted.clone(), self.requesters());
        }
        if scope.names_administration() {
            let administrators = self.administrators();
            let wanted = self.rule.wanted.clone().and(&builtin::administration(administrators.len()));
            let requesters = self.administering(administrators);
            self.people_suffice(&wanted, requesters);
        }
    }

    fn people_suffice(&mut self, wanted: &Wanted, requesters: Option<Vec<PersonId>>) {
        let mut demands = wanted.demands();
        demands.retain(|demand| matches!(demand, Demand::Quorum { of, .. } if of.realm() == LOCAL_REALM));
        let all = self.fill(&demands, None);
        if !is_full(&all) {
            return self.error(Problem::Supply(too_few(&demands, &all, "")));
        }
        let requesters = requesters.unwrap_or_default();
        let stuck: Vec<PersonId> =
            requesters.iter().copied().filter(|id| !is_full(&self.fill(&demands, Some(*id)))).collect();
        let Some(first) = stuck.first() else {
            return;
        };
        let left = self.fill(&demands, Some(*first));
        let names: Vec<String> = stuck
            .iter()
            .filter_map(|id| self.facts.people.get(*id))
            .map(|standing| standing.person.name.clone())
            .collect();
        let without = format!(", not counting {}, who would be asking", words::or_names(&names));
        let message = too_few(&demands, &left, &without);
        if stuck.len() == requesters.len() {
            self.error(Problem::Supply(message));
        } else {
            self.warn(message);
        }
    }

    fn fill(&self, demands: &[Demand], requester: Option<PersonId>) -> Vec<Slot> {
        quorum::fill(quorum::slots(demands), &self.facts.people.supply(), requester)
    }

    /// Who can ask by this rule, if that can be told: not when it is anyone, an account whose person is unknown, or a group of elsewhere.
    fn requesters(&self) -> Option<Vec<PersonId>> {
        let by = self.rule.scope.by.as_ref()?;
        let known = |who: &Who| match who {
            Who::Person(_) => true,
            Who::Group(group) => group.realm() == LOCAL_REALM,
            Who::Account(_) | Who::Anyone => false,
        };
        by.iter().all(known).then(|| self.active(|standing| by.iter().any(|who| is(standing, who))))
    }

    fn administrators(&self) -> Vec<PersonId> {
        self.active(|standing| standing.groups.contains(&GroupName::administrators()))
    }

    /// Those of them whom the rule is about.
    fn administering(&self, administrators: Vec<PersonId>) -> Option<Vec<PersonId>> {
        let everybody = self.rule.scope.by.as_ref().is_none_or(|by| by.contains(&Who::Anyone));
        if everybody {
            return Some(administrators);
        }
        let asking = self.requesters()?;
        Some(administrators.into_iter().filter(|id| asking.contains(id)).collect())
    }

    fn active(&self, which: impl Fn(&Standing) -> bool) -> Vec<PersonId> {
        let people = self.facts.people.iter();
        people.filter(|standing| standing.active && which(standing)).map(|standing| standing.person.id).collect()
    }

    fn error(&mut self, problem: Problem) {
        self.report.errors.push(PolicyError { place: self.place.clone(), problem });
    }

    fn warn(&mut self, message: String) {
        self.report.warnings.push(Warning { place: self.place.clone(), message });
    }
}

fn is(standing: &Standing, who: &Who) -> bool {
    match who {
        Who::Person(name) => standing.person.name == *name,
        Who::Group(group) => standing.groups.contains(group),
        Who::Account(_) | Who::Anyone => false,
    }
}

fn is_full(slots: &[Slot]) -> bool {
    slots.iter().all(|slot| slot.filled_by.is_some())
}

fn too_few(demands: &[Demand], slots: &[Slot], without: &str) -> String {
    let wanted: Vec<String> = demands.iter().map(words::demand_in_words).collect();
    let lacking: BTreeSet<String> =
        slots.iter().filter(|slot| slot.filled_by.is_none()).map(|slot| slot.group.to_string()).collect();
    let lacking: Vec<String> = lacking.into_iter().collect();
    format!(
        "{} cannot be met: different people who are active and enrolled fill {} of {} places{without}; add somebody to {}, \
         enrol them, or demand fewer",
        words::and(&wanted),
        quorum::filled(slots),
        slots.len(),
        words::and(&lacking),
    )
}
