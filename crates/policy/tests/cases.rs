//! Runs `tests/cases/*.toml`: each holds a policy and what must come of it, as errors, as people lacking, or as decisions.

#![expect(clippy::expect_used, reason = "tests")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use countersign_core::canonical::Value;
use countersign_core::decision::Verdict;
use countersign_core::identity::{Authenticator, AuthenticatorState, Membership, Person};
use countersign_core::ids::{AuthenticatorId, PersonId};
use countersign_core::names::{AccountName, Factor, GroupName};
use countersign_core::operation::Operation;
use countersign_core::people::{Cooling, People};
use countersign_core::sealed::Sealed;
use countersign_core::time::Micros;
use countersign_policy::{Builtin, Policy, Query, SupplyFacts, SupplyView, needs_in_words};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// What this file shows.
    #[serde(rename = "about")]
    _about: String,
    policy: String,
    #[serde(default)]
    errors: Vec<String>,
    supply: Option<Supply>,
    #[serde(default)]
    ask: Vec<Ask>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Supply {
    groups: BTreeSet<GroupName>,
    #[serde(default)]
    person: Vec<Someone>,
    #[serde(default)]
    errors: Vec<String>,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Someone {
    name: String,
    #[serde(default)]
    groups: Vec<GroupName>,
    #[serde(default = "yes")]
    enrolled: bool,
    #[serde(default = "yes")]
    active: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    person: Option<String>,
    account: Option<AccountName>,
    #[serde(default)]
    groups: BTreeSet<GroupName>,
    action: String,
    #[serde(default)]
    target: String,
    params: Option<Value>,
    reason: Option<String>,
    #[serde(default = "two")]
    administrators: usize,
    verdict: String,
    /// The denial's reason, or what is needed, in words.
    says: Option<String>,
    deadline: Option<u64>,
    relayed: Option<bool>,
    explain: Option<String>,
}

const fn yes() -> bool {
    true
}

const fn two() -> usize {
    2
}

#[test]
fn every_case_comes_out_as_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    let mut wrong = String::new();
    for file in &files {
        let text = std::fs::read_to_string(file).expect("a case");
        let case: Case = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let mut found = String::new();
        judge(&case, &mut found);
        if !found.is_empty() {
            writeln!(wrong, "\n{}\n{found}", file.display()).expect("a string");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(files.len() >= 10, "only {} cases were found", files.len());
}

fn judge(case: &Case, wrong: &mut String) {
    let policy = match Policy::parse(&case.policy, "policy.toml") {
        Ok(policy) => policy,
        Err(errors) => return same("errors", &lines(&errors), &case.errors, wrong),
    };
    same::<String, _>("errors", &[], &case.errors, wrong);
    let people = people(case.supply.as_ref());
    if let Some(supply) = &case.supply {
        let report = policy.check_supply(&SupplyFacts { people: &people, groups: &supply.groups });
        same("supply errors", &lines(&report.errors), &supply.errors, wrong);
        same("supply warnings", &lines(&report.warnings), &supply.warnings, wrong);
    }
    for (index, ask) in case.ask.iter().enumerate() {
        let mut found = String::new();
        decided(&policy, ask, &people, &mut found);
        if !found.is_empty() {
            writeln!(wrong, "ask {}, {}:\n{found}", index + 1, ask.action).expect("a string");
        }
    }
}

fn decided(policy: &Policy, ask: &Ask, people: &People, wrong: &mut String) {
    let name = ask.person.clone().unwrap_or_else(|| "nobody".to_owned());
    let account = ask.account.clone().unwrap_or_else(|| name.parse().expect("an account"));
    let operation = Operation {
        door: "api".to_owned(),
        action: ask.action.parse().expect("an action"),
        target: ask.target.clone(),
        parameters: ask.params.clone().unwrap_or_else(|| Value::Object(std::collections::BTreeMap::new())),
        context: Value::Null,
    };
    let query = Query {
        operation: &operation,
        account: &account,
        person: ask.person.as_deref(),
        groups: &ask.groups,
        reason: ask.reason.as_deref(),
        builtin: &Builtin { administrators: ask.administrators },
    };
    let decision = policy.decide(&query);
    assert_eq!(decision.policy, policy.digest());
    let (verdict, says) = match &decision.verdict {
        Verdict::Allow { bounds } => ("allow", needs_in_words(&[], bounds)),
        Verdict::Deny { reason } => ("deny", reason.clone()),
        Verdict::Require(r) => ("require", needs_in_words(&r.demands, &r.bounds)),
    };
    same("verdict", &[verdict], std::slice::from_ref(&ask.verdict), wrong);
    if let Some(expected) = &ask.says {
        same("says", &[says.as_str()], std::slice::from_ref(expected), wrong);
    }
    if let Verdict::Require(requirements) = &decision.verdict {
        if let Some(deadline) = ask.deadline {
            same("deadline", &[requirements.deadline.as_secs()], &[deadline], wrong);
        }
        if let Some(relayed) = ask.relayed {
            same("relayed", &[requirements.relayed], &[relayed], wrong);
        }
    } else {
        same(
            "only a request has a deadline or codes",
            &[false],
            &[ask.deadline.is_some() || ask.relayed.is_some()],
            wrong,
        );
    }
    if let Some(expected) = &ask.explain {
        let requester = people.iter().find(|standing| Some(&standing.person.name) == ask.person.as_ref());
        let view = SupplyView { people, requester: requester.map(|standing| standing.person.id) };
        let explanation = policy.explain(&query, &view);
        assert!(serde_json::to_string(&explanation).expect("JSON").contains(explanation.verdict));
        same("explain", &[explanation.to_string().as_str()], std::slice::from_ref(expected), wrong);
    }
}

fn same<A: PartialEq<B> + std::fmt::Display, B: std::fmt::Display>(
    what: &str,
    got: &[A],
    expected: &[B],
    wrong: &mut String,
) {
    if got.len() == expected.len() && got.iter().zip(expected).all(|(got, expected)| got == expected) {
        return;
    }
    writeln!(wrong, "{what}:").expect("a string");
    for line in expected {
        writeln!(wrong, "  expected {line}").expect("a string");
    }
    for line in got {
        writeln!(wrong, "  got      {line}").expect("a string");
    }
}

fn lines<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

fn people(supply: Option<&Supply>) -> People {
    let (mut persons, mut memberships, mut authenticators) = (Vec::new(), Vec::new(), Vec::new());
    let now = Micros::from_secs(1_000);
    for (index, someone) in supply.into_iter().flat_map(|supply| &supply.person).enumerate() {
        let tail = [u8::try_from(index).expect("few people"); 10];
        let id = PersonId::new(now, tail);
        persons.push(Person { id, name: someone.name.clone(), active: someone.active, created_at: now, version: 1 });
        let membership =
            |group: &GroupName| Membership { group: group.clone(), person: id, since: now, countersigned: true };
        memberships.extend(someone.groups.iter().map(membership));
        if someone.enrolled {
            authenticators.push(Authenticator {
                id: AuthenticatorId::new(now, tail),
                person: id,
                factor: Factor::Totp,
                secret: Sealed::from_bytes(Vec::new()),
                state: AuthenticatorState::Active,
                last_step: 0,
                enrolled_at: now,
                countersigned: true,
            });
        }
    }
    let cooling = Cooling { period: std::time::Duration::ZERO, administrators: 2 };
    People::judge(&persons, &memberships, &authenticators, cooling, now)
}
