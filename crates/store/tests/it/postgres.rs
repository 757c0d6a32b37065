//! What only a server can do: go away, hang, come back, be somebody else, and serve two processes.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use countersign_core::changes::{OutboxMessage, Timer, TimerKind, Write};
use countersign_core::ids::OutboxId;
use countersign_store::{
    AccountById, Commit, CommitError, Expectation, Fence, ListGroups, PersonById, Store, StoreError, SystemWrite,
};
use countersign_testing_postgres::{Cluster, Proxy, Until};

use crate::support::{Asked, Db, NOW, account, at, person, request, token, write};

fn people(numbers: std::ops::Range<u8>) -> Commit {
    Commit::from(numbers.map(|n| Write::InsertPerson(person(n))).collect::<Vec<_>>())
}

/// Asks until it is so; the test's own time limit ends what never is.
async fn until<F: Future<Output = bool>>(so: impl Fn() -> F) {
    while !so().await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn is_there(store: &Store, n: u8) -> bool {
    store.load(PersonById(person(n).id)).await.unwrap().is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_between_commits_is_nobodys_concern() {
    let cluster = Cluster::start();
    let store = Store::open(&at(&cluster.database())).await.unwrap();
    store.commit(people(0..1)).await.unwrap();
    cluster.restart();
    store.commit(people(1..2)).await.unwrap();
    cluster.restart();
    assert!(is_there(&store, 0).await && is_there(&store, 1).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_is_away_and_comes_back_with_what_it_acknowledged() {
    let cluster = Cluster::start();
    let store = Store::open(&at(&cluster.database())).await.unwrap();
    store.commit(people(0..1)).await.unwrap();
    cluster.kill9();
    assert!(matches!(store.commit(people(1..2)).await, Err(CommitError::Away { .. })));
    assert!(matches!(store.load(ListGroups).await, Err(StoreError::Away { .. })));
    assert!(matches!(store.acquire_lease("l", "o", NOW, NOW).await, Err(CommitError::Away { .. })));
    assert!(matches!(store.database_time().await, Err(StoreError::Away { .. })));
    cluster.launch();
    assert!(is_there(&store, 0).await);
    assert!(!is_there(&store, 1).await, "away means that nothing was done");
    store.commit(people(1..2)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_server_is_an_answer_and_not_a_silence() {
    let cluster = Cluster::start();
    let config = at(&cluster.database());
    let store = Store::open(&config).await.unwrap();
    store.commit(people(0..1)).await.unwrap();
    cluster.pause();
    // More callers than there are connections, on old ones and on new ones.
    let commits = (1..24).map(|n| {
        let store = store.clone();
        tokio::spawn(async move { store.commit(people(n..n + 1)).await })
    });
    for commit in commits.collect::<Vec<_>>() {
        assert!(matches!(commit.await.unwrap(), Err(CommitError::Away { .. })));
    }
    assert!(matches!(store.load(ListGroups).await, Err(StoreError::Away { .. })));
    assert!(matches!(Store::open(&config).await, Err(StoreError::Away { .. })));
    cluster.resume();
    until(async || store.load(ListGroups).await.is_ok()).await;
    for n in 1..24 {
        assert!(!is_there(&store, n).await, "{n}");
    }
    store.commit(people(1..2)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_around_commit_leaves_the_outcome_unknown_and_the_service_alive() {
    let cluster = Cluster::shared();
    let name = cluster.create("TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'");
    let proxy = Proxy::start(cluster.port());
    let store = Store::open(&at(&format!("postgresql://countersign@127.0.0.1:{}/{name}", proxy.port()))).await.unwrap();
    for (n, cut, stands) in [(1, Until::CommitHeld(0), false), (2, Until::CommitSent(0), true)] {
        proxy.cut(cut);
        assert_eq!(store.commit(people(n..n + 1)).await, Err(CommitError::Unknown));
        assert_eq!(proxy.commits(), 1);
        if stands {
            until(async || is_there(&store, n).await).await;
        } else {
            assert!(!is_there(&store, n).await);
        }
        store.commit(people(10 * n..10 * n + 1)).await.unwrap();
    }
    let alive = poll_fn(|cx| Poll::Ready(pin!(store.fatal()).poll(cx).is_pending())).await;
    assert!(alive, "another look tells, so the process need not end");
    // Cut while nothing is on the way: nobody notices.
    proxy.cut_all();
    store.commit(people(30..31)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_starts_at_once_make_one_schema() {
    let db = Db::postgres();
    let starts: Vec<_> = (0..6)
        .map(|_| {
            let config = db.config.clone();
            tokio::spawn(async move { Store::open(&config).await })
        })
        .collect();
    for start in starts {
        let store = start.await.unwrap().unwrap();
        assert_eq!(store.load(ListGroups).await.unwrap(), []);
    }
    let history = db.sql("SELECT version, count(*) FROM refinery_schema_history GROUP BY version ORDER BY version");
    assert!(history.lines().all(|line| line.ends_with("|1")) && history.starts_with("1|"), "{history}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_outlives_the_start_of_another_process() {
    let db = Db::postgres();
    let first = db.open().await;
    let hour = NOW.plus(Duration::from_hours(1));
    assert_eq!(first.acquire_lease("sequencer", "one", NOW, hour).await, Ok(Some(Fence(1))));
    let second = db.open().await;
    assert_eq!(second.acquire_lease("sequencer", "two", NOW, hour).await, Ok(None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_sync_is_refused() {
    let cluster = Cluster::start();
    let config = at(&cluster.database());
    Store::open(&config).await.unwrap();
    for setting in ["fsync", "full_page_writes"] {
        // psql sends what it is given in one transaction, which this is not for.
        let set = |to: &str| {
            cluster.psql("postgres", &format!("ALTER SYSTEM SET {setting} = {to}"));
            cluster.psql("postgres", "SELECT pg_reload_conf()");
        };
        set("off");
        until(async || Store::open(&config).await.is_err()).await;
        let error = Store::open(&config).await.unwrap_err();
        assert!(matches!(&error, StoreError::Unfit(why) if why.contains("fsync")), "{error}");
        set("on");
        until(async || Store::open(&config).await.is_ok()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_sync_whatever_the_database_prefers() {
    for (preferred, in_force) in
        [("off", "on"), ("local", "on"), ("remote_write", "on"), ("remote_apply", "remote_apply")]
    {
        let db = Db::postgres();
        let name = db.sql("SELECT current_database()");
        db.sql(&format!("ALTER DATABASE {name} SET synchronous_commit = {preferred}"));
        let setting = db.open().await.load(Asked("SELECT current_setting('synchronous_commit')")).await.unwrap();
        assert_eq!(setting, [in_force]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_sorts_by_a_language_is_refused_with_the_words_to_make_one() {
    let cluster = Cluster::shared();
    for how in
        ["ENCODING 'UTF8' LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8'", "ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'"]
    {
        let name = cluster.create(&format!("TEMPLATE template0 {how}"));
        let error = Store::open(&at(&cluster.url(&name))).await.unwrap_err();
        assert!(error.to_string().contains("CREATE DATABASE countersign TEMPLATE template0"), "{error}");
        assert_eq!(cluster.psql(&name, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), "0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_is_a_conflict_and_both_get_through() {
    let db = Db::postgres();
    let store = db.open().await;
    store.commit(people(1..3)).await.unwrap();
    // Takes the second row, waits until the store waits for it, and wants the first.
    let other = format!(
        "SET deadlock_timeout = '1h'; BEGIN; UPDATE persons SET active = active WHERE id = '{}'; \
        DO $$ BEGIN WHILE NOT EXISTS (SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
        AND datname = current_database()) LOOP PERFORM pg_sleep(0.01); PERFORM pg_stat_clear_snapshot(); END LOOP; END $$; \
        UPDATE persons SET active = active WHERE id = '{}'; COMMIT",
        person(2).id,
        person(1).id
    );
    let held = "SELECT count(*) FROM pg_locks WHERE relation = 'persons'::regclass AND mode = 'RowExclusiveLock'";
    std::thread::scope(|scope| {
        let other = scope.spawn(|| db.sql(&other));
        tokio::task::block_in_place(|| {
            while db.sql(held) == "0" {
                std::thread::sleep(Duration::from_millis(10));
            }
            let both = || {
                let next = [1, 2].map(|n| {
                    let mut next = person(n);
                    next.version += 1;
                    Write::UpdatePerson(next)
                });
                tokio::runtime::Handle::current().block_on(store.commit(Commit::from(next.to_vec())))
            };
            assert_eq!(both(), Err(CommitError::Conflict(Expectation::Contended)));
            other.join().unwrap();
            assert_eq!(both(), Ok(()));
        });
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_somebody_sits_on_is_busy() {
    let db = Db::postgres();
    let store = db.open().await;
    store.commit(people(1..2)).await.unwrap();
    let mut next = person(1);
    next.version += 1;
    let commit = || Commit::from(vec![Write::UpdatePerson(next.clone())]);
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND pid <> pg_backend_pid() \
        AND datname = current_database()";
    let sleeping =
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()";
    std::thread::scope(|scope| {
        let other = scope.spawn(|| db.sql("BEGIN; UPDATE persons SET active = active; SELECT pg_sleep(3600)"));
        tokio::task::block_in_place(|| {
            let runtime = tokio::runtime::Handle::current();
            while db.sql(sleeping) == "0" {
                std::thread::sleep(Duration::from_millis(10));
            }
            assert_eq!(runtime.block_on(store.commit(commit())), Err(CommitError::Busy));
            db.sql(cut);
            assert!(other.join().is_err(), "it was ended from outside");
            assert_eq!(runtime.block_on(store.commit(commit())), Ok(()));
        });
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_never_claim_the_same() {
    const COUNT: u8 = 200;
    let db = Db::postgres();
    let stores = [db.open().await, db.open().await];
    let by = account(1, None);
    let messages = (0..COUNT).map(|n| {
        Write::InsertOutbox(OutboxMessage {
            id: OutboxId::new(NOW, [n; 10]),
            topic: "notice.asked".to_owned(),
            payload: "{}".to_owned(),
            due_at: NOW,
        })
    });
    let timers = (0..COUNT).map(|n| Write::SetTimer(Timer::request(TimerKind::GrantEnd, request(n, &by, &[]).id, NOW)));
    write(&stores[0], messages.chain(timers).collect()).await;
    let until = NOW.plus(Duration::from_mins(1));
    let claims: Vec<_> = (0..16)
        .map(|n: usize| {
            let store = stores[n % 2].clone();
            tokio::spawn(async move {
                let (mut messages, mut timers) = (Vec::new(), Vec::new());
                loop {
                    let some = store.claim_outbox(&n.to_string(), NOW, until, 3).await.unwrap();
                    let other = store.claim_timers(NOW, until, 3).await.unwrap();
                    assert!(some.len() <= 3 && other.len() <= 3, "no more than was asked for");
                    if some.is_empty() && other.is_empty() {
                        return (messages, timers);
                    }
                    messages.extend(some.into_iter().map(|claimed| (claimed.message.id, claimed.attempts)));
                    timers.extend(other.into_iter().map(|timer| timer.subject));
                }
            })
        })
        .collect();
    let (mut messages, mut timers) = (Vec::new(), Vec::new());
    for claim in claims {
        let (some, other) = claim.await.unwrap();
        messages.extend(some);
        timers.extend(other);
    }
    assert!(messages.iter().all(|(_, attempts)| *attempts == 1));
    assert_eq!((messages.len(), timers.len()), (usize::from(COUNT), usize::from(COUNT)));
    assert_eq!(messages.into_iter().collect::<BTreeSet<_>>().len(), usize::from(COUNT));
    assert_eq!(timers.into_iter().collect::<BTreeSet<_>>().len(), usize::from(COUNT));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_stops_waiting_takes_nothing_back_and_leaves_nothing_open() {
    let db = Db::postgres();
    let store = db.open().await;
    for n in 0..20 {
        let mut commit = Box::pin(store.commit(people(n..n + 1)));
        assert!(poll_fn(|cx| Poll::Ready(commit.as_mut().poll(cx).is_pending())).await);
        drop(commit);
        let mut load = Box::pin(store.load(AccountById(account(n, None).id)));
        assert!(poll_fn(|cx| Poll::Ready(load.as_mut().poll(cx).is_pending())).await);
        drop(load);
    }
    for n in 0..20 {
        until(async || is_there(&store, n).await).await;
    }
    let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
    until(async || db.sql(open) == "0").await;
    store.commit(people(30..31)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_wakes_the_other_process_and_a_cut_connection_only_delays_it() {
    let db = Db::postgres();
    let (here, there) = (db.open().await, db.open().await);
    let by = account(1, None);
    let tokens = (0..4).map(|n| Write::InsertToken(token(n, &by)));
    write(&here, std::iter::once(Write::InsertAccount(by.clone())).chain(tokens).collect()).await;
    let listening = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend' \
        AND query IN ('SET synchronous_commit = off; LISTEN countersign', 'NOTIFY countersign', '')";
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()";
    for n in 0..4 {
        until(async || db.sql(listening) == "2").await;
        let other = there.clone();
        let woken = tokio::spawn(async move { other.wait_changed().await });
        // Told by somebody else's program or by a commit; the first may come before anybody waits.
        until(async || {
            db.sql("NOTIFY countersign");
            woken.is_finished()
        })
        .await;
        let other = there.clone();
        let woken = tokio::spawn(async move { other.wait_changed().await });
        write(&here, vec![Write::RevokeToken { id: token(n, &by).id, at: NOW }]).await;
        woken.await.unwrap();
        if n % 2 == 1 {
            db.sql(cut);
            assert!(here.load(ListGroups).await.is_ok() || here.load(ListGroups).await.is_ok());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clock_is_the_servers() {
    let db = Db::postgres();
    let store = db.open().await;
    let reading =
        || -> i64 { db.sql("SELECT floor(extract(epoch FROM clock_timestamp()) * 1000000)::bigint").parse().unwrap() };
    let before = reading();
    let time = store.database_time().await.unwrap().unwrap().as_micros();
    assert!((before..=reading()).contains(&time), "{time}");
    assert_eq!(Db::sqlite().open().await.database_time().await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_goes_out_in_the_clear_to_nobody() {
    let hba = [
        "host all plain 127.0.0.1/32 password",
        "host all hashed 127.0.0.1/32 md5",
        "host all scram 127.0.0.1/32 scram-sha-256",
    ];
    let cluster = Cluster::start_with(&[], &hba);
    let name = cluster.create("TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'");
    cluster.psql(
        &name,
        "CREATE ROLE scram LOGIN PASSWORD 'hunter2'; CREATE ROLE plain LOGIN PASSWORD 'hunter2'; SET password_encryption = 'md5'; \
        CREATE ROLE hashed LOGIN PASSWORD 'hunter2'; GRANT ALL ON SCHEMA public TO PUBLIC",
    );
    let open = async |user: &str, password: &str| {
        let url = cluster.tcp_url(user, &name);
        let config = countersign_store::PostgresConfig::new(&url, Some(password.into()), None).unwrap();
        Store::open(&countersign_store::StoreConfig::Postgres(config)).await
    };
    for user in ["plain", "hashed"] {
        let error = open(user, "hunter2").await.unwrap_err().to_string();
        assert!(error.contains("scram-sha-256") && !error.contains("hunter2"), "{user}: {error}");
    }
    let error = open("scram", "hunter3").await.unwrap_err().to_string();
    assert!(error.contains("28P01") && !error.contains("hunter3"), "{error}");
    open("scram", "hunter2").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_may_not_make_tables_is_told_what_to_grant() {
    let cluster = Cluster::shared();
    let name = cluster.create("TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'");
    cluster.psql(&name, "CREATE ROLE poor LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC");
    let error = Store::open(&at(&cluster.tcp_url("poor", &name))).await.unwrap_err();
    assert!(error.to_string().contains("grant it CREATE"), "{error}");
    let standby = "ALTER DATABASE NAME SET default_transaction_read_only = on".replace("NAME", &name);
    cluster.psql("postgres", &standby);
    let error = Store::open(&at(&cluster.url(&name))).await.unwrap_err();
    assert!(matches!(error, StoreError::Away { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_for_nobody_costs_no_transaction() {
    let db = Db::postgres();
    let store = db.open().await;
    let hold = SystemWrite::HoldLease { name: "x".to_owned(), owner: "y".to_owned(), fence: Fence(1) };
    assert!(store.commit(Commit::from(vec![hold])).await.is_err());
    assert_eq!((store.stats().transactions, store.stats().commits), (0, 0));
    store.commit(people(1..2)).await.unwrap();
    assert_eq!((store.stats().transactions, store.stats().commits), (1, 1));
}
