//! The main path, and each way off it.

use std::time::Duration;

use countersign_core::canonical::Value;
use countersign_core::digest::Digest;
use countersign_core::release::ReleaseState;
use countersign_core::request::Stage;
use countersign_engine::EngineError;
use countersign_engine::flow::{Asked, Idempotency, May};
use countersign_engine::testing::{ask, command};

use crate::support::{Place, on_both};

on_both!(
    asked_approved_released_once_and_reported,
    what_needs_nothing_is_granted_when_asked_and_what_no_rule_names_is_refused,
    the_same_again_finds_the_pending_request_and_then_the_live_grant,
    an_idempotency_key_makes_one_request_and_refuses_another_body,
    denied_cancelled_expired_and_revoked_release_nothing,
    a_grant_ends_by_itself,
    a_lease_that_is_not_renewed_leaves_doubt_and_a_late_report_closes_it,
    a_held_call_ends_when_the_request_moves,
    strangers_see_nothing,
);

async fn asked_approved_released_once_and_reported() {
    let place = Place::usual().await;
    let (alice, bob) = (place.login("alice").await, place.login("bob").await);
    let view = place.asked(&alice).await;
    assert!(matches!(view.request.stage, Stage::Challenged { .. }));
    assert_eq!(view.you.may, [May::Cancel]);
    assert_eq!(place.engine().inbox(&bob, None, 10).await.unwrap().items.len(), 1);

    let view = place.world.answer(&bob, &view).await.unwrap();
    assert!(matches!(view.request.stage, Stage::Granted { .. }));
    assert!(place.engine().inbox(&bob, None, 10).await.unwrap().items.is_empty());

    let released = place.engine().release(&alice, view.request.id).await.unwrap();
    assert!(released.lease_until.is_some());
    let again = place.engine().release(&alice, view.request.id).await;
    assert!(matches!(again, Err(EngineError::Conflict { stage: Some("spent"), .. })), "{again:?}");

    let view = place.engine().report(&alice, released.release, "exit 0").await.unwrap();
    assert!(matches!(&view.releases[0].state, ReleaseState::Done { result, .. } if result.outcome == "exit 0"));
    let twice = place.engine().report(&alice, released.release, "exit 1").await;
    assert!(matches!(twice, Err(EngineError::Conflict { .. })));
}

async fn what_needs_nothing_is_granted_when_asked_and_what_no_rule_names_is_refused() {
    let place = Place::usual().await;
    let alice = place.login("alice").await;
    let report = ask("report.read", "sales", Value::Null, None);
    let view = place.engine().ask(&alice, &report).await.unwrap().into_view();
    assert!(view.request.grant().is_some_and(countersign_core::grant::Grant::is_live));
    let released = place.engine().release(&alice, view.request.id).await.unwrap();
    assert!(released.lease_until.is_none(), "a signed grant is complete when it is let go");
    let other = place.engine().ask(&alice, &ask("launch.missiles", "moon", Value::Null, None)).await;
    assert!(matches!(other, Err(EngineError::RefusedByPolicy { .. })));
}

async fn the_same_again_finds_the_pending_request_and_then_the_live_grant() {
    let place = Place::usual().await;
    let (alice, bob) = (place.login("alice").await, place.login("bob").await);
    let first = place.asked(&alice).await;
    let Asked::Again(second) = place.engine().ask(&alice, &command(&["id"], Some("to see"))).await.unwrap() else {
        panic!("a second request was made")
    };
    assert_eq!(first.request.id, second.request.id);
    // Another reason is another request: the approver must see it.
    let other = place.engine().ask(&alice, &command(&["id"], Some("for fun"))).await.unwrap().into_view();
    assert_ne!(first.request.id, other.request.id);
    place.world.answer(&bob, &first).await.unwrap();
    let live = place.engine().ask(&alice, &command(&["id"], None)).await.unwrap().into_view();
    assert_eq!(live.request.id, first.request.id);
    // Another argument is not covered.
    let narrow = place.engine().ask(&alice, &command(&["id", "-u"], Some("to see"))).await.unwrap().into_view();
    assert!(narrow.request.is_pending());
}

async fn an_idempotency_key_makes_one_request_and_refuses_another_body() {
    let place = Place::usual().await;
    let alice = place.login("alice").await;
    let keyed = |body: &[u8], argv: &str| {
        let mut ask = command(&[argv], Some("to see"));
        ask.idempotency = Some(Idempotency { key: "k1".into(), body: Digest::sha256(body) });
        ask
    };
    let first = place.engine().ask(&alice, &keyed(b"a", "id")).await.unwrap().into_view();
    let again = place.engine().ask(&alice, &keyed(b"a", "id")).await.unwrap().into_view();
    assert_eq!(first.request.id, again.request.id);
    let other = place.engine().ask(&alice, &keyed(b"b", "ls")).await;
    assert!(matches!(other, Err(EngineError::IdempotencyMismatch)));
}

async fn denied_cancelled_expired_and_revoked_release_nothing() {
    let place = Place::usual().await;
    let (alice, bob) = (place.login("alice").await, place.login("bob").await);
    let engine = place.engine();

    let denied = engine.deny(&bob, place.asked(&alice).await.request.id, Some("no")).await.unwrap();
    assert_eq!(denied.request.stage.name(), "denied");
    let cancelled = engine.cancel(&alice, place.asked(&alice).await.request.id).await.unwrap();
    assert_eq!(cancelled.request.stage.name(), "cancelled");
    let expired = place.asked(&alice).await;
    place.world.clock.advance(Duration::from_mins(30));
    assert_eq!(engine.fire_due().await.unwrap(), 1);
    let expired = engine.show(&alice, expired.request.id).await.unwrap();
    assert_eq!(expired.request.stage.name(), "expired");
    let revoked = place.granted(&alice, &bob).await;
    engine.revoke(&bob, revoked.request.id).await.unwrap();
    for (view, stage) in [(denied, "denied"), (cancelled, "cancelled"), (expired, "expired"), (revoked, "revoked")] {
        let refused = engine.release(&alice, view.request.id).await;
        assert!(
            matches!(refused, Err(EngineError::Conflict { stage: Some(found), .. }) if found == stage),
            "{stage}: {refused:?}"
        );
    }
}

async fn a_grant_ends_by_itself() {
    let place = Place::usual().await;
    let (alice, bob) = (place.login("alice").await, place.login("bob").await);
    let view = place.granted(&alice, &bob).await;
    place.world.clock.advance(Duration::from_mins(5));
    let late = place.engine().release(&alice, view.request.id).await;
    assert!(
        matches!(late, Err(EngineError::Conflict { stage: Some("ended"), .. })),
        "before its timer fired: {late:?}"
    );
    place.engine().fire_due().await.unwrap();
    let late = place.engine().release(&alice, view.request.id).await;
    assert!(matches!(late, Err(EngineError::Conflict { stage: Some("ended"), .. })), "after its timer fired: {late:?}");
}

async fn a_lease_that_is_not_renewed_leaves_doubt_and_a_late_report_closes_it() {
    let place = Place::usual().await;
    let (alice, bob) = (place.login("alice").await, place.login("bob").await);
    let view = place.granted(&alice, &bob).await;
    let released = place.engine().release(&alice, view.request.id).await.unwrap();
    place.world.clock.advance(Duration::from_secs(20));
    place.engine().renew(&alice, released.release).await.unwrap();
    place.world.clock.advance(Duration::from_secs(20));
    place.engine().fire_due().await.unwrap();
    let view = place.engine().show(&alice, view.request.id).await.unwrap();
    assert!(matches!(view.releases[0].state, ReleaseState::Intended { .. }), "it was renewed");
    place.world.clock.advance(Duration::from_secs(11));
    place.engine().fire_due().await.unwrap();
    let view = place.engine().show(&alice, view.request.id).await.unwrap();
    assert!(matches!(view.releases[0].state, ReleaseState::InDoubt { .. }));
    assert!(place.engine().renew(&alice, released.release).await.is_err());
    let view = place.engine().report(&alice, released.release, "exit 0").await.unwrap();
    assert!(matches!(view.releases[0].state, ReleaseState::Done { .. }));
}

async fn a_held_call_ends_when_the_request_moves() {
    let place = Place::usual().await;
    let (alice, bob) = (place.login("alice").await, place.login("bob").await);
    let view = place.asked(&alice).await;
    let waiting = {
        let (engine, alice, id, version) =
            (place.engine().clone(), alice.clone(), view.request.id, view.request.version);
        async move { engine.wait(&alice, id, version, Duration::from_secs(30)).await }
    };
    let (woken, _) = tokio::join!(waiting, place.world.answer(&bob, &view));
    assert!(woken.unwrap().request.grant().is_some());
}

async fn strangers_see_nothing() {
    let place = Place::usual().await;
    let (alice, dave) = (place.login("alice").await, place.login("dave").await);
    let view = place.asked(&alice).await;
    let engine = place.engine();
    assert!(matches!(engine.show(&dave, view.request.id).await, Err(EngineError::NotFound(_))));
    assert!(matches!(engine.deny(&dave, view.request.id, None).await, Err(EngineError::NotFound(_))));
    assert!(matches!(place.world.answer(&dave, &view).await, Err(EngineError::NotFound(_))));
    assert!(matches!(engine.receipt(&dave, view.request.id, Duration::ZERO).await, Err(EngineError::NotFound(_))));
    assert!(matches!(engine.people(&dave, None, 10).await, Err(EngineError::NotPermitted(_))));
}
