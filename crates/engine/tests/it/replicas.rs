//! Two processes on one database: what one of them does, the other one acts on; what only one may do, one does.

use std::sync::Arc;
use std::time::Duration;

use countersign_core::entry::EntryKind;
use countersign_core::principal::Principal;
use countersign_core::release::ReleaseState;
use countersign_engine::identity::Change;
use countersign_engine::testing::{self, ManualClock, PASSWORD, POLICY, World, command};
use countersign_engine::{Clock, Engine, EngineError, Health};
use countersign_store::testing::{FaultPlan, When};
use countersign_store::{
    Change as Announced, ChangeKind, Commit, CommitError, EntriesOf, Expectation, Integration, LogState, Store,
    SystemWrite,
};
use secrecy::SecretString;

use crate::support::{Place, on_both};

on_both!(
    what_memory_knows_costs_no_question,
    a_flood_of_invented_credentials_is_remembered_nowhere,
    what_ends_on_one_is_refused_on_the_other,
    what_ends_here_is_refused_before_the_answer,
    who_does_not_follow_asks_the_database_each_time,
    changes_that_are_no_longer_kept_are_read_anew,
    the_policy_of_one_governs_on_the_other,
    who_does_not_follow_holds_the_policy_against_the_database,
    one_code_on_both_at_once_counts_once,
    asked_here_answered_there_released_here,
    timers_fire_once_whoever_looks,
    a_session_that_is_used_elsewhere_does_not_end_here,
    entries_keep_the_order_of_their_request_whoever_sequences,
    who_slept_through_his_lease_extends_nothing,
);

const SOURCE: &str = "127.0.0.1";
/// Longer than what was looked at last is believed.
const TOO_LONG: Duration = Duration::from_secs(3);

async fn session(engine: &Engine, name: &str) -> SecretString {
    engine.login(name, PASSWORD.into(), None, SOURCE).await.unwrap().token
}

async fn is_let_in(engine: &Engine, credential: &SecretString) -> bool {
    match engine.authenticate(credential, SOURCE).await {
        Ok(_) => true,
        Err(EngineError::Unauthenticated) => false,
        Err(error) => panic!("{error}"),
    }
}

/// Somebody with a fresh factor, and a token of his.
async fn token(place: &Place, name: &str) -> (Principal, countersign_engine::identity::NewToken) {
    place.next_code();
    let engine = place.engine();
    let login = engine.login(name, PASSWORD.into(), Some(place.world.code(name)), SOURCE).await.unwrap();
    let who = engine.authenticate(&login.token, SOURCE).await.unwrap();
    let scopes = vec!["command.run".to_owned()];
    let token = engine.create_token(&who, "ci", scopes, Duration::from_hours(1)).await.unwrap();
    (who, token)
}

async fn what_memory_knows_costs_no_question() {
    let place = Place::usual().await;
    let (_, token) = token(&place, "alice").await;
    let session = session(place.engine(), "bob").await;
    let Place { world, db, dir: _dir } = place;
    let World { engine, clock, secrets: _ } = world;
    drop(engine);
    let plan = Arc::new(FaultPlan::new(u64::MAX, When::Before));
    let store = countersign_store::testing::open(&db.config, Arc::clone(&plan)).await.unwrap();
    let engine = testing::start(store, clock, 77).await.unwrap();

    // Looked up once; then known.
    for credential in [&token.token, &session] {
        let before = plan.calls();
        assert!(is_let_in(&engine, credential).await);
        assert_eq!(plan.calls(), before + 1);
        for _ in 0..10 {
            assert!(is_let_in(&engine, credential).await);
        }
        assert_eq!(plan.calls(), before + 1);
    }
}

async fn a_flood_of_invented_credentials_is_remembered_nowhere() {
    let place = Place::usual().await;
    let (_, token) = token(&place, "alice").await;
    let text = secrecy::ExposeSecret::expose_secret(&token.token).to_owned();
    let engine = place.engine();
    engine.fill().await.unwrap();
    let known = format!("{engine:?}").split("known: ").nth(1).unwrap()[..1].to_owned();
    for digit in ["a", "b", "c", "d", "e"] {
        // Of the same shape, and nobody's.
        let mut invented = text.clone();
        let at = invented.len() - 8;
        invented.replace_range(at..=at, digit);
        if invented != text {
            let refused = engine.authenticate(&SecretString::from(invented), SOURCE).await;
            assert!(matches!(refused, Err(EngineError::Unauthenticated)));
        }
    }
    assert_eq!(format!("{engine:?}").split("known: ").nth(1).unwrap()[..1], known);
}

async fn what_ends_on_one_is_refused_on_the_other() {
    let place = Place::usual().await;
    let (alice, first) = token(&place, "alice").await;
    let admin = place.login("admin").await;
    let other = place.another(2).await;
    let (sessions, alices) = (session(place.engine(), "bob").await, session(place.engine(), "alice").await);
    other.fill().await.unwrap();
    for credential in [&first.token, &sessions, &alices] {
        assert!(is_let_in(&other, credential).await);
    }
    // A token by its owner; a session by its holder; a person by an administrator.
    place.engine().revoke_token(&alice, first.id).await.unwrap();
    other.follow_changes().await.unwrap();
    assert!(!is_let_in(&other, &first.token).await && is_let_in(&other, &sessions).await);
    let bob = place.engine().authenticate(&sessions, SOURCE).await.unwrap();
    place.engine().logout(&bob).await.unwrap();
    other.follow_changes().await.unwrap();
    assert!(!is_let_in(&other, &sessions).await && is_let_in(&other, &alices).await);
    place.change(&admin, Change::PersonDisable { name: "alice".into() }, None).await.unwrap();
    other.follow_changes().await.unwrap();
    assert!(!is_let_in(&other, &alices).await);
}

async fn what_ends_here_is_refused_before_the_answer() {
    let place = Place::usual().await;
    let (alice, token) = token(&place, "alice").await;
    let (engine, admin) = (place.engine(), place.login("admin").await);
    let (bobs, carols) = (session(engine, "bob").await, session(engine, "carol").await);
    for credential in [&token.token, &bobs, &carols] {
        assert!(is_let_in(engine, credential).await);
    }
    engine.revoke_token(&alice, token.id).await.unwrap();
    assert!(!is_let_in(engine, &token.token).await);
    let bob = engine.authenticate(&bobs, SOURCE).await.unwrap();
    engine.logout(&bob).await.unwrap();
    assert!(!is_let_in(engine, &bobs).await);
    place.change(&admin, Change::PersonDisable { name: "carol".into() }, None).await.unwrap();
    assert!(!is_let_in(engine, &carols).await);
}

async fn who_does_not_follow_asks_the_database_each_time() {
    let place = Place::usual().await;
    let (alice, token) = token(&place, "alice").await;
    let other = place.another(2).await;
    assert!(is_let_in(&other, &token.token).await);
    // The other one hears of nothing, and time goes by.
    place.engine().revoke_token(&alice, token.id).await.unwrap();
    place.world.clock.advance(TOO_LONG);
    assert!(!is_let_in(&other, &token.token).await);
}

async fn changes_that_are_no_longer_kept_are_read_anew() {
    let place = Place::usual().await;
    let (alice, token) = token(&place, "alice").await;
    let other = place.another(2).await;
    other.fill().await.unwrap();
    assert!(is_let_in(&other, &token.token).await);
    place.engine().revoke_token(&alice, token.id).await.unwrap();
    // More than are kept come after it, and the sweep removes it.
    let announce = |n: u32| SystemWrite::Announce(Announced { kind: ChangeKind::Account, subject: format!("{n:x}") });
    let many = (0..10_001).map(announce).collect::<Vec<_>>();
    place.engine().store().commit(Commit::from(many)).await.unwrap();
    place.engine().sweep().await.unwrap();
    other.follow_changes().await.unwrap();
    assert!(!is_let_in(&other, &token.token).await);
}

fn without_commands() -> String {
    format!("{POLICY}\n[[rule]]\nid = \"closed\"\neffect = \"deny\"\naction = \"command.run\"\n")
}

async fn the_policy_of_one_governs_on_the_other() {
    let place = Place::usual().await;
    let (admin, alice) = (place.login("admin").await, place.login("alice").await);
    let other = place.another(2).await;
    assert!(other.ask(&alice, &command(&["id"], Some("to see"))).await.is_ok());
    place.change(&admin, Change::PolicyApply { text: without_commands() }, None).await.unwrap();
    other.follow_changes().await.unwrap();
    let refused = other.ask(&alice, &command(&["ls"], Some("to see"))).await;
    assert!(matches!(refused, Err(EngineError::RefusedByPolicy { .. })), "{refused:?}");
    assert_eq!(other.policy().1, without_commands());
}

async fn who_does_not_follow_holds_the_policy_against_the_database() {
    let place = Place::usual().await;
    let (admin, alice, bob) = (place.login("admin").await, place.login("alice").await, place.login("bob").await);
    let other = place.another(2).await;
    let granted = place.granted(&alice, &bob).await;
    place.change(&admin, Change::PolicyApply { text: without_commands() }, None).await.unwrap();
    // 30 seconds went by with the administrator's code.
    let refused = other.release(&alice, granted.request.id).await;
    assert!(matches!(refused, Err(EngineError::RefusedByPolicy { .. })), "{refused:?}");
    let refused = other.ask(&alice, &command(&["ls"], Some("to see"))).await;
    assert!(matches!(refused, Err(EngineError::RefusedByPolicy { .. })), "{refused:?}");
}

async fn one_code_on_both_at_once_counts_once() {
    let place = Place::usual().await;
    let (alice, bob) = (place.login("alice").await, place.login("bob").await);
    let other = place.another(2).await;
    for _ in 0..8 {
        place.next_code();
        let first = place.engine().ask(&alice, &command(&["a"], Some("one"))).await.unwrap().into_view();
        let second = place.engine().ask(&alice, &command(&["b"], Some("two"))).await.unwrap().into_view();
        let shown = [place.engine().show(&bob, first.request.id).await, other.show(&bob, second.request.id).await];
        let [one, two] = shown.map(|view| view.unwrap());
        let (one_proof, two_proof) = (place.world.proof("bob", &one).unwrap(), place.world.proof("bob", &two).unwrap());
        let (here, there) = tokio::join!(
            place.engine().answer(&bob, one.request.id, &one_proof),
            other.answer(&bob, two.request.id, &two_proof)
        );
        assert_eq!(u32::from(here.is_ok()) + u32::from(there.is_ok()), 1, "{here:?} {there:?}");
        for id in [first.request.id, second.request.id] {
            // Whatever is left goes, so that the next round begins anew.
            drop(place.engine().cancel(&alice, id).await);
            drop(place.engine().revoke(&alice, id).await);
        }
    }
}

async fn asked_here_answered_there_released_here() {
    let place = Place::usual().await;
    let (alice, bob) = (place.login("alice").await, place.login("bob").await);
    let other = place.another(2).await;
    let view = place.asked(&alice).await;
    let shown = other.show(&bob, view.request.id).await.unwrap();
    let proof = place.world.proof("bob", &shown).unwrap();
    other.answer(&bob, view.request.id, &proof).await.unwrap();
    // One use, on both at once.
    let (here, there) =
        tokio::join!(place.engine().release(&alice, view.request.id), other.release(&alice, view.request.id));
    assert_eq!(u32::from(here.is_ok()) + u32::from(there.is_ok()), 1, "{here:?} {there:?}");
    let release = here.or(there).unwrap().release;
    let done = other.report(&alice, release, "exit 0").await.unwrap();
    assert!(matches!(done.releases[0].state, ReleaseState::Done { .. }));
}

async fn timers_fire_once_whoever_looks() {
    let place = Place::usual().await;
    let alice = place.login("alice").await;
    let (first, second) = (place.another(2).await, place.another(3).await);
    let mut asked = Vec::new();
    for n in 0..20 {
        let ask = command(&["echo", &n.to_string()], Some("to see"));
        asked.push(place.engine().ask(&alice, &ask).await.unwrap().into_view().request.id);
    }
    place.world.clock.advance(Duration::from_mins(31));
    let (here, there) = tokio::join!(first.fire_due(), second.fire_due());
    assert_eq!(here.unwrap() + there.unwrap(), asked.len());
    for id in asked {
        let entries = place.engine().store().load(EntriesOf(id)).await.unwrap();
        let kinds: Vec<_> =
            entries.iter().map(|entry| countersign_ledger::decode(&entry.bytes).unwrap().kind().unwrap()).collect();
        assert_eq!(kinds, [EntryKind::RequestAsked, EntryKind::RequestExpired]);
    }
}

async fn a_session_that_is_used_elsewhere_does_not_end_here() {
    let place = Place::usual().await;
    let other = place.another(2).await;
    let session = session(place.engine(), "bob").await;
    assert!(is_let_in(&other, &session).await);
    for _ in 0..10 {
        place.world.clock.advance(Duration::from_mins(20));
        place.engine().follow_changes().await.unwrap();
        assert!(is_let_in(place.engine(), &session).await);
    }
    // This one's memory says that it has been idle for hours; that is no reason.
    other.follow_changes().await.unwrap();
    assert!(is_let_in(&other, &session).await);
    // And idle it ends on both, whatever memory holds.
    place.world.clock.advance(Duration::from_mins(61));
    for engine in [place.engine(), &other] {
        engine.follow_changes().await.unwrap();
        assert!(!is_let_in(engine, &session).await);
    }
}

/// The clocks are a few seconds apart, each verb runs on another process, and each process sequences when it likes.
async fn entries_keep_the_order_of_their_request_whoever_sequences() {
    let place = Place::usual().await;
    let (alice, bob) = (place.login("alice").await, place.login("bob").await);
    // Both in the middle of a step, so that a code is good on both.
    place.world.clock.advance(Duration::from_secs(10));
    let behind = ManualClock::at(testing::START + 6);
    let late = testing::start(place.another_store().await, Arc::clone(&behind), 5).await.unwrap();
    let early = place.engine();
    let mut asked = Vec::new();
    for round in 0..6_i64 {
        place.next_code();
        behind.advance(Duration::from_secs(30));
        let (first, second) = if round % 2 == 0 { (early, &late) } else { (&late, early) };
        let view = first.ask(&alice, &command(&["n", &round.to_string()], Some("to see"))).await.unwrap().into_view();
        // What is later by its commit and earlier by its clock comes after what has a place already.
        if round % 3 == 0 {
            second.sequence().await.unwrap();
        }
        let proof = place.world.proof("bob", &second.show(&bob, view.request.id).await.unwrap()).unwrap();
        second.answer(&bob, view.request.id, &proof).await.unwrap();
        first.sequence().await.unwrap();
        let release = second.release(&alice, view.request.id).await;
        if let Ok(released) = release {
            first.report(&alice, released.release, "exit 0").await.unwrap();
        }
        asked.push(view.request.id);
    }
    early.sequence().await.unwrap();
    late.sequence().await.unwrap();
    for id in asked {
        let entries = early.store().load(EntriesOf(id)).await.unwrap();
        let places: Vec<_> = entries.iter().map(|entry| entry.leaf_index.unwrap()).collect();
        assert!(entries.len() >= 4 && places.is_sorted(), "{places:?}");
        let times: Vec<_> = entries.iter().map(|entry| entry.at).collect();
        assert!(times.windows(2).all(|two| two[0] < two[1]), "{times:?}");
        let json = early.receipt(&alice, id, Duration::ZERO).await.unwrap();
        let receipt = countersign_ledger::Receipt::from_json(json.as_bytes()).unwrap();
        assert!(receipt.verify(None, Some(id)).unwrap().gapless);
    }
}

async fn who_slept_through_his_lease_extends_nothing() {
    let place = Place::usual().await;
    let alice = place.login("alice").await;
    let store: &Store = place.engine().store();
    let now = Clock::now(&*place.world.clock);
    let until = now.plus(Duration::from_secs(10));
    let fence = store.acquire_lease("sequencer", "sleeper", now, until).await.unwrap().unwrap();
    let head = store.load(LogState(1)).await.unwrap().unwrap();
    let view = place.asked(&alice).await;
    // While the lease runs nobody else extends the log, and after it the next one does.
    place.engine().sequence().await.unwrap();
    assert_eq!(store.load(LogState(1)).await.unwrap().unwrap(), head);
    place.world.clock.advance(Duration::from_secs(10));
    place.engine().sequence().await.unwrap();
    let grown = store.load(LogState(1)).await.unwrap().unwrap();
    assert!(grown.size > head.size);
    // The sleeper wakes, and holds what he had.
    let entries = store.load(EntriesOf(view.request.id)).await.unwrap();
    let integration = Integration { epoch: 1, from: grown.size, head: grown, entries: Vec::new(), tiles: Vec::new() };
    assert!(!entries.is_empty());
    let hold = SystemWrite::HoldLease { name: "sequencer".into(), owner: "sleeper".into(), fence };
    let late = store.commit(Commit::from(vec![hold, SystemWrite::Integrate(integration)])).await;
    assert!(matches!(late, Err(CommitError::Conflict(Expectation::LeaseLost { .. }))), "{late:?}");
}

mod clocks {
    use super::*;
    use crate::support::on_postgres;

    const TOLERANCE: Duration = Duration::from_secs(5);

    /// A process whose clock is this far from the database's, and one whose is not.
    async fn two(place: &Place, ahead: i64) -> (Engine, Arc<ManualClock>, Engine) {
        let store = place.db.open().await;
        let theirs = store.database_time().await.unwrap().unwrap();
        place.world.clock.set(theirs);
        let clock = ManualClock::at(theirs.as_secs() + ahead);
        let apart = testing::start_within(store, Arc::clone(&clock), 5, Vec::new(), TOLERANCE).await.unwrap();
        let good_store = place.db.open().await;
        let good =
            testing::start_within(good_store, Arc::clone(&place.world.clock), 6, Vec::new(), TOLERANCE).await.unwrap();
        (apart, clock, good)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn attack_11c_of_two_replicas_ninety_seconds_apart_one_refuses() {
        on_postgres(Box::pin(async {
            for ahead in [90, -90, 6 + 60] {
                let place = Place::usual().await;
                let (apart, clock, good) = two(&place, ahead).await;
                let (alice, bob) = (place.login("alice").await, place.login("bob").await);
                let apart_now = |result: Result<(), EngineError>| match result {
                    Err(EngineError::ClockApart { ours, theirs }) => {
                        assert!((ours.as_secs() - theirs.as_secs() - ahead).abs() <= 5, "{ours} {theirs}");
                    }
                    other => panic!("{ahead}: {other:?}"),
                };
                let view = good.ask(&alice, &command(&["id"], Some("to see"))).await.unwrap().into_view();
                let proof = place.world.proof("bob", &good.show(&bob, view.request.id).await.unwrap()).unwrap();
                apart_now(apart.ask(&alice, &command(&["ls"], Some("to see"))).await.map(drop));
                apart_now(apart.answer(&bob, view.request.id, &proof).await.map(drop));
                apart_now(apart.login("alice", PASSWORD.into(), None, SOURCE).await.map(drop));
                assert!(matches!(apart.health(), Health::ClockApart { .. }));
                // It ends nothing before its time, and lets nothing go.
                assert_eq!(apart.fire_due().await.unwrap(), 0);
                let granted = good.answer(&bob, view.request.id, &proof).await.unwrap();
                apart_now(apart.release(&alice, granted.request.id).await.map(drop));
                // Who takes a right away is never refused for the time.
                let other = good.ask(&alice, &command(&["w"], Some("to see"))).await.unwrap().into_view();
                assert!(apart.deny(&bob, other.request.id, None).await.is_ok());
                // Set right, it comes back by itself.
                clock.set(apart.store().database_time().await.unwrap().unwrap());
                apart.sequence().await.unwrap();
                let released = apart.release(&alice, granted.request.id).await;
                assert!(released.is_ok(), "{released:?}");
                assert_eq!(apart.health(), Health::Good);
            }
        }))
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_clock_that_steps_is_noticed_before_the_next_decision() {
        on_postgres(Box::pin(async {
            let place = Place::usual().await;
            let (engine, clock, _) = two(&place, 0).await;
            let alice = place.login("alice").await;
            assert!(engine.ask(&alice, &command(&["id"], Some("to see"))).await.is_ok());
            clock.advance(Duration::from_hours(1));
            let refused = engine.ask(&alice, &command(&["ls"], Some("to see"))).await;
            assert!(matches!(refused, Err(EngineError::ClockApart { .. })), "{refused:?}");
        }))
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_has_expired_by_either_clock_opens_nothing() {
        on_postgres(Box::pin(async {
            let place = Place::usual().await;
            let (behind, _, good) = two(&place, -90).await;
            place.world.clock.set(behind.store().database_time().await.unwrap().unwrap());
            let (_, token) = token(&place, "alice").await;
            assert!(is_let_in(&good, &token.token).await && is_let_in(&behind, &token.token).await);
            let (here, clock, _) = two(&place, 3_600 - 40).await;
            // 30 of the seconds went by with a code. By the database's clock it lives on.
            assert!(is_let_in(&here, &token.token).await);
            clock.advance(Duration::from_secs(100));
            assert!(!is_let_in(&here, &token.token).await);
        }))
        .await;
    }
}
