//! Random verbs, answers, clocks and crashes, on the databases themselves: whatever happens in whichever order, and between whichever two calls of the store the
//! process dies, some things never happen.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use countersign_core::canonical::Value;
use countersign_core::entry::EntryKind;
use countersign_core::ids::{ReleaseId, RequestId};
use countersign_core::principal::Principal;
use countersign_core::quorum;
use countersign_core::request::Stage;
use countersign_engine::flow::Proof;
use countersign_engine::identity::Change;
use countersign_engine::testing::{self, World, ask, command};
use countersign_engine::{Clock, EngineError};
use countersign_store::testing::{FaultPlan, When};
use countersign_store::{EntriesOf, ReleasesOf, RequestById, Store, StoreConfig, StoreError};
use proptest::prelude::*;

use crate::support::{Place, on_postgres};

const PEOPLE: [&str; 5] = ["alice", "bob", "carol", "dave", "admin"];

#[derive(Clone, Debug)]
enum Verb {
    Ask { who: usize, what: u8 },
    Answer { who: usize, which: usize, code: Code },
    Deny { who: usize, which: usize },
    Cancel { who: usize, which: usize },
    Revoke { who: usize, which: usize },
    Release { who: usize, which: usize },
    Report { who: usize, which: usize },
    Renew { who: usize, which: usize },
    Clock { seconds: i64 },
    Timers,
    Sequence,
    Deliver,
    Change { what: u8 },
    Crash,
}

#[derive(Clone, Copy, Debug)]
enum Code {
    Current,
    /// What was shown a moment ago, perhaps used.
    Last,
    Wrong,
}

fn verbs() -> impl Strategy<Value = Vec<Verb>> {
    let who = 0..PEOPLE.len();
    let which = 0_usize..6;
    let code = prop_oneof![4 => Just(Code::Current), 1 => Just(Code::Last), 1 => Just(Code::Wrong)];
    let pair = (who.clone(), which);
    let verb = prop_oneof![
        6 => (who, 0_u8..4).prop_map(|(who, what)| Verb::Ask { who, what }),
        10 => (pair.clone(), code).prop_map(|((who, which), code)| Verb::Answer { who, which, code }),
        1 => pair.clone().prop_map(|(who, which)| Verb::Deny { who, which }),
        1 => pair.clone().prop_map(|(who, which)| Verb::Cancel { who, which }),
        2 => pair.clone().prop_map(|(who, which)| Verb::Revoke { who, which }),
        8 => pair.clone().prop_map(|(who, which)| Verb::Release { who, which }),
        3 => pair.clone().prop_map(|(who, which)| Verb::Report { who, which }),
        2 => pair.prop_map(|(who, which)| Verb::Renew { who, which }),
        5 => prop_oneof![Just(1), Just(30), Just(31), Just(301), Just(1_801), Just(-20), Just(-90)].prop_map(|seconds| Verb::Clock { seconds }),
        3 => Just(Verb::Timers),
        4 => Just(Verb::Sequence),
        1 => Just(Verb::Deliver),
        2 => (0_u8..4).prop_map(|what| Verb::Change { what }),
        1 => Just(Verb::Crash),
    ];
    prop::collection::vec(verb, 5..40)
}

fn faults() -> impl Strategy<Value = Option<(u64, bool)>> {
    prop_oneof![1 => Just(None), 4 => (5_u64..220, any::<bool>()).prop_map(Some)]
}

/// As many as a test run can afford; `PROPTEST_CASES` asks for more.
fn cases() -> ProptestConfig {
    let asked = ProptestConfig::default().cases;
    // 256 is what proptest runs when nobody says anything.
    let cases = if asked == 256 { 48 } else { asked };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]
    #[test]
    fn whatever_happens_some_things_never_do(verbs in verbs(), fault in faults()) {
        runtime().block_on(story(verbs, fault));
    }
}

proptest! {
    // Each story has a database of its own to make, which takes longer here.
    #![proptest_config(ProptestConfig { cases: cases().cases / 3, ..cases() })]
    #[test]
    fn whatever_happens_on_postgres_some_things_never_do(verbs in verbs(), fault in faults()) {
        runtime().block_on(on_postgres(story(verbs, fault)));
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

async fn story(verbs: Vec<Verb>, fault: Option<(u64, bool)>) {
    let place = Place::usual().await;
    let mut people = Vec::new();
    for name in PEOPLE {
        people.push(place.login(name).await);
    }
    let Place { world, db, dir: _dir } = place;
    let World { engine, clock, secrets } = world;
    let config = db.config;
    drop(engine);
    let plan =
        fault.map(|(call, after)| Arc::new(FaultPlan::new(call, if after { When::After } else { When::Before })));
    let store = match &plan {
        Some(plan) => countersign_store::testing::open(&config, Arc::clone(plan)).await.unwrap(),
        None => Store::open(&config).await.unwrap(),
    };
    let engine = match testing::start(store, Arc::clone(&clock), 100).await {
        Ok(engine) => engine,
        // The fault hit the start itself.
        Err(_) => testing::start(Store::open(&config).await.unwrap(), Arc::clone(&clock), 100).await.unwrap(),
    };
    let mut run = Run {
        world: World { engine, clock, secrets },
        people,
        requests: Vec::new(),
        releases: Vec::new(),
        seen: BTreeMap::new(),
        starts: 100,
    };
    for verb in verbs {
        let crash = matches!(verb, Verb::Crash);
        if run.act(&verb).await || crash {
            run = run.restart(&config).await;
        }
        // The planned fault may hit the look itself; a process that was started anew has none.
        if run.check(&verb).await.is_err() {
            run = run.restart(&config).await;
            run.check(&verb).await.unwrap();
        }
    }
}

struct Run {
    world: World,
    people: Vec<Principal>,
    requests: Vec<RequestId>,
    releases: Vec<ReleaseId>,
    /// The version and the state of each request when it was last looked at.
    seen: BTreeMap<RequestId, (i64, Stage)>,
    starts: u64,
}

impl Run {
    /// The process died; another one takes up the database.
    async fn restart(self, config: &StoreConfig) -> Self {
        let Self { world: World { engine, clock, secrets }, people, requests, releases, seen, starts } = self;
        drop(engine);
        let starts = starts + 1;
        let engine = testing::start(Store::open(config).await.unwrap(), Arc::clone(&clock), starts).await.unwrap();
        Self { world: World { engine, clock, secrets }, people, requests, releases, seen, starts }
    }

    /// Does it, and says whether the store failed under it. That a verb is refused is nothing special.
    async fn act(&mut self, verb: &Verb) -> bool {
        let engine = self.world.engine.clone();
        let error = match verb {
            Verb::Ask { who, what } => {
                let asked = match what {
                    0 => command(&["id"], Some("to see")),
                    1 => command(&["uptime"], Some("to see")),
                    2 => ask("table.drop", "prod", Value::from("users"), Some("old")),
                    _ => ask("report.read", "sales", Value::Null, None),
                };
                match engine.ask(&self.people[*who], &asked).await {
                    Ok(asked) => {
                        let id = asked.into_view().request.id;
                        if !self.requests.contains(&id) {
                            self.requests.push(id);
                        }
                        None
                    }
                    Err(error) => Some(error),
                }
            }
            Verb::Answer { who, which, code } => self.answer(*who, *which, *code).await.err(),
            Verb::Deny { who, which } => match self.request(*which) {
                Some(id) => engine.deny(&self.people[*who], id, None).await.err(),
                None => None,
            },
            Verb::Cancel { who, which } => match self.request(*which) {
                Some(id) => engine.cancel(&self.people[*who], id).await.err(),
                None => None,
            },
            Verb::Revoke { who, which } => match self.request(*which) {
                Some(id) => engine.revoke(&self.people[*who], id).await.err(),
                None => None,
            },
            Verb::Release { who, which } => match self.request(*which) {
                Some(id) => match engine.release(&self.people[*who], id).await {
                    Ok(released) => {
                        self.releases.push(released.release);
                        None
                    }
                    Err(error) => Some(error),
                },
                None => None,
            },
            Verb::Report { who, which } => match self.releases.get(*which).copied() {
                Some(id) => engine.report(&self.people[*who], id, "exit 0").await.err(),
                None => None,
            },
            Verb::Renew { who, which } => match self.releases.get(*which).copied() {
                Some(id) => engine.renew(&self.people[*who], id).await.err(),
                None => None,
            },
            Verb::Clock { seconds } => {
                let now = self.world.clock.now();
                self.world
                    .clock
                    .set(countersign_core::time::Micros::from_micros(now.as_micros() + seconds * 1_000_000));
                None
            }
            Verb::Timers => engine.fire_due().await.err(),
            Verb::Sequence => engine.sequence().await.err(),
            Verb::Deliver => engine.deliver_due().await.err(),
            Verb::Change { what } => self.change(*what).await.err(),
            Verb::Crash => None,
        };
        matches!(error, Some(EngineError::UnknownOutcome | EngineError::Internal(_)))
            || engine.log_info().await.is_err()
    }

    fn request(&self, which: usize) -> Option<RequestId> {
        self.requests.get(which).copied()
    }

    async fn answer(&self, who: usize, which: usize, code: Code) -> Result<(), EngineError> {
        let Some(id) = self.request(which) else { return Ok(()) };
        let principal = &self.people[who];
        let view = self.world.engine.show(principal, id).await?;
        let Some(challenge) =
            view.request.stage.challenges().first().map(|challenge| view.you.challenge.unwrap_or(challenge.id))
        else {
            return Ok(());
        };
        let code = match code {
            Code::Current => self.world.code(PEOPLE[who]),
            Code::Wrong => "000000".into(),
            Code::Last => {
                let now = self.world.clock.now();
                self.world.clock.set(now.minus(Duration::from_secs(30)));
                let code = self.world.code(PEOPLE[who]);
                self.world.clock.set(now);
                code
            }
        };
        let proof = Proof { challenge, code, digest: view.request.digest };
        self.world.engine.answer(principal, id, &proof).await.map(drop)
    }

    async fn change(&self, what: u8) -> Result<(), EngineError> {
        let bob = "bob".to_owned();
        let security = "local:security".parse().unwrap();
        let change = match what {
            0 => Change::MemberRemove { group: security, person: bob },
            1 => Change::MemberAdd { group: security, person: bob },
            2 => Change::PersonDisable { name: bob },
            _ => Change::PersonEnable { name: bob },
        };
        let admin = &self.people[4];
        let view = self.world.engine.administer(admin, change, None, None, None).await?.into_view();
        self.world.answer(admin, &view).await.map(drop)
    }

    async fn check(&mut self, verb: &Verb) -> Result<(), StoreError> {
        let store = self.world.engine.store().clone();
        let mut used = std::collections::BTreeSet::new();
        for id in self.requests.clone() {
            let Some(request) = store.load(RequestById(id)).await? else { panic!("{id} was acknowledged and is gone") };
            assert!(request.digest_holds());
            if let Some((version, stage)) = self.seen.get(&id) {
                assert!(request.version >= *version, "a version went back after {verb:?}");
                assert!(
                    request.version > *version || request.stage == *stage,
                    "a stage changed under its version after {verb:?}"
                );
                assert!(
                    leads_to(stage, &request.stage),
                    "{} became {} after {verb:?}",
                    stage.name(),
                    request.stage.name()
                );
            }
            let entries = store.load(EntriesOf(id)).await?;
            let decoded: Vec<_> =
                entries.iter().map(|entry| countersign_ledger::decode(&entry.bytes).unwrap()).collect();
            let kinds: Vec<EntryKind> = decoded.iter().map(|entry| entry.kind().unwrap()).collect();
            let count = |kind: EntryKind| kinds.iter().filter(|found| **found == kind).count();

            // Each change has its entry, and none is out of order or missing.
            let numbers: Vec<_> =
                decoded.iter().map(|entry| entry.clear.get("seq").and_then(Value::as_i64).unwrap()).collect();
            assert_eq!(numbers, (1..=request.entries).collect::<Vec<_>>());
            let answered = request.approvals().len();
            assert_eq!(count(EntryKind::RequestAnswered), answered);
            let ended = [EntryKind::RequestDenied, EntryKind::RequestExpired, EntryKind::RequestCancelled];
            let ends: usize = ended.iter().map(|kind| count(*kind)).sum();
            assert_eq!(
                ends,
                usize::from(matches!(
                    request.stage,
                    Stage::Refused { .. } | Stage::Expired { .. } | Stage::Cancelled { .. }
                ))
            );

            // Never two grants, and none besides an ending.
            assert!(count(EntryKind::RequestGranted) + ends <= 1);
            assert_eq!(count(EntryKind::RequestGranted), usize::from(request.grant().is_some()));

            // Never more uses than were granted, and none once it is over.
            let releases = store.load(ReleasesOf(id)).await?;
            let allowed = request.grant().map_or(0, |grant| grant.uses);
            assert!(releases.len() <= usize::try_from(allowed).unwrap());
            let over = kinds.iter().position(|kind| matches!(kind, EntryKind::GrantRevoked | EntryKind::GrantEnded));
            let begun = kinds.iter().rposition(|kind| *kind == EntryKind::ReleaseIntended);
            assert!(over.is_none() || begun < over || begun.is_none(), "released after the end: {kinds:?}");
            if request.operation.action.as_str() == "command.run" {
                assert_eq!(releases.len(), count(EntryKind::ReleaseIntended));
            }

            // Never one code for two answers.
            for approval in request.approvals() {
                let code = (approval.evidence.authenticator, approval.evidence.step);
                assert!(used.insert(code), "a code counted twice after {verb:?}");
            }

            // Never the requester in his own quorum, never one person in two places, never fewer than asked.
            let mut persons: Vec<_> =
                request.approvals().iter().filter(|approval| !approval.own).map(|a| a.evidence.person.id).collect();
            assert!(!request.person.as_ref().is_some_and(|requester| persons.contains(&requester.id)));
            let approvals = persons.len();
            persons.sort();
            persons.dedup();
            assert_eq!(persons.len(), approvals);
            if request.grant().is_some() {
                assert!(approvals >= quorum::slots(&request.demands).len());
            }
            self.seen.insert(id, (request.version, request.stage));
        }
        Ok(())
    }
}

/// What may follow what.
fn leads_to(before: &Stage, after: &Stage) -> bool {
    match (before, after) {
        (Stage::Asked, _) | (Stage::Granted { .. }, Stage::Granted { .. }) => true,
        (Stage::Challenged { .. }, after) => !matches!(after, Stage::Asked),
        (before, after) => before == after,
    }
}
