//! Required approvals omitted, zero, negative, or more than there are eligible people: refused when the policy is loaded.

#![expect(clippy::expect_used, reason = "tests")]

use std::collections::BTreeSet;
use std::time::Duration;

use countersign_core::identity::{Authenticator, AuthenticatorState, Membership, Person};
use countersign_core::ids::{AuthenticatorId, PersonId};
use countersign_core::names::{Factor, GroupName};
use countersign_core::people::{Cooling, People};
use countersign_core::sealed::Sealed;
use countersign_core::time::Micros;
use countersign_policy::{Policy, PolicyError, Problem, SupplyFacts};

const NOW: Micros = Micros::from_secs(100_000);

fn rule(demands: &str) -> String {
    format!("version = 1\n\n[[rule]]\nid = \"prod-db\"\neffect = \"require\"\naction = \"db.drop\"\n{demands}\n")
}

fn refused(demands: &str) -> Vec<PolicyError> {
    Policy::parse(&rule(demands), "policy.toml").expect_err("it must not be loaded")
}

/// One member of `local:security` for each name, countersigned or not.
fn security(names: &[(&str, bool)]) -> People {
    let (mut persons, mut memberships, mut authenticators) = (Vec::new(), Vec::new(), Vec::new());
    for (index, (name, countersigned)) in names.iter().enumerate() {
        let tail = [u8::try_from(index).expect("few people"); 10];
        let id = PersonId::new(NOW, tail);
        persons.push(Person { id, name: (*name).to_owned(), active: true, created_at: NOW, version: 1 });
        memberships.push(Membership { group: group(), person: id, since: NOW, countersigned: *countersigned });
        authenticators.push(Authenticator {
            id: AuthenticatorId::new(NOW, tail),
            person: id,
            factor: Factor::Totp,
            secret: Sealed::from_bytes(Vec::new()),
            state: AuthenticatorState::Active,
            last_step: 0,
            enrolled_at: NOW,
            countersigned: true,
        });
    }
    let cooling = Cooling { period: Duration::from_hours(24), administrators: 2 };
    People::judge(&persons, &memberships, &authenticators, cooling, NOW)
}

fn group() -> GroupName {
    "local:security".parse().expect("a group")
}

fn supply_errors(demands: &str, people: &People) -> Vec<PolicyError> {
    let policy = Policy::parse(&rule(demands), "policy.toml").expect("a policy");
    policy.check_supply(&SupplyFacts { people, groups: &BTreeSet::from([group()]) }).errors
}

#[test]
fn required_approvals_omitted() {
    let errors = refused("quorum = [{ of = \"local:security\" }]");
    assert_eq!(errors.iter().map(|error| &error.problem).collect::<Vec<_>>(), [&Problem::Missing("k")]);
    assert_eq!(errors.first().map(ToString::to_string).as_deref(), Some("policy.toml:7: rule prod-db: `k` is missing"));
    assert!(matches!(refused("quorum = []").first(), Some(PolicyError { problem: Problem::EmptyList(_), .. })));
    assert!(matches!(refused("").first(), Some(PolicyError { problem: Problem::NoDemand, .. })));
}

#[test]
fn required_approvals_zero() {
    let errors = refused("quorum = [{ k = 0, of = \"local:security\" }]");
    assert!(matches!(errors.as_slice(), [PolicyError { problem: Problem::Range { .. }, .. }]), "{errors:?}");
    let beside_a_good_one = refused("quorum = [{ k = 1, of = \"local:dba\" }, { k = 0, of = \"local:security\" }]");
    assert_eq!(beside_a_good_one.len(), 1);
}

#[test]
fn required_approvals_negative() {
    for k in ["-1", "-9223372036854775808", "-0x1"] {
        assert!(!refused(&format!("quorum = [{{ k = {k}, of = \"local:security\" }}]")).is_empty(), "{k}");
    }
}

#[test]
fn required_approvals_beyond_reason() {
    for k in ["101", "4294967297", "9223372036854775807", "18446744073709551617", "1e0", "\"1\"", "true"] {
        assert!(!refused(&format!("quorum = [{{ k = {k}, of = \"local:security\" }}]")).is_empty(), "{k}");
    }
}

#[test]
fn more_approvals_than_eligible_people() {
    let three = security(&[("bob", true), ("carol", true), ("dave", true)]);
    assert_eq!(supply_errors("quorum = [{ k = 3, of = \"local:security\" }]", &three), []);
    let errors = supply_errors("quorum = [{ k = 4, of = \"local:security\" }]", &three);
    assert_eq!(
        errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "policy.toml:7: rule prod-db: 4 of local:security cannot be met: different people who are active and enrolled fill 3 of 4 places; \
          add somebody to local:security, enrol them, or demand fewer"
        ]
    );
}

#[test]
fn the_requester_is_no_supply_for_his_own_rule() {
    let two = security(&[("alice", true), ("bob", true)]);
    let demands = "by = \"person:alice\"\nquorum = [{ k = 2, of = \"local:security\" }]";
    assert_eq!(supply_errors(demands, &two).len(), 1);
    let three = security(&[("alice", true), ("bob", true), ("carol", true)]);
    assert_eq!(supply_errors(demands, &three), []);
}

#[test]
fn whoever_joined_without_a_countersignature_is_no_supply_yet() {
    let one_cools = security(&[("bob", true), ("mallory", false)]);
    assert_eq!(supply_errors("quorum = [{ k = 2, of = \"local:security\" }]", &one_cools).len(), 1);
}
