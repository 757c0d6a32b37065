//! Shared by all: a world in a folder that goes away with it.

use countersign_core::principal::Principal;
use countersign_engine::flow::{Asked, View};
use countersign_engine::testing::{self, World};
use countersign_engine::{Engine, EngineError};

/// A world and the folder that it lives in.
pub(crate) struct Place {
    pub(crate) world: World,
    pub(crate) dir: tempfile::TempDir,
}

impl Place {
    pub(crate) async fn usual() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = World::usual(dir.path()).await.unwrap();
        Self { world, dir }
    }

    pub(crate) async fn with(people: &[(&str, &[&str])], policy: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = World::create(dir.path(), people, policy).await.unwrap();
        Self { world, dir }
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
