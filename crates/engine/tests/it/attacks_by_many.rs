//! More attacks that succeeded somewhere in public once: names of other realms, races, stolen sessions, floods.

use std::time::Duration;

use countersign_core::decide::Rejection;
use countersign_core::request::Stage;
use countersign_engine::flow::{Proof, View};
use countersign_engine::identity::Change;
use countersign_engine::testing::{PASSWORD, command};
use countersign_engine::{Clock as _, Engine, EngineError};
use countersign_store::{EntriesOf, UnsequencedEntries};
use tokio_util::sync::CancellationToken;

use crate::support::{Place, on_both};

on_both!(
    attack_06_the_same_group_name_of_another_realm_fills_nothing,
    attack_06b_the_second_group_of_a_person_counts_like_the_first,
    attack_08_approve_races_deny_and_one_of_them_wins,
    attack_08b_two_approvals_race_for_the_last_place,
    attack_08c_an_approval_after_expiry_or_after_a_cancellation_counts_for_nothing,
    attack_11_the_clock_steps_back_and_nothing_comes_to_life,
    attack_11b_the_clock_jumps_an_hour_and_what_waited_is_over,
    attack_13_a_stolen_session_approves_and_enrolls_nothing,
    attack_17_a_flood_of_wrong_logins_does_not_fill_the_disk,
);

/// The kinds of a request's entries, in their order.
async fn told(engine: &Engine, view: &View) -> Vec<String> {
    let rows = engine.store().load(EntriesOf(view.request.id)).await.unwrap();
    rows.iter().map(|row| countersign_ledger::decode(&row.bytes).unwrap().kind).collect()
}

fn count(told: &[String], kind: &str) -> usize {
    told.iter().filter(|entry| *entry == kind).count()
}

async fn attack_06_the_same_group_name_of_another_realm_fills_nothing() {
    let place = Place::usual().await;
    let (admin, alice) = (place.login("admin").await, place.login("alice").await);
    // Dave joins a group that is called like the one that is wanted, elsewhere; or he does not, because there is no such realm.
    let add = place.change(&admin, Change::GroupAdd { group: "corp:security".parse().unwrap() }, None).await;
    if add.is_ok() {
        let join = Change::MemberAdd { group: "corp:security".parse().unwrap(), person: "dave".into() };
        place.change(&admin, join, None).await.unwrap();
    }
    place.next_code();
    let dave = place.login("dave").await;
    let view = place.asked(&alice).await;
    assert!(matches!(place.world.answer(&dave, &view).await, Err(EngineError::NotFound("request"))));
    // Groups hold people, not groups: a member of `dba` is none of `security` because the two share somebody.
    assert!(!view.can_approve.iter().any(|(_, people)| people.contains(&"dave".to_owned())));
    assert_eq!(view.can_approve.iter().map(|(group, _)| group.to_string()).collect::<Vec<_>>(), ["local:security"]);
}

async fn attack_06b_the_second_group_of_a_person_counts_like_the_first() {
    let place = Place::usual().await;
    // Carol is of `dba` and of `security`, whichever is read first.
    let (alice, carol, bob) = (place.login("alice").await, place.login("carol").await, place.login("bob").await);
    let view = place.asked(&alice).await;
    assert!(matches!(place.world.answer(&carol, &view).await.unwrap().request.stage, Stage::Granted { .. }));
    place.next_code();
    let mut drop_table = command(&["id"], Some("to see"));
    drop_table.operation.action = "table.drop".parse().unwrap();
    let view = place.engine().ask(&alice, &drop_table).await.unwrap().into_view();
    assert!(place.world.answer(&bob, &view).await.unwrap().request.is_pending());
    assert!(matches!(place.world.answer(&carol, &view).await.unwrap().request.stage, Stage::Granted { .. }));
}

/// What bob would send to approve what he sees.
async fn proof(place: &Place, name: &str, view: &View) -> Proof {
    let principal = place.login(name).await;
    let shown = place.engine().show(&principal, view.request.id).await.unwrap();
    place.world.proof(name, &shown).unwrap()
}

async fn attack_08_approve_races_deny_and_one_of_them_wins() {
    let place = Place::usual().await;
    let (alice, bob, carol) = (place.login("alice").await, place.login("bob").await, place.login("carol").await);
    let mut granted = 0;
    for round in 0..20 {
        place.next_code();
        let ask = command(&["echo", &round.to_string()], Some("to see"));
        let view = place.engine().ask(&alice, &ask).await.unwrap().into_view();
        let proof = proof(&place, "bob", &view).await;
        let (engine, id) = (place.engine().clone(), view.request.id);
        let mut tasks = tokio::task::JoinSet::new();
        let (here, person) = (engine.clone(), bob.clone());
        tasks.spawn(async move { (true, here.answer(&person, id, &proof).await.is_ok()) });
        let (here, person) = (engine.clone(), carol.clone());
        tasks.spawn(async move { (false, here.deny(&person, id, None).await.is_ok()) });
        let won = tasks.join_all().await;
        let (approved, denied) = (won.contains(&(true, true)), won.contains(&(false, true)));
        assert!(approved != denied, "round {round}: approved {approved}, denied {denied}");
        let told = told(&engine, &view).await;
        assert_eq!(count(&told, "request.granted"), usize::from(approved), "{told:?}");
        assert_eq!(count(&told, "request.denied"), usize::from(denied), "{told:?}");
        // Nothing is released while older entries have no place in the log.
        engine.sequence().await.unwrap();
        let released = engine.release(&alice, id).await.is_ok();
        assert_eq!(released, approved);
        granted += usize::from(approved);
    }
    assert!(granted <= 20);
}

async fn attack_08b_two_approvals_race_for_the_last_place() {
    let place = Place::usual().await;
    let alice = place.login("alice").await;
    let people = [place.login("bob").await, place.login("carol").await];
    for round in 0..20 {
        place.next_code();
        let ask = command(&["echo", &round.to_string()], Some("to see"));
        let view = place.engine().ask(&alice, &ask).await.unwrap().into_view();
        let proofs = [proof(&place, "bob", &view).await, proof(&place, "carol", &view).await];
        let mut tasks = tokio::task::JoinSet::new();
        for (proof, principal) in proofs.into_iter().zip(&people) {
            let (engine, principal, id) = (place.engine().clone(), principal.clone(), view.request.id);
            tasks.spawn(async move { engine.answer(&principal, id, &proof).await });
        }
        let answers = tasks.join_all().await;
        let counted = answers.iter().filter(|answer| answer.is_ok()).count();
        assert_eq!(counted, 1, "{answers:?}");
        let late = answers.into_iter().find_map(Result::err);
        assert!(matches!(late, Some(EngineError::AnswerRejected { why: Rejection::Over("granted"), .. })), "{late:?}");
        let told = told(place.engine(), &view).await;
        assert_eq!((count(&told, "request.answered"), count(&told, "request.granted")), (1, 1), "{told:?}");
    }
}

async fn attack_08c_an_approval_after_expiry_or_after_a_cancellation_counts_for_nothing() {
    let place = Place::usual().await;
    let (alice, bob) = (place.login("alice").await, place.login("bob").await);
    let view = place.asked(&alice).await;
    let late = proof(&place, "bob", &view).await;
    place.engine().cancel(&alice, view.request.id).await.unwrap();
    let refused = place.engine().answer(&bob, view.request.id, &late).await;
    assert!(matches!(refused, Err(EngineError::AnswerRejected { why: Rejection::Over("cancelled"), .. })));
    // Past its deadline, whether or not a timer has noticed.
    let ask = command(&["uptime"], Some("to see"));
    let view = place.engine().ask(&alice, &ask).await.unwrap().into_view();
    let challenge = proof(&place, "bob", &view).await.challenge;
    place.world.clock.advance(Duration::from_mins(30));
    let late = Proof { challenge, code: place.world.code("bob"), digest: view.request.digest };
    let refused = place.engine().answer(&bob, view.request.id, &late).await;
    assert!(matches!(refused, Err(EngineError::AnswerRejected { why: Rejection::Over("expired"), .. })), "{refused:?}");
    assert!(place.engine().release(&alice, view.request.id).await.is_err());
    // The code was not burnt: nothing was looked at but the clock.
    let third = place.engine().ask(&alice, &command(&["id", "-u"], Some("to see"))).await.unwrap().into_view();
    assert!(place.world.answer(&bob, &third).await.is_ok());
}

async fn attack_11_the_clock_steps_back_and_nothing_comes_to_life() {
    let place = Place::usual().await;
    let (alice, bob) = (place.login("alice").await, place.login("bob").await);
    let granted = place.granted(&alice, &bob).await;
    let used = place.world.code("bob");
    let at = place.world.clock.now();
    place.world.clock.advance(Duration::from_mins(6));
    place.engine().fire_due().await.unwrap();
    place.world.clock.set(at.minus(Duration::from_secs(90)));
    // What has ended stays ended, and what was used stays used.
    assert!(place.engine().release(&alice, granted.request.id).await.is_err());
    let next = place.engine().ask(&alice, &command(&["uptime"], Some("to see"))).await.unwrap().into_view();
    let shown = place.engine().show(&bob, next.request.id).await.unwrap();
    for back in [0, 30, 60, 90] {
        place.world.clock.set(at.minus(Duration::from_secs(back)));
        let digest = shown.request.digest;
        let again = Proof { challenge: shown.you.challenge.unwrap(), code: used.clone(), digest };
        assert!(place.engine().answer(&bob, next.request.id, &again).await.is_err(), "{back} s back");
    }
    assert!(place.engine().show(&alice, next.request.id).await.unwrap().request.is_pending());
    // The log's order is that of what happened, whatever the clock said.
    let rows = place.engine().store().load(EntriesOf(next.request.id)).await.unwrap();
    assert!(rows.is_sorted_by(|one, two| one.at < two.at));
}

async fn attack_11b_the_clock_jumps_an_hour_and_what_waited_is_over() {
    let place = Place::usual().await;
    let (alice, bob) = (place.login("alice").await, place.login("bob").await);
    let granted = place.granted(&alice, &bob).await;
    place.next_code();
    let pending = place.engine().ask(&alice, &command(&["uptime"], Some("to see"))).await.unwrap().into_view();
    let late = proof(&place, "bob", &pending).await;
    place.world.clock.advance(Duration::from_hours(1));
    // No timer has looked yet.
    assert!(place.engine().release(&alice, granted.request.id).await.is_err());
    assert!(place.engine().answer(&bob, pending.request.id, &late).await.is_err());
    place.engine().fire_due().await.unwrap();
    assert_eq!(count(&told(place.engine(), &granted).await, "grant.ended"), 1);
    assert_eq!(count(&told(place.engine(), &pending).await, "request.expired"), 1);
    // Back again: over is over.
    place.world.clock.set(place.world.clock.now().minus(Duration::from_hours(1)));
    place.engine().fire_due().await.unwrap();
    assert!(place.engine().release(&alice, granted.request.id).await.is_err());
    assert_eq!(count(&told(place.engine(), &granted).await, "release.intended"), 0);
}

async fn attack_13_a_stolen_session_approves_and_enrolls_nothing() {
    let place = Place::usual().await;
    let alice = place.login("alice").await;
    // A thief has bob's session and not his phone.
    let login = place.engine().login("bob", PASSWORD.into(), None, "127.0.0.1").await.unwrap();
    let thief = place.engine().authenticate(&login.token, "198.51.100.7").await.unwrap();
    let view = place.asked(&alice).await;
    let shown = place.engine().show(&thief, view.request.id).await.unwrap();
    for code in ["000000", "123456", "", "aaaaaa"] {
        let guess = Proof { challenge: shown.you.challenge.unwrap(), code: code.into(), digest: shown.request.digest };
        assert!(place.engine().answer(&thief, view.request.id, &guess).await.is_err(), "{code:?}");
    }
    assert!(matches!(place.engine().begin_enrolment(&thief).await, Err(EngineError::StaleSession)));
    let token = place.engine().create_token(&thief, "mine", vec!["*".into()], Duration::from_mins(5)).await;
    assert!(matches!(token, Err(EngineError::StaleSession)));
    assert!(place.engine().show(&alice, view.request.id).await.unwrap().request.is_pending());
    // Saying no is all that it is good for, and that is written down.
    place.engine().deny(&thief, view.request.id, None).await.unwrap();
    assert_eq!(count(&told(place.engine(), &view).await, "request.denied"), 1);
}

async fn attack_17_a_flood_of_wrong_logins_does_not_fill_the_disk() {
    let place = Place::usual().await;
    let epoch = 1;
    let waiting =
        async || place.engine().store().load(UnsequencedEntries { epoch, limit: 10_000 }).await.unwrap().len();
    place.engine().sequence().await.unwrap();
    let commits = place.engine().store().stats().commits;
    // At one name that exists and at one that does not; how many names are told apart is bounded elsewhere.
    for n in 0..400 {
        let name = if n % 2 == 0 { "bob" } else { "nobody" };
        assert!(place.engine().login(name, "wrong wrong wrong".into(), None, "10.0.0.9").await.is_err());
    }
    // Told as one line for each account, source and minute.
    let stop = CancellationToken::new();
    stop.cancel();
    place.engine().run_failed_logins(stop).await;
    let commits = place.engine().store().stats().commits - commits;
    assert!(commits <= 12, "{commits} commits for 400 attempts");
    let entries = waiting().await;
    assert!((1..=2).contains(&entries), "{entries} entries for 400 attempts");
}
