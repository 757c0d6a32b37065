//! What holds for all policies, judged against a small model of rules that shares nothing with the reader.

#![expect(clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use countersign_core::canonical::Value;
use countersign_core::decision::{Requirements, Verdict};
use countersign_core::demand::Demand;
use countersign_core::names::{AccountName, GroupName};
use countersign_core::operation::Operation;
use countersign_policy::{Builtin, Policy, Query, sample_policy};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

#[derive(Clone, Debug)]
struct Spec {
    effect: &'static str,
    action: &'static str,
    target: Option<&'static str>,
    by: Option<&'static str>,
    /// Entries: how many, of which group.
    quorum: Vec<(u32, &'static str)>,
    confirm: bool,
    reason: bool,
    relayed: bool,
    deadline: Option<u64>,
    grant: Option<(u64, u32)>,
}

fn spec() -> impl Strategy<Value = Spec> {
    let about = (
        select(vec!["allow", "deny", "require", "require", "require"]),
        select(vec!["a.x", "a.*", "b.x", "*"]),
        prop::option::of(select(vec!["p*", "prod", "?est"])),
        prop::option::of(select(vec!["person:alice", "local:dba", "*"])),
    );
    let demands = (
        prop::collection::vec((1_u32..4, select(vec!["local:security", "local:dba", "ldap:x"])), 0..4),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        prop::option::of(1_u64..5_000),
        prop::option::of((1_u64..86_400, 1_u32..1_000)),
    );
    (about, demands).prop_map(|((effect, action, target, by), (quorum, confirm, reason, relayed, deadline, grant))| {
        let require = effect == "require";
        Spec {
            effect,
            action,
            target,
            by,
            confirm: require && (confirm || (quorum.is_empty() && !reason)),
            quorum: if require { quorum } else { Vec::new() },
            reason: require && reason,
            relayed: require && relayed,
            deadline: deadline.filter(|_| require),
            grant: grant.filter(|_| effect != "deny"),
        }
    })
}

fn text(specs: &[(usize, Spec)]) -> String {
    let mut text = "version = 1\n".to_owned();
    for (id, spec) in specs {
        let mut line = |key: &str, value: String| writeln!(text, "{key} = {value}").expect("a string");
        line("[[rule]]\nid", format!("\"r{id}\""));
        line("effect", format!("\"{}\"", spec.effect));
        line("action", format!("\"{}\"", spec.action));
        spec.target.iter().for_each(|target| line("target", format!("\"{target}\"")));
        spec.by.iter().for_each(|by| line("by", format!("\"{by}\"")));
        if !spec.quorum.is_empty() {
            let entries: Vec<String> =
                spec.quorum.iter().map(|(k, of)| format!("{{ k = {k}, of = \"{of}\" }}")).collect();
            line("quorum", format!("[{}]", entries.join(", ")));
        }
        if spec.confirm {
            line("confirm", "true".to_owned());
        }
        if spec.reason {
            line("reason", format!("\".+{id}\""));
        }
        if spec.relayed {
            line("relayed", "\"allow\"".to_owned());
        }
        spec.deadline.iter().for_each(|seconds| line("deadline", format!("\"{seconds}s\"")));
        spec.grant.iter().for_each(|(ttl, uses)| line("grant", format!("{{ ttl = \"{ttl}s\", uses = {uses} }}")));
    }
    text
}

#[derive(Clone, Debug)]
struct Asked {
    action: &'static str,
    target: &'static str,
    person: Option<&'static str>,
    dba: bool,
}

fn asked() -> impl Strategy<Value = Asked> {
    (
        select(vec!["a.x", "a.y", "b.x", "c"]),
        select(vec!["prod", "test", ""]),
        prop::option::of(select(vec!["alice", "bob"])),
        any::<bool>(),
    )
        .prop_map(|(action, target, person, dba)| Asked { action, target, person, dba })
}

/// Every reason pattern of [`text`] ends in its rule's number; no reason fits two, so a reason is given only where at most one is wanted.
fn decide(policy: &Policy, asked: &Asked, reason: Option<&str>) -> Verdict {
    let operation = Operation {
        door: "api".to_owned(),
        action: asked.action.parse().expect("an action"),
        target: asked.target.to_owned(),
        parameters: Value::Null,
        context: Value::Null,
    };
    let account: AccountName = "someone".parse().expect("an account");
    let groups: BTreeSet<GroupName> = asked.dba.then(|| "local:dba".parse().expect("a group")).into_iter().collect();
    let builtin = Builtin { administrators: 2 };
    let query = Query {
        operation: &operation,
        account: &account,
        person: asked.person,
        groups: &groups,
        reason,
        builtin: &builtin,
    };
    policy.decide(&query).verdict
}

fn parse(specs: &[(usize, Spec)]) -> Policy {
    let text = text(specs);
    Policy::parse(&text, "p").unwrap_or_else(|errors| panic!("{errors:?}\n{text}"))
}

/// The model of a match: the few patterns that [`spec`] makes, spelt out.
fn matches(spec: &Spec, asked: &Asked) -> bool {
    let action = match spec.action {
        "*" => true,
        "a.*" => asked.action.starts_with("a."),
        exact => asked.action == exact,
    };
    let target = match spec.target {
        None => true,
        Some("p*") => asked.target.starts_with('p'),
        Some("?est") => asked.target == "test",
        Some(exact) => asked.target == exact,
    };
    let by = match spec.by {
        Some("person:alice") => asked.person == Some("alice"),
        Some("local:dba") => asked.dba,
        _ => true,
    };
    action && target && by
}

fn places(requirements: &Requirements) -> BTreeMap<String, u32> {
    let mut places = BTreeMap::new();
    for demand in &requirements.demands {
        if let Demand::Quorum { k, of, .. } = demand {
            assert!(places.insert(of.to_string(), *k).is_none(), "one demand for each group");
        }
    }
    places
}

fn numbered(specs: Vec<Spec>) -> Vec<(usize, Spec)> {
    specs.into_iter().enumerate().collect()
}

fn without_reasons(specs: Vec<Spec>) -> Vec<(usize, Spec)> {
    let quiet = |spec: Spec| Spec { confirm: spec.confirm || spec.reason, reason: false, ..spec };
    numbered(specs.into_iter().map(quiet).collect())
}

proptest! {
    #[test]
    fn the_kind_of_verdict_is_the_models(specs in prop::collection::vec(spec(), 0..7), asked in asked()) {
        let specs = numbered(specs);
        let verdict = decide(&parse(&specs), &asked, None);
        let has = |effect: &str| specs.iter().any(|(_, spec)| spec.effect == effect && matches(spec, &asked));
        let wants_reason = specs.iter().any(|(_, spec)| spec.reason && matches(spec, &asked));
        let expected = if has("deny") || wants_reason {
            "deny"
        } else if has("require") {
            "require"
        } else if has("allow") {
            "allow"
        } else {
            "deny"
        };
        let got = match verdict {
            Verdict::Allow { .. } => "allow",
            Verdict::Deny { .. } => "deny",
            Verdict::Require(_) => "require",
        };
        prop_assert_eq!(got, expected);
    }

    #[test]
    fn every_matching_rule_is_met_and_nothing_else_is_demanded(specs in prop::collection::vec(spec(), 1..7), asked in asked()) {
        let specs = without_reasons(specs);
        let Verdict::Require(all) = decide(&parse(&specs), &asked, None) else {
            return Ok(());
        };
        let matching: Vec<&Spec> = specs.iter().map(|(_, spec)| spec).filter(|spec| spec.effect == "require" && matches(spec, &asked)).collect();
        let mut most: BTreeMap<String, u32> = BTreeMap::new();
        for spec in &matching {
            let mut own: BTreeMap<&str, u32> = BTreeMap::new();
            spec.quorum.iter().for_each(|(k, of)| *own.entry(of).or_default() += k);
            for (of, k) in own {
                let entry = most.entry(of.to_owned()).or_default();
                *entry = k.max(*entry);
            }
        }
        prop_assert_eq!(places(&all), most);
        let confirms = all.demands.iter().filter(|demand| matches!(demand, Demand::Fresh { .. })).count();
        prop_assert_eq!(confirms, usize::from(matching.iter().any(|spec| spec.confirm)));
        prop_assert_eq!(all.relayed, matching.iter().all(|spec| spec.relayed));
        let least = |each: &dyn Fn(&Spec) -> u64| matching.iter().map(|spec| each(spec)).min().expect("one matches");
        prop_assert_eq!(all.deadline, Duration::from_secs(least(&|spec| spec.deadline.unwrap_or(1_800))));
        prop_assert_eq!(all.bounds.ttl, Duration::from_secs(least(&|spec| spec.grant.map_or(300, |(ttl, _)| ttl))));
        prop_assert_eq!(u64::from(all.bounds.uses), least(&|spec| spec.grant.map_or(1, |(_, uses)| uses.into())));
    }

    #[test]
    fn another_allow_rule_never_weakens(specs in prop::collection::vec(spec(), 1..6), more in spec(), asked in asked()) {
        let mut specs = without_reasons(specs);
        let before = decide(&parse(&specs), &asked, None);
        let allow = Spec { effect: "allow", quorum: Vec::new(), confirm: false, reason: false, relayed: false, deadline: None, ..more };
        specs.push((specs.len(), allow));
        let after = decide(&parse(&specs), &asked, None);
        match (before, after) {
            (Verdict::Allow { bounds: before }, Verdict::Allow { bounds: after }) => prop_assert_eq!(before.tightest(&after), after),
            (Verdict::Deny { reason }, Verdict::Allow { .. }) => prop_assert_eq!(reason, "no rule allows this"),
            (before, after) => prop_assert_eq!(before, after),
        }
    }

    #[test]
    fn another_require_rule_only_tightens(specs in prop::collection::vec(spec(), 1..6), more in spec(), asked in asked()) {
        let mut specs = without_reasons(specs);
        let before = decide(&parse(&specs), &asked, None);
        specs.push((specs.len(), Spec { effect: "require", confirm: true, reason: false, ..more }));
        match (before, decide(&parse(&specs), &asked, None)) {
            (Verdict::Require(before), Verdict::Require(after)) => {
                let now = places(&after);
                for (of, k) in places(&before) {
                    prop_assert!(now.get(&of).is_some_and(|now| *now >= k));
                }
                prop_assert_eq!(before.bounds.tightest(&after.bounds), after.bounds);
                prop_assert!(after.deadline <= before.deadline && (before.relayed || !after.relayed));
            }
            (before @ Verdict::Deny { .. }, after @ Verdict::Deny { .. }) => prop_assert_eq!(before, after),
            (Verdict::Deny { reason }, Verdict::Require(_)) => prop_assert_eq!(reason, "no rule allows this"),
            (Verdict::Require(_), after) => prop_assert!(false, "{after:?}"),
            (Verdict::Allow { .. }, Verdict::Allow { .. } | Verdict::Require(_)) => {}
            (_, after) => prop_assert!(false, "{after:?}"),
        }
    }

    #[test]
    fn deny_wins_always(specs in prop::collection::vec(spec(), 0..6), at in any::<prop::sample::Index>(), asked in asked()) {
        let mut specs = numbered(specs);
        let deny = Spec { effect: "deny", action: "*", target: None, by: None, quorum: Vec::new(), confirm: false, reason: false, relayed: false, deadline: None, grant: None };
        specs.insert(at.index(specs.len() + 1), (99, deny));
        let Verdict::Deny { reason } = decide(&parse(&specs), &asked, Some("because of 1")) else {
            return Err(TestCaseError::fail("not denied"));
        };
        prop_assert!(reason.contains("r99"), "{}", reason);
    }

    #[test]
    fn the_order_of_rules_changes_nothing(
        (specs, shuffled) in prop::collection::vec(spec(), 0..7).prop_map(numbered).prop_flat_map(|specs| (Just(specs.clone()), Just(specs).prop_shuffle())),
        asked in asked(),
        reason in prop::option::of("why [0-6]"),
    ) {
        prop_assert_eq!(decide(&parse(&specs), &asked, reason.as_deref()), decide(&parse(&shuffled), &asked, reason.as_deref()));
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let text = String::from_utf8_lossy(&bytes);
        if let Err(errors) = Policy::parse(&text, "p") {
            prop_assert!(!errors.is_empty());
        }
    }

    #[test]
    fn a_damaged_sample_is_read_or_refused_without_a_panic(
        lines in subsequence((0..sample_policy().lines().count()).collect::<Vec<_>>(), 0..=sample_policy().lines().count()),
        cut in any::<prop::sample::Index>(),
        with in "[\\[\\]{}=\"'.,a1\\-#\\n*\u{202e}]{0,3}",
    ) {
        let kept: Vec<&str> = lines.iter().filter_map(|line| sample_policy().lines().nth(*line)).collect();
        let mut text = kept.join("\n");
        let mut at = cut.index(text.len() + 1);
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        text.insert_str(at, &with);
        let last = u32::try_from(text.lines().count()).expect("few lines") + 1;
        if let Err(errors) = Policy::parse(&text, "p") {
            prop_assert!(!errors.is_empty() && errors.iter().all(|error| (1..=last).contains(&error.place.line)));
        }
    }
}

#[test]
fn the_sample_is_sound() {
    let policy = Policy::parse(sample_policy(), "sample.toml").unwrap_or_else(|errors| panic!("{errors:?}"));
    assert_eq!(policy.text(), sample_policy());
    let groups: Vec<String> = policy.groups_named().iter().map(ToString::to_string).collect();
    assert_eq!(groups, ["local:administrators", "local:security"]);
}

#[test]
fn a_policy_is_known_by_every_byte_of_its_text() {
    let digest = |text: &str| Policy::parse(text, "p").expect("a policy").digest().to_string();
    // printf 'version = 1\n' | sha256sum
    assert_eq!(digest("version = 1\n"), "dbab12665d98aef021ba64953c61b0ed8a908cfb56a1c01e2fcb4b052b71a2a1");
    assert_ne!(digest("version = 1\n"), digest("version = 1 \n"));
}

#[test]
fn a_flood_of_rules_or_bytes_is_refused() {
    let rule = "[[rule]]\nid = \"x\"\n";
    let errors = Policy::parse(&format!("version = 1\n{}", rule.repeat(1_001)), "p").expect_err("too many");
    assert_eq!(errors.len(), 1);
    assert!(Policy::parse(&"#".repeat((1 << 20) + 1), "p").is_err());
    assert!(Policy::parse(&format!("version = 1\nx = {}", "[".repeat(100_000)), "p").is_err());
    assert!(Policy::parse(&format!("version = 1\nx{} = 1", ".a".repeat(100_000)), "p").is_err());
    let deep = |key: &str| {
        format!(
            "version = 1\n[[rule]]\nid = \"x\"\neffect = \"deny\"\naction = \"a\"\n{key}{} = 1",
            ".a".repeat(100_000)
        )
    };
    assert!(Policy::parse(&deep("when"), "p").is_err());
    assert!(Policy::parse(&deep("test = [{}]\ngrant"), "p").is_err());
}
