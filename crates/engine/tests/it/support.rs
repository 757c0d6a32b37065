//! Shared by all: a world in a folder that goes away with it.

use std::path::Path;
use std::sync::Arc;

use countersign_core::principal::Principal;
use countersign_engine::flow::{Asked, View};
use countersign_engine::testing::{self, World};
use countersign_engine::{Engine, EngineError};
use countersign_store::{PostgresConfig, Store, StoreConfig, StoreError};
use countersign_testing_postgres::Cluster;

/// Names functions that are tests on each database: `sqlite::name` and `postgres::name`.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name().await;
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                crate::support::on_postgres(super::$name()).await;
            })+
        }
    };
}
pub(crate) use on_both;

tokio::task_local! {
    static POSTGRES: ();
}

/// Each place that this makes is on PostgreSQL.
pub(crate) async fn on_postgres<T>(test: impl Future<Output = T>) -> T {
    POSTGRES.scope((), test).await
}

/// An empty database, which stays when its stores are closed.
#[derive(Clone)]
pub(crate) struct Db {
    pub(crate) config: StoreConfig,
    /// What it is called on the server.
    pub(crate) name: Option<String>,
}

impl Db {
    /// In a file in this folder or, within [`on_postgres`], on the server.
    pub(crate) fn new(dir: &Path) -> Self {
        match POSTGRES.try_with(|()| ()) {
            Ok(()) => Self::at(&Cluster::shared().database()),
            Err(_) => Self { config: testing::config(dir), name: None },
        }
    }

    /// A database of a server, by its address.
    pub(crate) fn at(url: &str) -> Self {
        let name = url.rsplit('/').next().map(str::to_owned);
        Self { config: StoreConfig::Postgres(PostgresConfig::new(url, None, None).unwrap()), name }
    }

    /// Opens it once more, on PostgreSQL beside others.
    pub(crate) async fn open(&self) -> Store {
        for _ in 0..200 {
            match Store::open(&self.config).await {
                // A program that another test starts has the lock's descriptor between its fork and its exec.
                Err(StoreError::InUse { .. }) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
                opened => return opened.unwrap(),
            }
        }
        panic!("in use for good")
    }
}

/// A world and where it lives.
pub(crate) struct Place {
    pub(crate) world: World,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) db: Db,
}

impl Place {
    pub(crate) async fn usual() -> Self {
        Self::with(testing::PEOPLE, testing::POLICY).await
    }

    pub(crate) async fn with(people: &[(&str, &[&str])], policy: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::new(dir.path());
        let world = World::on(&db.config, people, policy).await.unwrap();
        Self { world, dir, db }
    }

    /// What another process on the same database and clock would be: nothing that the first one does in memory reaches it.
    pub(crate) async fn another(&self, seed: u64) -> Engine {
        testing::start(self.another_store().await, Arc::clone(&self.world.clock), seed).await.unwrap()
    }

    /// SQLite lets nobody else in, so there the connections are shared.
    pub(crate) async fn another_store(&self) -> Store {
        match &self.db.config {
            StoreConfig::Sqlite { .. } => self.engine().store().clone(),
            _ => self.db.open().await,
        }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.world.engine
    }

    pub(crate) async fn login(&self, name: &str) -> Principal {
        self.world.login(name).await.unwrap()
    }

    /// Alice asks to run `id` and says why.
    pub(crate) async fn asked(&self, alice: &Principal) -> View {
        self.engine().ask(alice, &testing::command(&["id"], Some("to see"))).await.unwrap().into_view()
    }

    /// Alice asks, bob approves.
    pub(crate) async fn granted(&self, alice: &Principal, bob: &Principal) -> View {
        let view = self.asked(alice).await;
        self.world.answer(bob, &view).await.unwrap()
    }

    /// Lets the next code begin, so that nobody shows a used one by accident.
    pub(crate) fn next_code(&self) {
        self.world.clock.advance(std::time::Duration::from_secs(30));
    }

    /// An administrator's change, confirmed with his own code.
    pub(crate) async fn change(
        &self,
        admin: &Principal,
        change: countersign_engine::identity::Change,
        password: Option<&str>,
    ) -> Result<View, EngineError> {
        self.next_code();
        let asked = self.engine().administer(admin, change, password.map(Into::into), None, None).await?;
        let (Asked::New(view) | Asked::Again(view)) = asked;
        self.world.answer(admin, &view).await
    }
}
