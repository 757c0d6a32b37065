//! A database that is older than what is known of it, and how it goes on.

use std::sync::Arc;
use std::time::Duration;

use countersign_core::entry::EntryKind;
use countersign_core::principal::Principal;
use countersign_engine::flow::{Proof, View};
use countersign_engine::testing::{self, ManualClock, PASSWORD, World};
use countersign_engine::{Accepted, Engine, EngineError, Health, accept_restored, mark_restored};
use countersign_keys::master::MasterKey;
use countersign_keys::signing::SigningKey;
use countersign_keys::testing::SeededRandom;
use countersign_ledger::{
    Checkpoint, EpochLink, Receipt, SignError, Signer, Trust, VerifierKey, decode, decode_bundle,
};
use countersign_store::backup;
use countersign_store::testing::{FaultPlan, When};
use countersign_store::{EntryAt, LogStanding, Standing, Store, StoreConfig};
use countersign_testing_postgres::Cluster;
use secrecy::SecretString;

use crate::support::{Db, Place, on_both};

on_both!(
    a_restored_backup_serves_nobody_until_it_is_accepted,
    a_client_with_a_newer_checkpoint_stops_a_database_that_was_put_back_by_hand,
    a_client_of_the_other_branch_stops_a_log_that_has_outgrown_it,
    what_is_signed_by_anybody_else_stops_nothing,
    a_crash_at_any_moment_of_accept_leaves_the_old_state_or_the_new,
    there_is_nothing_to_accept_where_nothing_was_restored,
    no_epoch_is_begun_twice,
);

const SOURCE: &str = "127.0.0.1";

fn master() -> MasterKey {
    MasterKey::generate(&SeededRandom::new(1)).unwrap()
}

fn random() -> SeededRandom {
    // Another one in each test run would do as well; the same key twice in one log would not.
    SeededRandom::new(4711)
}

/// Yesterday, and what was used, spent and taken back since.
struct Today {
    world: World,
    dir: tempfile::TempDir,
    db: Db,
    /// Was revoked today.
    token: SecretString,
    session: SecretString,
    alice: Principal,
    /// Bob approved it today with a code that still shows, and alice used the grant.
    spent: View,
    /// Asked yesterday, and answered by nobody.
    pending: View,
    code: SecretString,
    newest: String,
}

impl Today {
    async fn new() -> Self {
        let place = Place::usual().await;
        let engine = place.engine();
        let login = engine.login("alice", PASSWORD.into(), Some(place.world.code("alice")), SOURCE).await.unwrap();
        let alice = engine.authenticate(&login.token, SOURCE).await.unwrap();
        let token = engine.create_token(&alice, "ci", vec!["*".into()], Duration::from_hours(48)).await.unwrap();
        let bob = place.login("bob").await;
        let spent = place.asked(&alice).await;
        let pending = engine.ask(&alice, &testing::command(&["uptime"], None)).await.unwrap().into_view();
        engine.sequence().await.unwrap();
        let file = place.dir.path().join("yesterday");
        backup::backup(&place.db.config, &file).await.unwrap().publish().unwrap();

        place.next_code();
        let code = place.world.code("bob");
        place.world.answer(&bob, &spent).await.unwrap();
        engine.release(&alice, spent.request.id).await.unwrap();
        engine.revoke_token(&alice, token.id).await.unwrap();
        engine.sequence().await.unwrap();
        let newest = engine.newest_checkpoint().unwrap().text().to_owned();
        let Place { world, dir, db } = place;
        Self { world, dir, db, token: token.token, session: login.token, alice, spent, pending, code, newest }
    }

    fn clock(&self) -> Arc<ManualClock> {
        Arc::clone(&self.world.clock)
    }

    /// Puts yesterday's database in the place of today's. On SQLite the service is stopped for that; on PostgreSQL it is not.
    async fn go_back(&mut self, marked: bool) {
        let file = self.dir.path().join("yesterday");
        if let StoreConfig::Sqlite { path } = &self.db.config {
            let path = path.clone();
            // Whatever still holds the file is closed with the engine.
            let spare = tempfile::tempdir().unwrap();
            let other = World::usual(spare.path()).await.unwrap();
            self.world.engine = other.engine;
            for end in ["", "-wal", "-shm"] {
                let mut name = path.clone().into_os_string();
                name.push(end);
                let _there_or_not = std::fs::remove_file(name);
            }
            self.restore(&file, marked).await;
            self.world.engine = self.start(20).await;
        } else {
            empty(&self.db);
            self.restore(&file, marked).await;
        }
    }

    async fn restore(&self, file: &std::path::Path, marked: bool) {
        let draft = backup::take(file, &self.db.config).await.unwrap();
        backup::check(&draft).await.unwrap();
        if marked {
            let store = Store::open(&StoreConfig::Sqlite { path: draft.path().to_owned() }).await.unwrap();
            mark_restored(&store).await.unwrap();
        }
        match &self.db.config {
            StoreConfig::Postgres(server) => backup::fill(draft, server).await.unwrap(),
            _ => drop(draft.publish().unwrap()),
        }
    }

    async fn start(&self, seed: u64) -> Engine {
        testing::start(self.db.open().await, self.clock(), seed).await.unwrap()
    }

    /// As an operator does it, while the service is stopped on SQLite and goes on on PostgreSQL.
    async fn accept(&mut self, shown: Option<&str>) -> Result<Accepted, EngineError> {
        let now = countersign_engine::Clock::now(self.world.clock.as_ref());
        let sqlite = matches!(self.db.config, StoreConfig::Sqlite { .. });
        let spare = tempfile::tempdir().unwrap();
        if sqlite {
            self.world.engine = World::usual(spare.path()).await.unwrap().engine;
        }
        let store = self.db.open().await;
        let accepted = accept_restored(&store, &master(), &random(), now, shown).await;
        drop(store);
        if sqlite {
            self.world.engine = self.start(30).await;
        }
        accepted
    }

    async fn standing(&self) -> Standing {
        self.world.engine.store().load(LogStanding).await.unwrap().unwrap()
    }

    async fn is_refused(&self) {
        let engine = &self.world.engine;
        assert!(engine.is_stopped());
        assert_eq!(engine.health(), Health::Restored);
        for credential in [&self.token, &self.session] {
            assert!(matches!(engine.authenticate(credential, SOURCE).await, Err(EngineError::Restored)));
        }
        let login = engine.login("alice", PASSWORD.into(), None, SOURCE).await;
        assert!(matches!(login, Err(EngineError::Restored)), "{login:?}");
        // Whoever was let in before finds that nothing can be written.
        let asked = engine.ask(&self.alice, &testing::command(&["never", "asked"], None)).await;
        assert!(matches!(asked, Err(EngineError::Restored)), "{asked:?}");
        let released = engine.release(&self.alice, self.spent.request.id).await;
        assert!(released.is_err());
        let before = self.standing().await;
        self.world.clock.advance(Duration::from_secs(1));
        engine.fire_due().await.unwrap();
        engine.sequence().await.unwrap();
        assert_eq!(self.standing().await, before, "nothing is sequenced and nothing is signed");
        assert!(engine.checkpoint(Some(1)).await.unwrap().is_some(), "what was signed stays to be read");
    }

    /// Nothing that was used, spent or taken back today comes back to life.
    async fn is_over(&self) {
        let engine = &self.world.engine;
        assert!(!engine.is_stopped());
        for credential in [&self.token, &self.session] {
            let let_in = engine.authenticate(credential, SOURCE).await;
            assert!(matches!(let_in, Err(EngineError::Unauthenticated)), "{let_in:?}");
        }
        let alice = self.world.login("alice").await.unwrap();
        let bob = self.world.login("bob").await.unwrap();
        for view in [&self.spent, &self.pending] {
            let now = engine.show(&alice, view.request.id).await.unwrap();
            assert_eq!(now.request.stage.name(), "cancelled");
            assert!(engine.release(&alice, view.request.id).await.is_err());
            // The code of a moment ago, for a request that asks for it.
            let asked =
                engine.ask(&alice, &testing::command(&["ls", view.request.operation.target.as_str()], None)).await;
            let asked = asked.unwrap().into_view();
            let put = engine.show(&bob, asked.request.id).await.unwrap();
            let proof =
                Proof { challenge: put.you.challenge.unwrap(), code: self.code.clone(), digest: put.request.digest };
            let again = engine.answer(&bob, asked.request.id, &proof).await;
            assert!(
                matches!(again, Err(EngineError::AnswerRejected { .. } | EngineError::TooManyAttempts { .. })),
                "{again:?}"
            );
        }
    }

    /// A request from its beginning to its receipt.
    async fn works(&self) -> Receipt {
        let engine = &self.world.engine;
        engine.sequence().await.unwrap();
        self.world.clock.advance(Duration::from_mins(2));
        let (alice, bob) = (self.world.login("alice").await.unwrap(), self.world.login("bob").await.unwrap());
        let asked = engine.ask(&alice, &testing::command(&["id", "-u"], Some("after"))).await.unwrap().into_view();
        self.world.answer(&bob, &asked).await.unwrap();
        let released = engine.release(&alice, asked.request.id).await.unwrap();
        engine.report(&alice, released.release, "exit 0").await.unwrap();
        engine.sequence().await.unwrap();
        receipt(engine, &alice, &asked).await
    }
}

/// Takes the tables away from under whoever uses them.
fn empty(db: &Db) {
    let StoreConfig::Postgres(_) = &db.config else { unreachable!() };
    let name = db.name.clone().unwrap();
    Cluster::shared().psql(&name, "DROP SCHEMA public CASCADE; CREATE SCHEMA public");
}

async fn receipt(engine: &Engine, who: &Principal, view: &View) -> Receipt {
    let json = engine.receipt(who, view.request.id, Duration::ZERO).await.unwrap();
    Receipt::from_json(json.as_bytes()).unwrap()
}

async fn vkey(engine: &Engine) -> VerifierKey {
    engine.log_info().await.unwrap().vkey.parse().unwrap()
}

async fn a_restored_backup_serves_nobody_until_it_is_accepted() {
    let mut today = Today::new().await;
    let old_key = vkey(&today.world.engine).await;
    let old = receipt(&today.world.engine, &today.alice, &today.spent).await;
    today.go_back(true).await;
    // A process that ran while the tables were replaced looks as often as it sequences.
    today.world.engine.sequence().await.unwrap();
    today.is_refused().await;
    let held = today.standing().await.log.head;

    let accepted = today.accept(None).await.unwrap();
    assert_eq!((accepted.epoch, accepted.held), (2, held.size));
    assert_eq!((accepted.requests_cancelled, accepted.tokens_revoked), (2, 1));
    today.world.engine.sequence().await.unwrap();
    today.is_over().await;

    // The first entry of the new log says what it continues.
    let first = today.world.engine.store().load(EntryAt { epoch: 2, index: 0 }).await.unwrap().unwrap();
    let link = EpochLink::read(&decode(&first.bytes).unwrap()).unwrap();
    assert_eq!((link.previous.clone(), link.held), (old_key.clone(), held));

    let new_key = vkey(&today.world.engine).await;
    assert_eq!(new_key.name(), "log.example/2");
    assert_eq!(accepted.vkey, new_key.to_string());
    let new = today.works().await;
    let verified = new.verify(Some(&new_key), None).unwrap();
    assert!(verified.is_pinned() && verified.gapless && new.earlier.is_empty());
    assert_eq!(verified.keys.len(), 2, "the new log's key, and the key that signs grants");
    // Old receipts stay what they were.
    assert!(old.verify(Some(&old_key), Some(today.spent.request.id)).unwrap().is_pinned());
    assert!(old.verify(Some(&new_key), None).is_err());

    // One whose entries lie in both logs.
    let alice = today.world.login("alice").await.unwrap();
    let both = receipt(&today.world.engine, &alice, &today.pending).await;
    assert_eq!(Receipt::from_json(both.to_json().as_bytes()).unwrap(), both);
    let verified = both.verify(Some(&new_key), Some(today.pending.request.id)).unwrap();
    assert!(verified.is_pinned() && verified.gapless);
    let told: Vec<_> = verified.entries.iter().map(|entry| (entry.entry.epoch, entry.kind().unwrap())).collect();
    assert_eq!(told, [(1, EntryKind::RequestAsked), (2, EntryKind::RequestCancelled)]);
    // Who trusts the old log only can't judge what the new one says.
    assert!(matches!(both.verify(Some(&old_key), None).unwrap().trust, Trust::Unknown(_)));
    // A link to another log, and one that is left out.
    let mut forged = both.clone();
    forged.earlier[0].named_by = forged.entries[1].clone();
    assert!(forged.verify(Some(&new_key), None).is_err());
    forged.earlier.clear();
    assert!(forged.verify(Some(&new_key), None).is_err());
    let mut swapped = both.clone();
    swapped.entries.reverse();
    assert!(swapped.verify(Some(&new_key), None).is_err());

    // The older log is served as before.
    let tile = today.world.engine.tile(Some(1), "tile/entries/000.p/3").await.unwrap().unwrap();
    assert_eq!(decode_bundle(&tile.bytes).unwrap().len(), 3);
    let again = today.accept(None).await;
    assert!(matches!(again, Err(EngineError::Invalid(_))), "{again:?}");
}

async fn a_client_with_a_newer_checkpoint_stops_a_database_that_was_put_back_by_hand() {
    let mut today = Today::new().await;
    let newest = today.newest.clone();
    today.go_back(false).await;
    let engine = match today.db.config {
        // A process that starts now knows nothing; the one that ran is another test.
        StoreConfig::Sqlite { .. } => today.world.engine.clone(),
        _ => today.start(21).await,
    };
    today.world.engine = engine;
    assert!(today.world.engine.authenticate(&today.token, SOURCE).await.is_ok(), "revoked tomorrow: nothing tells yet");
    today.world.engine.present(&newest).await;
    today.is_refused().await;
    let standing = today.standing().await;
    assert!(standing.log.closed, "also for a process that starts later");

    let held = standing.log.head.size;
    let accepted = today.accept(None).await.unwrap();
    assert!(accepted.known > accepted.held && accepted.held == held, "{accepted:?}");
    today.world.engine.sequence().await.unwrap();
    // What stopped the epoch before says nothing of this one.
    today.world.engine.present(&newest).await;
    today.is_over().await;
    today.works().await;
}

async fn a_client_of_the_other_branch_stops_a_log_that_has_outgrown_it() {
    let mut today = Today::new().await;
    let newest = today.newest.clone();
    today.go_back(false).await;
    today.world.engine = match today.db.config {
        StoreConfig::Sqlite { .. } => today.world.engine.clone(),
        _ => today.start(21).await,
    };
    let size = Checkpoint::claimed(&newest).unwrap().head.size;
    for n in 0..20 {
        let ask = testing::command(&["echo", &n.to_string()], None);
        today.world.engine.ask(&today.alice, &ask).await.unwrap();
    }
    today.world.engine.sequence().await.unwrap();
    assert!(today.standing().await.log.head.size > size);
    assert!(!today.world.engine.is_stopped());
    today.world.engine.present(&newest).await;
    today.is_refused().await;
}

/// A key that is nobody's.
struct Foreign(SigningKey, VerifierKey);

impl Signer for Foreign {
    fn verifier_key(&self) -> &VerifierKey {
        &self.1
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        Ok(self.0.sign(message).unwrap().to_vec())
    }
}

async fn what_is_signed_by_anybody_else_stops_nothing() {
    let place = Place::usual().await;
    let engine = place.engine();
    place.login("alice").await;
    engine.sequence().await.unwrap();
    let own = engine.newest_checkpoint().unwrap();
    let before = engine.store().load(LogStanding).await.unwrap();
    let mut larger = *own.head();
    larger.size += 1_000;
    let key = SigningKey::generate(&random()).unwrap();
    let forge = |origin: &str| {
        let verifier = VerifierKey::from_ed25519(origin, key.verifying_key().as_bytes()).unwrap();
        let origin = origin.to_owned();
        let key = SigningKey::from_pkcs8(secrecy::ExposeSecret::expose_secret(&key.to_pkcs8().unwrap())).unwrap();
        Checkpoint { origin, head: larger }.sign(&Foreign(key, verifier)).unwrap().text().to_owned()
    };
    let edited = own.text().replacen(&format!("\n{}\n", own.head().size), &format!("\n{}\n", larger.size), 1);
    assert_ne!(edited, own.text());
    for note in [
        forge("log.example/1"),
        forge("log.example/2"),
        forge("other.example/1"),
        edited,
        "x".repeat(5_000),
        String::new(),
    ] {
        engine.present(&note).await;
    }
    // More than anybody looks at.
    let note = forge("log.example/1");
    for _ in 0..2_000 {
        engine.present(&note).await;
    }
    assert!(engine.checkpoints_passed_over() >= 2_000);
    assert!(!engine.is_stopped());
    assert_eq!(engine.store().load(LogStanding).await.unwrap(), before);
    // Its own, newest and older, are no news.
    engine.present(own.text()).await;
    place.login("bob").await;
    engine.sequence().await.unwrap();
    engine.present(own.text()).await;
    assert!(!engine.is_stopped());
}

async fn a_crash_at_any_moment_of_accept_leaves_the_old_state_or_the_new() {
    for when in [When::Before, When::After] {
        for call in 0.. {
            let mut today = Today::new().await;
            today.go_back(true).await;
            let spare = tempfile::tempdir().unwrap();
            today.world.engine = World::usual(spare.path()).await.unwrap().engine;
            let plan = Arc::new(FaultPlan::new(call, when));
            drop(today.db.open().await);
            let store = countersign_store::testing::open(&today.db.config, Arc::clone(&plan)).await.unwrap();
            let now = countersign_engine::Clock::now(today.world.clock.as_ref());
            let died = accept_restored(&store, &master(), &random(), now, None).await;
            drop(store);
            today.world.engine = today.start(40).await;
            let Standing { log, .. } = today.standing().await;
            if log.epoch == 1 {
                assert!(died.is_err());
                today.is_refused().await;
                today.accept(None).await.unwrap();
            }
            today.world.engine.sequence().await.unwrap();
            assert_eq!(today.standing().await.log.epoch, 2);
            today.is_over().await;
            if !plan.hit() {
                assert!(call > 8, "{call}");
                break;
            }
        }
    }
}

async fn there_is_nothing_to_accept_where_nothing_was_restored() {
    let mut today = Today::new().await;
    let newest = today.newest.clone();
    let before = today.standing().await;
    for shown in [None, Some(newest.as_str())] {
        let refused = today.accept(shown).await;
        assert!(matches!(refused, Err(EngineError::Invalid(_))), "{refused:?}");
    }
    assert_eq!(today.standing().await, before);
    let store = today.world.engine.store().clone();
    let wrong = MasterKey::generate(&SeededRandom::new(2)).unwrap();
    let now = countersign_engine::Clock::now(today.world.clock.as_ref());
    let refused = accept_restored(&store, &wrong, &random(), now, None).await;
    assert!(refused.unwrap_err().to_string().contains("master key"));

    // The operator knows of a newer checkpoint, and nothing else does.
    drop(store);
    today.go_back(false).await;
    let accepted = today.accept(Some(&newest)).await.unwrap();
    assert!(accepted.known > accepted.held);
}

async fn no_epoch_is_begun_twice() {
    let mut today = Today::new().await;
    today.go_back(true).await;
    today.accept(None).await.unwrap();
    today.world.engine.sequence().await.unwrap();
    let second = today.world.engine.newest_checkpoint().unwrap().text().to_owned();
    // Yesterday's backup once more: its database has never heard of epoch 2.
    today.go_back(true).await;
    let accepted = today.accept(Some(&second)).await.unwrap();
    assert_eq!((accepted.epoch, accepted.previous.as_str()), (3, "log.example/1"));
    today.world.engine.sequence().await.unwrap();
    today.is_over().await;
    today.works().await;
}

mod replica {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn one_that_ran_while_the_tables_were_replaced_signs_nothing_more() {
        crate::support::on_postgres(Box::pin(async {
            let mut today = Today::new().await;
            let replica = today.start(22).await;
            replica.sequence().await.unwrap();
            today.go_back(false).await;
            // Another node would go on.
            today.world.engine = today.start(23).await;
            assert!(!today.world.engine.is_stopped());
            let before = today.standing().await;
            replica.sequence().await.unwrap();
            assert!(replica.is_stopped());
            let after = today.standing().await;
            assert_eq!((after.log.head, &after.checkpoint), (before.log.head, &before.checkpoint));
            assert!(after.log.closed && !before.log.closed);
            // The other node hears of it when it looks, and before that when it writes.
            let asked = today.world.engine.ask(&today.alice, &testing::command(&["whoami"], None)).await;
            assert!(matches!(asked, Err(EngineError::Restored)), "{asked:?}");
            today.is_refused().await;
            let accepted = today.accept(None).await.unwrap();
            assert!(accepted.known > accepted.held, "what the replica remembered is in the log: {accepted:?}");
            for engine in [&replica, &today.world.engine] {
                engine.sequence().await.unwrap();
                assert!(!engine.is_stopped());
                assert_eq!(engine.log_info().await.unwrap().epoch, 2);
            }
            today.is_over().await;
            today.world.engine = replica;
            today.is_over().await;
            today.works().await;
        }))
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_database_from_before_an_earlier_restore_stops_it_too() {
        crate::support::on_postgres(Box::pin(async {
            let mut today = Today::new().await;
            today.go_back(true).await;
            today.accept(None).await.unwrap();
            today.world.engine.sequence().await.unwrap();
            assert_eq!(today.world.engine.log_info().await.unwrap().epoch, 2);
            today.go_back(false).await;
            today.world.engine.sequence().await.unwrap();
            today.is_refused().await;
            // The number of the epoch that the replica knew is not given again.
            assert_eq!(today.accept(None).await.unwrap().epoch, 3);
        }))
        .await;
    }
}
