//! Waiting for a request, here and on another process of the same database.

use std::sync::Arc;
use std::time::Duration;

use countersign_core::request::Stage;
use countersign_engine::flow::{View, Watch};
use countersign_engine::identity::Change;
use countersign_engine::testing::{self, PASSWORD};
use countersign_engine::{Engine, EngineError};
use secrecy::SecretString;

use crate::support::{Place, on_both};

on_both!(
    what_another_process_commits_is_heard_by_one_look_for_all,
    a_request_is_followed_from_asked_to_over,
    who_comes_back_is_told_what_is_new_only,
    whoever_logs_out_learns_nothing_more,
    whoever_leaves_the_group_learns_nothing_more,
    held_calls_of_every_kind_share_one_bound,
);

const LONG: Duration = Duration::from_secs(50);

/// A second engine on the same database: what it commits, the first one is not told.
async fn replica(place: &Place) -> Engine {
    testing::start(place.engine().store().clone(), Arc::clone(&place.world.clock), 9).await.unwrap()
}

async fn session(place: &Place, name: &str) -> SecretString {
    place.engine().login(name, PASSWORD.into(), None, "127.0.0.1").await.unwrap().token
}

async fn watch(
    place: &Place,
    credential: &SecretString,
    view: &View,
    known: Option<i64>,
) -> Result<Watch, EngineError> {
    place.engine().watch(credential.clone(), "127.0.0.1", view.request.id, known).await
}

async fn what_another_process_commits_is_heard_by_one_look_for_all() {
    let place = Place::usual().await;
    let (alice, bob) = (place.login("alice").await, place.login("bob").await);
    let other = replica(&place).await;
    let view = place.asked(&alice).await;
    let (id, known) = (view.request.id, view.request.version);
    let wait = async |who| other.wait(who, id, known, LONG).await.unwrap().request.stage;
    let change = async {
        // Both wait before anything happens.
        while other.notice_changes().await.unwrap() == 0 {
            tokio::task::yield_now().await;
        }
        place.engine().cancel(&alice, id).await.unwrap();
        assert_eq!(other.notice_changes().await.unwrap(), 1, "one request, however many wait for it");
        assert_eq!(place.engine().notice_changes().await.unwrap(), 0, "nobody waits there");
    };
    let (first, second, ()) = tokio::join!(wait(&alice), wait(&bob), change);
    assert!(matches!((first, second), (Stage::Cancelled { .. }, Stage::Cancelled { .. })));
    assert_eq!(other.notice_changes().await.unwrap(), 0, "and nobody does any more");
}

async fn a_request_is_followed_from_asked_to_over() {
    let place = Place::usual().await;
    let (alice, bob) = (place.login("alice").await, place.login("bob").await);
    let credential = session(&place, "alice").await;
    let asked = place.asked(&alice).await;
    let mut watch = watch(&place, &credential, &asked, None).await.unwrap();
    let mut seen = vec![watch.next().await.unwrap().unwrap()];
    place.world.answer(&bob, &asked).await.unwrap();
    seen.push(watch.next().await.unwrap().unwrap());
    let released = place.engine().release(&alice, asked.request.id).await.unwrap();
    seen.push(watch.next().await.unwrap().unwrap());
    place.engine().report(&alice, released.release, "exit 0").await.unwrap();
    seen.push(watch.next().await.unwrap().unwrap());
    assert!(watch.next().await.unwrap().is_none() && watch.next().await.unwrap().is_none());
    let names: Vec<_> = seen.iter().map(|view| view.request.stage.name()).collect();
    assert_eq!(names, ["challenged", "granted", "granted", "granted"]);
    assert!(seen.windows(2).all(|two| two[0].request.version < two[1].request.version));
    assert_eq!(seen.iter().map(|view| view.is_over()).collect::<Vec<_>>(), [false, false, false, true]);
}

async fn who_comes_back_is_told_what_is_new_only() {
    let place = Place::usual().await;
    let alice = place.login("alice").await;
    let credential = session(&place, "alice").await;
    let asked = place.asked(&alice).await;
    let known = asked.request.version;
    // One that the caller cannot have seen is no reason to wait.
    let mut ahead = watch(&place, &credential, &asked, Some(known + 100)).await.unwrap();
    assert_eq!(ahead.next().await.unwrap().unwrap().request.version, known);
    let mut same = watch(&place, &credential, &asked, Some(known)).await.unwrap();
    let (next, _) = tokio::join!(same.next(), place.engine().cancel(&alice, asked.request.id));
    assert_eq!(next.unwrap().unwrap().request.stage.name(), "cancelled");
    assert!(same.next().await.unwrap().is_none());
    let over = place.engine().show(&alice, asked.request.id).await.unwrap();
    let mut late = watch(&place, &credential, &over, Some(over.request.version)).await.unwrap();
    assert!(late.next().await.unwrap().is_none());
}

async fn whoever_logs_out_learns_nothing_more() {
    let place = Place::usual().await;
    let alice = place.login("alice").await;
    let asked = place.asked(&alice).await;
    let credential = session(&place, "bob").await;
    let mut watch = watch(&place, &credential, &asked, None).await.unwrap();
    watch.next().await.unwrap().unwrap();
    let bob = place.engine().authenticate(&credential, "127.0.0.1").await.unwrap();
    place.engine().logout(&bob).await.unwrap();
    place.engine().cancel(&alice, asked.request.id).await.unwrap();
    assert!(matches!(watch.next().await, Err(EngineError::Unauthenticated)));
}

async fn whoever_leaves_the_group_learns_nothing_more() {
    let place = Place::usual().await;
    let (alice, admin) = (place.login("alice").await, place.login("admin").await);
    let asked = place.asked(&alice).await;
    let credential = session(&place, "bob").await;
    let mut watch = watch(&place, &credential, &asked, None).await.unwrap();
    watch.next().await.unwrap().unwrap();
    let group = "local:security".parse().unwrap();
    place.change(&admin, Change::MemberRemove { group, person: "bob".into() }, None).await.unwrap();
    place.engine().cancel(&alice, asked.request.id).await.unwrap();
    assert!(matches!(watch.next().await, Err(EngineError::NotFound(_))));
}

async fn held_calls_of_every_kind_share_one_bound() {
    let place = Place::usual().await;
    let alice = place.login("alice").await;
    let credential = session(&place, "alice").await;
    let asked = place.asked(&alice).await;
    let (id, known) = (asked.request.id, asked.request.version);
    let mut held = Vec::new();
    let refused = loop {
        match watch(&place, &credential, &asked, None).await {
            Ok(watch) => held.push(watch),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, EngineError::TooManyWaiting));
    assert_eq!(held.len(), 64);
    assert!(matches!(place.engine().wait(&alice, id, known, LONG).await, Err(EngineError::TooManyWaiting)));
    assert!(matches!(place.engine().receipt(&alice, id, LONG).await, Err(EngineError::TooManyWaiting)));
    let bob = place.login("bob").await;
    assert!(place.engine().wait(&bob, id, known, Duration::ZERO).await.is_ok());
    held.pop();
    assert!(place.engine().wait(&alice, id, known, Duration::ZERO).await.is_ok());
}
