//! Who fills which slot. A demand of `k` people is `k` slots; one person fills one slot, whatever groups that person is in.

use serde::Serialize;

use crate::demand::Demand;
use crate::identity::PersonRef;
use crate::ids::PersonId;
use crate::names::{Factor, GroupName};

/// One place to be filled by one person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Slot {
    pub group: GroupName,
    pub factors: Vec<Factor>,
    pub filled_by: Option<PersonRef>,
}

/// An approval, reduced to what slots ask about.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    pub person: &'a PersonRef,
    /// What this person proved, or could prove.
    pub factors: Vec<Factor>,
    /// Groups that count for this person now.
    pub groups: Vec<&'a GroupName>,
}

/// The slots of all quorum demands, in the order of the policy.
pub fn slots(demands: &[Demand]) -> Vec<Slot> {
    let mut slots = Vec::new();
    for demand in demands {
        if let Demand::Quorum { k, of, factors } = demand {
            for _ in 0..*k {
                slots.push(Slot { group: of.clone(), factors: factors.clone(), filled_by: None });
            }
        }
    }
    slots
}

/// Fills as many slots as these people can fill together.
///
/// A person of two groups goes where he is needed: with slots `dba` and `security`, carol of both and dave of `dba` alone fill both in whichever
/// order they answer. That is a maximum matching, found by augmenting paths; `requester` is left out, and so is a second approval of one person.
pub fn fill(mut slots: Vec<Slot>, candidates: &[Candidate<'_>], requester: Option<PersonId>) -> Vec<Slot> {
    let mut taken: Vec<Option<usize>> = vec![None; slots.len()];
    let mut seen = Vec::new();
    for (index, candidate) in candidates.iter().enumerate() {
        if requester == Some(candidate.person.id) || seen.contains(&candidate.person.id) {
            continue;
        }
        seen.push(candidate.person.id);
        let mut visited = vec![false; slots.len()];
        augment(index, candidates, &slots, &mut taken, &mut visited);
    }
    for (slot, holder) in slots.iter_mut().zip(taken) {
        slot.filled_by = holder.and_then(|index| candidates.get(index)).map(|candidate| candidate.person.clone());
    }
    slots
}

/// How many slots are filled.
pub fn filled(slots: &[Slot]) -> usize {
    slots.iter().filter(|slot| slot.filled_by.is_some()).count()
}

fn fits(slot: &Slot, candidate: &Candidate<'_>) -> bool {
    slot.factors.iter().any(|factor| candidate.factors.contains(factor)) && candidate.groups.contains(&&slot.group)
}

fn augment(
    index: usize,
    candidates: &[Candidate<'_>],
    slots: &[Slot],
    taken: &mut [Option<usize>],
    visited: &mut [bool],
) -> bool {
    let Some(candidate) = candidates.get(index) else {
        return false;
    };
    for (place, slot) in slots.iter().enumerate() {
        // A place counts as seen only for those whom it fits, or the next in line could not try it.
        let open = fits(slot, candidate) && visited.get_mut(place).is_some_and(|seen| !std::mem::replace(seen, true));
        if !open {
            continue;
        }
        let holder = taken.get(place).copied().flatten();
        if holder.is_none_or(|holder| augment(holder, candidates, slots, taken, visited)) {
            if let Some(entry) = taken.get_mut(place) {
                *entry = Some(index);
            }
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Micros;
    use proptest::prelude::*;

    fn person(n: u8) -> PersonRef {
        PersonRef { id: PersonId::new(Micros::from_secs(1), [n; 10]), name: format!("p{n}") }
    }

    fn group(n: u8) -> GroupName {
        GroupName::new("local", &format!("g{n}")).expect("a name")
    }

    fn quorum(k: u32, n: u8) -> Demand {
        Demand::Quorum { k, of: group(n), factors: vec![Factor::Totp] }
    }

    #[test]
    fn one_human_in_two_groups_fills_one_slot() {
        let (carol, g1, g2) = (person(1), group(1), group(2));
        let twice = Candidate { person: &carol, factors: vec![Factor::Totp], groups: vec![&g1, &g2] };
        let result = fill(slots(&[quorum(1, 1), quorum(1, 2)]), &[twice.clone(), twice], None);
        assert_eq!(filled(&result), 1);
    }

    #[test]
    fn people_of_two_groups_move_to_where_they_are_needed() {
        let (carol, dave, g1, g2) = (person(1), person(2), group(1), group(2));
        let carol = Candidate { person: &carol, factors: vec![Factor::Totp], groups: vec![&g1, &g2] };
        let dave = Candidate { person: &dave, factors: vec![Factor::Totp], groups: vec![&g1] };
        for order in [[carol.clone(), dave.clone()], [dave, carol]] {
            assert_eq!(filled(&fill(slots(&[quorum(1, 1), quorum(1, 2)]), &order, None)), 2);
        }
    }

    #[test]
    fn the_requester_and_a_wrong_factor_fill_nothing() {
        let (alice, bob, g1) = (person(1), person(2), group(1));
        let alice_id = alice.id;
        let alice = Candidate { person: &alice, factors: vec![Factor::Totp], groups: vec![&g1] };
        let bob = Candidate { person: &bob, factors: vec![Factor::Password], groups: vec![&g1] };
        assert_eq!(filled(&fill(slots(&[quorum(2, 1)]), &[alice, bob], Some(alice_id))), 0);
    }

    /// The best that any assignment reaches, by trying them all.
    fn brute(slots: &[Slot], candidates: &[Candidate<'_>], from: usize, used: u32) -> usize {
        let Some(candidate) = candidates.get(from) else {
            return 0;
        };
        let mut best = brute(slots, candidates, from + 1, used);
        for (place, slot) in slots.iter().enumerate() {
            if used & (1 << place) == 0 && fits(slot, candidate) {
                best = best.max(1 + brute(slots, candidates, from + 1, used | (1 << place)));
            }
        }
        best
    }

    proptest! {
        #[test]
        fn never_fewer_than_the_best_assignment_and_never_one_person_twice(
            wants in prop::collection::vec((1_u32..3, 0_u8..3), 1..4),
            has in prop::collection::vec(prop::collection::btree_set(0_u8..3, 0..3), 0..5),
        ) {
            let demands: Vec<_> = wants.iter().map(|(k, g)| quorum(*k, *g)).collect();
            let people: Vec<_> = (0..has.len()).map(|n| person(u8::try_from(n).expect("few"))).collect();
            let groups: Vec<Vec<_>> = has.iter().map(|set| set.iter().map(|g| group(*g)).collect()).collect();
            let candidates: Vec<_> = people.iter().zip(&groups)
                .map(|(person, groups)| Candidate { person, factors: vec![Factor::Totp], groups: groups.iter().collect() }).collect();
            let result = fill(slots(&demands), &candidates, None);
            prop_assert_eq!(filled(&result), brute(&slots(&demands), &candidates, 0, 0));
            let mut ids: Vec<_> = result.iter().filter_map(|slot| slot.filled_by.as_ref().map(|p| p.id)).collect();
            let count = ids.len();
            ids.sort();
            ids.dedup();
            prop_assert_eq!(ids.len(), count);
        }
    }
}
