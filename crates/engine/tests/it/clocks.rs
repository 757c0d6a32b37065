//! What a clock that steps can do, and what it can't. Of two clocks that disagree see `replicas`.

use std::time::Duration;

use countersign_core::decide::Rejection;
use countersign_core::ids::RequestId;
use countersign_core::request::Stage;
use countersign_engine::flow::{Proof, View};
use countersign_engine::testing::{PASSWORD, command};
use countersign_engine::{Clock, EngineError};
use countersign_store::EntriesOf;

use crate::support::{Place, on_both};

on_both!(
    attack_11_a_clock_that_steps_back_brings_nothing_back,
    attack_11b_a_clock_that_jumps_an_hour_and_back_lets_nothing_go,
);

/// The code is used, or it is not even looked at: the counter of the last try is of a time to come.
fn counts_for_nothing(result: &Result<View, EngineError>) -> bool {
    matches!(
        result,
        Err(EngineError::TooManyAttempts { .. }
            | EngineError::AnswerRejected { why: Rejection::UsedCode | Rejection::WrongFactor, .. })
    )
}

fn is_over(result: &Result<View, EngineError>) -> bool {
    matches!(result, Err(EngineError::AnswerRejected { why: Rejection::Over(_), .. }))
}

async fn ask(place: &Place, alice: &countersign_core::principal::Principal, word: &str) -> View {
    place.engine().ask(alice, &command(&[word], Some("to see"))).await.unwrap().into_view()
}

/// Steps only forwards, and tells each thing once.
async fn is_in_order(place: &Place, id: RequestId) {
    let entries = place.engine().store().load(EntriesOf(id)).await.unwrap();
    assert!(entries.windows(2).all(|two| two[0].at < two[1].at), "{id}");
}

async fn attack_11_a_clock_that_steps_back_brings_nothing_back() {
    let place = Place::usual().await;
    let (alice, bob) = (place.login("alice").await, place.login("bob").await);
    let engine = place.engine();
    let back = async |by: Duration| place.world.clock.set(place.world.clock.now().minus(by));

    // A code that was used, and one that was not shown yet then.
    let used = ask(&place, &alice, "used").await;
    let code = place.world.code("bob");
    let used = place.world.answer(&bob, &used).await.unwrap();
    let other = ask(&place, &alice, "other").await;
    back(Duration::from_secs(90)).await;
    let shown = engine.show(&bob, other.request.id).await.unwrap();
    let replay = Proof { challenge: shown.you.challenge.unwrap(), code, digest: shown.request.digest };
    let refused = engine.answer(&bob, other.request.id, &replay).await;
    assert!(counts_for_nothing(&refused), "{refused:?}");
    // Of the step that the clock says it is now: older than the last one used.
    let refused = place.world.answer(&bob, &shown).await;
    assert!(counts_for_nothing(&refused), "{refused:?}");
    place.world.clock.advance(Duration::from_secs(90));

    // A use of a grant; its end; a deadline.
    engine.release(&alice, used.request.id).await.unwrap();
    place.next_code();
    let ended = place.granted(&alice, &bob).await;
    place.world.clock.advance(Duration::from_mins(31));
    engine.sequence().await.unwrap();
    engine.fire_due().await.unwrap();
    back(Duration::from_mins(31)).await;
    for id in [used.request.id, ended.request.id] {
        let refused = engine.release(&alice, id).await;
        assert!(matches!(refused, Err(EngineError::Conflict { .. })), "{refused:?}");
    }
    let refused = engine.show(&bob, other.request.id).await.unwrap();
    assert!(matches!(refused.request.stage, Stage::Expired { .. }));
    let refused = engine.answer(&bob, other.request.id, &replay).await;
    assert!(is_over(&refused), "{refused:?}");

    // What happens in the time that comes again is told after what happened before.
    let again = ask(&place, &alice, "again").await;
    back(Duration::from_mins(1)).await;
    engine.cancel(&alice, again.request.id).await.unwrap();
    for view in [&used, &ended, &other, &again] {
        is_in_order(&place, view.request.id).await;
    }
    engine.sequence().await.unwrap();
}

async fn attack_11b_a_clock_that_jumps_an_hour_and_back_lets_nothing_go() {
    let place = Place::usual().await;
    let (alice, bob) = (place.login("alice").await, place.login("bob").await);
    let engine = place.engine();
    let session = engine.login("alice", PASSWORD.into(), None, "127.0.0.1").await.unwrap().token;
    let waiting = ask(&place, &alice, "waiting").await;
    let granted = place.granted(&alice, &bob).await;
    let shown = engine.show(&bob, waiting.request.id).await.unwrap();
    let code = place.world.code("bob");

    place.world.clock.advance(Duration::from_hours(1));
    engine.sequence().await.unwrap();
    // No timer has fired yet: the clock is looked at as well.
    let refused = engine.release(&alice, granted.request.id).await;
    assert!(matches!(refused, Err(EngineError::Conflict { stage: Some("ended"), .. })), "{refused:?}");
    let proof = Proof { challenge: shown.you.challenge.unwrap(), code, digest: shown.request.digest };
    let refused = engine.answer(&bob, waiting.request.id, &proof).await;
    assert!(is_over(&refused), "{refused:?}");
    assert!(matches!(engine.authenticate(&session, "127.0.0.1").await, Err(EngineError::Unauthenticated)));
    engine.fire_due().await.unwrap();
    // Approved while the clock was wrong: a right of the wrong time, with an end.
    let late = ask(&place, &alice, "late").await;
    place.world.answer(&bob, &late).await.unwrap();

    place.world.clock.set(place.world.clock.now().minus(Duration::from_hours(1)));
    for (view, stage) in [(&granted, "ended"), (&waiting, "expired")] {
        let refused = engine.release(&alice, view.request.id).await;
        assert!(
            matches!(refused, Err(EngineError::Conflict { stage: Some(found), .. }) if found == stage),
            "{stage}: {refused:?}"
        );
    }
    // The code of the hour to come is used, and so are all that come before it.
    place.next_code();
    let other = ask(&place, &alice, "other").await;
    let refused = place.world.answer(&bob, &other).await;
    assert!(counts_for_nothing(&refused), "{refused:?}");
    for view in [&waiting, &granted, &late, &other] {
        is_in_order(&place, view.request.id).await;
    }
}
