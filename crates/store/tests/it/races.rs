//! Many want the same thing at once; one gets it, and that stays so after a restart.

use countersign_core::changes::Write;
use countersign_core::identity::AuthenticatorState;
use countersign_core::throttle::{Throttle, ThrottleKey};
use countersign_store::{Commit, CommitError, Expectation, RequestById, Store, ThrottleFor};

use crate::support::{
    Db, NOW, account, answered, authenticator, evidence, granted, group, on_both, person, request, write,
};

on_both! {
    one_of_64_writers_gets_a_version,
    one_of_64_uses_of_a_code_counts_for_ever,
    parallel_guesses_form_a_line,
    failures_from_many_sources_add_up_and_a_success_ends_the_row,
    a_person_answers_once_and_nothing_of_the_second_answer_stands,
    one_policy_is_active_whatever_races,
}

const RACERS: usize = 64;

/// Commits all at once from as many tasks; who won, and what the others were told.
async fn race(store: &Store, commits: Vec<Vec<Write>>) -> (usize, Vec<CommitError>) {
    let tasks: Vec<_> = commits
        .into_iter()
        .map(|writes| {
            let store = store.clone();
            tokio::task::spawn_blocking(move || {
                tokio::runtime::Builder::new_current_thread()
                    .build()
                    .unwrap()
                    .block_on(store.commit(Commit::from(writes)))
            })
        })
        .collect();
    let (mut won, mut lost) = (0, Vec::new());
    for task in tasks {
        match task.await.unwrap() {
            Ok(()) => won += 1,
            Err(error) => lost.push(error),
        }
    }
    (won, lost)
}

async fn one_of_64_writers_gets_a_version(db: Db) {
    let store = db.open().await;
    let by = account(1, None);
    let old = request(1, &by, &[]);
    write(&store, vec![Write::InsertAccount(by), Write::InsertRequest(Box::new(old.clone()))]).await;
    let commits = (0..RACERS)
        .map(|n| {
            let mut new = granted(old.clone(), 1);
            new.reason = Some(format!("racer {n}"));
            vec![Write::UpdateRequest { request: Box::new(new), from: 1 }]
        })
        .collect();
    let (won, lost) = race(&store, commits).await;
    assert_eq!(won, 1);
    let conflict = CommitError::Conflict(Expectation::RequestVersion { id: old.id });
    assert_eq!(lost, vec![conflict; RACERS - 1]);
    let winner = store.load(RequestById(old.id)).await.unwrap().unwrap();
    assert_eq!(winner.version, 2);
    drop(store);
    let store = db.open().await;
    assert_eq!(store.load(RequestById(old.id)).await.unwrap(), Some(winner));
}

async fn one_of_64_uses_of_a_code_counts_for_ever(db: Db) {
    let store = db.open().await;
    let bob = person(1);
    let totp = authenticator(1, &bob, AuthenticatorState::Active);
    write(&store, vec![Write::InsertPerson(bob), Write::InsertAuthenticator(totp.clone())]).await;
    let consume = |step| vec![Write::ConsumeStep { authenticator: totp.id, step }];
    let (won, lost) = race(&store, vec![consume(57); RACERS]).await;
    assert_eq!(won, 1);
    assert_eq!(lost.len(), RACERS - 1);
    drop(store);
    let store = db.open().await;
    let used = Err(CommitError::Conflict(Expectation::StepUsed { authenticator: totp.id }));
    assert_eq!(store.commit(Commit::from(consume(57))).await, used, "after a restart");
    assert_eq!(store.commit(Commit::from(consume(54))).await, used, "after the clock stepped back");
    assert_eq!(store.commit(Commit::from(consume(58))).await, Ok(()));
}

async fn parallel_guesses_form_a_line(db: Db) {
    let store = db.open().await;
    let key = ThrottleKey { subject: "totp:x".to_owned(), source: "192.0.2.1".to_owned() };
    let first = Throttle::new(key.clone()).failed(NOW);
    let (won, lost) = race(&store, vec![vec![Write::Throttle(first)]; RACERS]).await;
    assert_eq!((won, lost.len()), (1, RACERS - 1));
    let second = store.load(ThrottleFor(key.clone())).await.unwrap();
    assert_eq!((second.version, second.failures, second.subject_failures), (1, 1, 1));
    let (won, lost) = race(&store, vec![vec![Write::Throttle(second.failed(NOW))]; RACERS]).await;
    assert_eq!(won, 1);
    let conflict = CommitError::Conflict(Expectation::ThrottleVersion { key: key.clone() });
    assert_eq!(lost, vec![conflict; RACERS - 1]);
    assert_eq!(store.load(ThrottleFor(key)).await.unwrap().subject_failures, 2);
}

async fn failures_from_many_sources_add_up_and_a_success_ends_the_row(db: Db) {
    let store = db.open().await;
    let key = |n: usize| ThrottleKey { subject: "totp:x".to_owned(), source: format!("192.0.2.{n}") };
    let commits = (0..RACERS).map(|n| vec![Write::Throttle(Throttle::new(key(n)).failed(NOW))]).collect();
    let (won, _) = race(&store, commits).await;
    assert_eq!(won, RACERS);
    let total = i64::try_from(RACERS).unwrap();
    let mut again = store.load(ThrottleFor(key(3))).await.unwrap();
    assert_eq!((again.failures, again.subject_failures), (1, total));
    // A used code is neither a failure nor a success.
    again.version += 1;
    write(&store, vec![Write::Throttle(again)]).await;
    let loaded = store.load(ThrottleFor(key(3))).await.unwrap();
    assert_eq!((loaded.version, loaded.subject_failures), (2, total));
    write(&store, vec![Write::Throttle(loaded.passed(NOW))]).await;
    let loaded = store.load(ThrottleFor(key(4))).await.unwrap();
    assert_eq!((loaded.failures, loaded.subject_failures, loaded.succeeded), (1, 0, false));
    write(&store, vec![Write::ClearThrottles { subject: "totp:x".to_owned() }]).await;
    let loaded = store.load(ThrottleFor(key(3))).await.unwrap();
    assert!(loaded.succeeded && loaded.version == 4, "who succeeded stays known, and versions go on: {loaded:?}");
}

async fn a_person_answers_once_and_nothing_of_the_second_answer_stands(db: Db) {
    let store = db.open().await;
    let (by, bob) = (account(1, None), person(1));
    let totp = authenticator(1, &bob, AuthenticatorState::Active);
    let asked = request(1, &by, &[group("dba")]);
    let start = vec![
        Write::InsertAccount(by),
        Write::InsertPerson(bob.clone()),
        Write::InsertAuthenticator(totp.clone()),
        Write::InsertRequest(Box::new(asked.clone())),
    ];
    write(&store, start).await;
    let once = answered(asked.clone(), &bob, &totp);
    let answer = |request: &countersign_core::request::Request, from, step| {
        vec![
            Write::UpdateRequest { request: Box::new(request.clone()), from },
            Write::InsertEvidence { request: asked.id, evidence: evidence(&bob, &totp, step) },
            Write::ConsumeStep { authenticator: totp.id, step },
        ]
    };
    write(&store, answer(&once, 1, 1)).await;
    let twice = answered(once.clone(), &bob, &totp);
    let again = store.commit(Commit::from(answer(&twice, 2, 2))).await;
    assert_eq!(again, Err(CommitError::Conflict(Expectation::AlreadyAnswered { request: asked.id, person: bob.id })));
    assert_eq!(store.load(RequestById(asked.id)).await.unwrap(), Some(once));
    write(&store, vec![Write::ConsumeStep { authenticator: totp.id, step: 2 }]).await;
}

async fn one_policy_is_active_whatever_races(db: Db) {
    use countersign_core::digest::Digest;
    let store = db.open().await;
    let texts: Vec<_> = (0..RACERS).map(|n| format!("policy {n}")).collect();
    let commits = |from: Option<Digest>| {
        texts
            .iter()
            .map(|text| {
                let digest = Digest::sha256(text.as_bytes());
                vec![
                    Write::ActivatePolicy { digest, from, at: NOW },
                    Write::InsertPolicy { digest, text: text.clone(), at: NOW },
                ]
            })
            .collect()
    };
    assert_eq!(race(&store, commits(None)).await.0, 1);
    let active = store.load(countersign_store::ActivePolicy).await.unwrap().unwrap();
    let (won, lost) = race(&store, commits(Some(active.digest))).await;
    // The one that names itself changes nothing and may win before or after the other one.
    assert!((1..=2).contains(&won), "{won}");
    assert!(lost.iter().all(|error| *error == CommitError::Conflict(Expectation::PolicyMoved)));
}
