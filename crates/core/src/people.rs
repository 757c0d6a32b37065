//! How people stand today: the facts that eligibility is judged by, loaded with every verb and never remembered.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::identity::{Authenticator, AuthenticatorState, Membership, Person, PersonRef};
use crate::ids::PersonId;
use crate::names::{Factor, GroupName};
use crate::quorum::Candidate;
use crate::time::Micros;

/// One person's standing at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub person: PersonRef,
    pub active: bool,
    /// Groups whose slots this person may fill now. A membership that still cools is not among them.
    pub groups: BTreeSet<GroupName>,
    /// Factors that this person can prove now and that fill slots.
    pub factors: BTreeSet<Factor>,
}

/// Standings of the people whom a verb concerns. Somebody who is not in here is nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct People(BTreeMap<PersonId, Standing>);

/// When what came without a countersignature begins to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cooling {
    pub period: Duration,
    /// While there is one administrator nobody could countersign, so nothing waits.
    pub administrators: usize,
}

impl Cooling {
    /// Whether something of `since` fills a slot at `now`.
    pub fn counts(&self, since: Micros, countersigned: bool, now: Micros) -> bool {
        countersigned || self.administrators <= 1 || since.plus(self.period) <= now
    }
}

impl People {
    /// Judges rows as they were just read.
    pub fn judge(
        persons: &[Person],
        memberships: &[Membership],
        authenticators: &[Authenticator],
        cooling: Cooling,
        now: Micros,
    ) -> Self {
        let mut people = BTreeMap::new();
        for person in persons {
            let groups = memberships
                .iter()
                .filter(|m| m.person == person.id && cooling.counts(m.since, m.countersigned, now))
                .map(|m| m.group.clone())
                .collect();
            let factors = authenticators
                .iter()
                .filter(|a| a.person == person.id && a.state == AuthenticatorState::Active)
                .filter(|a| cooling.counts(a.enrolled_at, a.countersigned, now))
                .map(|a| a.factor)
                .collect();
            people.insert(person.id, Standing { person: person.reference(), active: person.active, groups, factors });
        }
        Self(people)
    }

    pub fn get(&self, id: PersonId) -> Option<&Standing> {
        self.0.get(&id)
    }

    pub fn is_active(&self, id: PersonId) -> bool {
        self.get(id).is_some_and(|standing| standing.active)
    }

    /// Whether the person may fill a slot of the group at this moment.
    pub fn may_fill(&self, id: PersonId, group: &GroupName) -> bool {
        self.get(id).is_some_and(|standing| standing.active && standing.groups.contains(group))
    }

    /// Everybody who is active, with all that each could prove: the supply that a quorum is measured against.
    pub fn supply(&self) -> Vec<Candidate<'_>> {
        self.iter().filter(|standing| standing.active).map(Standing::candidate).collect()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Standing> {
        self.0.values()
    }
}

impl Standing {
    /// This person as somebody who could fill a slot.
    pub fn candidate(&self) -> Candidate<'_> {
        Candidate {
            person: &self.person,
            factors: self.factors.iter().copied().collect(),
            groups: self.groups.iter().collect(),
        }
    }
}
