//! Guessing, by one and by many.

use std::time::Duration;

use countersign_core::decide::Rejection;
use countersign_engine::EngineError;
use countersign_engine::flow::Proof;
use countersign_engine::testing::PASSWORD;
use secrecy::ExposeSecret;

use crate::support::{Place, on_both};

on_both!(
    sixty_four_parallel_wrong_codes_are_five_tries,
    sixty_four_parallel_wrong_passwords_are_five_tries_for_known_and_unknown_alike,
    fifty_failures_close_a_password_to_strangers_and_not_to_where_its_owner_has_been,
    an_unknown_name_and_a_wrong_password_read_the_same,
    attempts_inside_a_delay_write_nothing,
    enrolment_wants_two_different_codes_and_replaces_the_old_factor,
    a_session_ends_idle_after_an_hour_and_in_any_case_after_twelve,
);

async fn sixty_four_parallel_wrong_codes_are_five_tries() {
    let place = Place::usual().await;
    let (alice, bob) = (place.login("alice").await, place.login("bob").await);
    let view = place.asked(&alice).await;
    let shown = place.engine().show(&bob, view.request.id).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let proof =
            Proof { challenge: shown.you.challenge.unwrap(), code: "000000".into(), digest: shown.request.digest };
        let (engine, bob) = (place.engine().clone(), bob.clone());
        tasks.spawn(async move { engine.answer(&bob, shown.request.id, &proof).await });
    }
    let (mut verdicts, mut held) = (0, 0);
    for result in tasks.join_all().await {
        match result {
            Err(EngineError::AnswerRejected { why: Rejection::WrongFactor, .. }) => verdicts += 1,
            Err(EngineError::TooManyAttempts { .. }) => held += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((verdicts, held), (5, 59));
    // Inside the delay even the right code is not looked at; after it, it is.
    assert!(matches!(place.world.answer(&bob, &view).await, Err(EngineError::TooManyAttempts { .. })));
    place.world.clock.advance(Duration::from_secs(2));
    assert!(place.world.answer(&bob, &view).await.is_ok());
}

async fn sixty_four_parallel_wrong_passwords_are_five_tries_for_known_and_unknown_alike() {
    let place = Place::usual().await;
    for name in ["bob", "nobody-of-that-name"] {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..64 {
            let engine = place.engine().clone();
            tasks.spawn(async move { engine.login(name, "wrong wrong wrong".into(), None, "10.0.0.9").await });
        }
        let (mut verdicts, mut held) = (0, 0);
        for result in tasks.join_all().await {
            match result {
                Err(EngineError::LoginRefused) => verdicts += 1,
                Err(EngineError::TooManyAttempts { .. }) => held += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((verdicts, held), (5, 59), "{name}");
    }
    // Bob himself, elsewhere, is not kept out.
    assert!(place.engine().login("bob", PASSWORD.into(), None, "127.0.0.1").await.is_ok());
}

async fn fifty_failures_close_a_password_to_strangers_and_not_to_where_its_owner_has_been() {
    let place = Place::usual().await;
    place.login("bob").await;
    for n in 0..50 {
        let source = format!("10.0.{n}.1");
        assert!(place.engine().login("bob", "wrong wrong wrong".into(), None, &source).await.is_err());
    }
    assert!(matches!(place.engine().login("bob", PASSWORD.into(), None, "10.9.9.9").await, Err(EngineError::Closed)));
    assert!(place.engine().login("bob", PASSWORD.into(), None, "127.0.0.1").await.is_ok());
}

async fn an_unknown_name_and_a_wrong_password_read_the_same() {
    let place = Place::usual().await;
    let texts: Vec<String> = {
        let mut texts = Vec::new();
        for name in ["bob", "nobody", "local:server", "al ice", ""] {
            texts.push(
                place.engine().login(name, "wrong wrong wrong".into(), None, "10.1.1.1").await.unwrap_err().to_string(),
            );
        }
        texts
    };
    assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
}

async fn attempts_inside_a_delay_write_nothing() {
    let place = Place::usual().await;
    for _ in 0..5 {
        drop(place.engine().login("bob", "wrong wrong wrong".into(), None, "10.0.0.9").await);
    }
    let before = place.engine().store().stats().commits;
    for _ in 0..100 {
        assert!(place.engine().login("bob", "wrong wrong wrong".into(), None, "10.0.0.9").await.is_err());
    }
    assert_eq!(place.engine().store().stats().commits, before);
}

async fn enrolment_wants_two_different_codes_and_replaces_the_old_factor() {
    let place = Place::usual().await;
    let login = place.engine().login("bob", PASSWORD.into(), Some(place.world.code("bob")), "127.0.0.1").await.unwrap();
    let bob = place.engine().authenticate(&login.token, "127.0.0.1").await.unwrap();
    let enrolment = place.engine().begin_enrolment(&bob).await.unwrap();
    let secret = countersign_keys::otpauth::OtpauthUrl::parse(enrolment.otpauth.expose_secret()).unwrap().secret;
    let now = countersign_engine::Clock::now(&*place.world.clock);
    let current = secret.code_at(now);
    let same = [current.clone(), current.clone()];
    assert!(place.engine().finish_enrolment(&bob, enrolment.authenticator, &same).await.is_err());
    place.next_code();
    let now = countersign_engine::Clock::now(&*place.world.clock);
    let both = [current, secret.code_at(now)];
    place.engine().finish_enrolment(&bob, enrolment.authenticator, &both).await.unwrap();
    // The old secret proves nothing now, and the second code of the enrolment is used up.
    let alice = place.login("alice").await;
    let view = place.asked(&alice).await;
    let shown = place.engine().show(&bob, view.request.id).await.unwrap();
    let proof = |code| Proof { challenge: shown.you.challenge.unwrap(), code, digest: shown.request.digest };
    let old = place.engine().answer(&bob, view.request.id, &proof(place.world.code("bob"))).await;
    assert!(matches!(old, Err(EngineError::AnswerRejected { why: Rejection::WrongFactor, .. })), "{old:?}");
    let used = place.engine().answer(&bob, view.request.id, &proof(secret.code_at(now))).await;
    assert!(matches!(used, Err(EngineError::AnswerRejected { why: Rejection::UsedCode, .. })), "{used:?}");
    place.next_code();
    let now = countersign_engine::Clock::now(&*place.world.clock);
    assert!(place.engine().answer(&bob, view.request.id, &proof(secret.code_at(now))).await.is_ok());
}

async fn a_session_ends_idle_after_an_hour_and_in_any_case_after_twelve() {
    let place = Place::usual().await;
    let login = place.engine().login("bob", PASSWORD.into(), None, "127.0.0.1").await.unwrap();
    let here = || place.engine().authenticate(&login.token, "127.0.0.1");
    for _ in 0..13 {
        place.world.clock.advance(Duration::from_mins(55));
        assert!(here().await.is_ok());
    }
    place.world.clock.advance(Duration::from_mins(5));
    assert!(here().await.is_err(), "twelve hours are over");
    let login = place.engine().login("bob", PASSWORD.into(), None, "127.0.0.1").await.unwrap();
    place.world.clock.advance(Duration::from_hours(1));
    assert!(place.engine().authenticate(&login.token, "127.0.0.1").await.is_err(), "idle for an hour");
}
