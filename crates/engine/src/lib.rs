//! The one flow: ask, policy, demands, evidence, grant, release, ledger. Every door calls the verbs of [`Engine`]; nothing else in the service appends to
//! the ledger.
//!
//! Each verb loads what it needs, lets a pure function of `core` decide, and commits the result all or nothing. When a row moved in between, it loads and
//! decides again.

mod bootstrap;
mod clock;
mod commit;
mod error;
pub mod flow;
pub mod identity;
mod keyring;
mod log;
mod policies;
pub mod sinks;
pub mod testing;

use std::sync::Arc;
use std::time::Duration;

use countersign_factors::PasswordPool;
use countersign_keys::Random;
use countersign_store::Store;
use tokio::sync::Notify;

pub use bootstrap::{Bootstrap, Enrolled, NewPerson, is_bootstrapped};
pub use clock::Clock;
pub use countersign_policy::{Explanation, Need};
pub use error::EngineError;
pub use keyring::Keyring;
pub use log::{LogInfo, Resource};
pub use policies::{Explained, PolicyReport};

use crate::flow::Wakeups;
use crate::identity::FailedLogins;
use crate::policies::ActivePolicy;

/// What an operator decides about the flow. Defaults are the safe ones.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// How long a factor or membership that nobody countersigned fills no slot.
    pub cooling: Duration,
    /// Accept a code in its own step only.
    pub strict_totp: bool,
    /// The longest life of a session.
    pub session_ttl: Duration,
    /// Which node this is: the owner of its leases. Different for each process start.
    pub node: String,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            cooling: Duration::from_hours(24),
            strict_totp: false,
            session_ttl: Duration::from_hours(12),
            node: "node".to_owned(),
        }
    }
}

/// The service without its doors. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Engine {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    keys: Keyring,
    config: EngineConfig,
    policy: ActivePolicy,
    passwords: PasswordPool,
    wakeups: Wakeups,
    failed_logins: FailedLogins,
    /// Rung after each commit that wrote entries, so that the sequencer need not poll.
    committed: Notify,
    /// Rung after each new checkpoint.
    checkpointed: Notify,
}

/// Everything that an engine is made of.
#[derive(Debug)]
pub struct Parts {
    pub store: Store,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub keys: Keyring,
    pub passwords: PasswordPool,
    pub config: EngineConfig,
}

impl Engine {
    /// Takes up a bootstrapped database.
    pub async fn start(parts: Parts) -> Result<Self, EngineError> {
        let Parts { store, clock, random, keys, passwords, config } = parts;
        let policy = ActivePolicy::load(&store).await?;
        Ok(Self {
            inner: Arc::new(Inner {
                store,
                clock,
                random,
                keys,
                config,
                policy,
                passwords,
                wakeups: Wakeups::default(),
                failed_logins: FailedLogins::default(),
                committed: Notify::new(),
                checkpointed: Notify::new(),
            }),
        })
    }

    /// The store under it: for the binary, which waits for its fatal errors.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    fn now(&self) -> countersign_core::time::Micros {
        self.inner.clock.now()
    }
}
