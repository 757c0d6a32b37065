//! Password hashing on a bounded pool: it is slow on purpose, and a flood of logins must not take the processor from everybody else.

use std::sync::Arc;

use countersign_keys::password::{PasswordCheck, Passwords};
use countersign_keys::{KeysError, Random};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

/// Logins that may wait for each worker before new ones are turned away.
const QUEUE_PER_WORKER: usize = 64;

#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    #[error("too many logins at once; try again in a moment")]
    Busy,
    #[error("the password check was interrupted; try again")]
    Interrupted,
    #[error(transparent)]
    Keys(#[from] KeysError),
}

/// Checks and makes password hashes, a few at a time.
#[derive(Clone, Debug)]
pub struct PasswordPool {
    passwords: Passwords,
    workers: Arc<Semaphore>,
    queue: Arc<Semaphore>,
}

impl PasswordPool {
    /// `workers` hashes run side by side; leave at least one core to the rest of the service.
    pub fn new(passwords: Passwords, workers: usize) -> Self {
        let workers = workers.max(1);
        Self {
            passwords,
            workers: Arc::new(Semaphore::new(workers)),
            queue: Arc::new(Semaphore::new(workers.saturating_mul(QUEUE_PER_WORKER))),
        }
    }

    /// Checks a password against the stored hash. Without one the same work is done and the answer is no, so that time does not tell whether an account
    /// exists.
    pub async fn check(
        &self,
        stored: Option<SecretString>,
        password: SecretString,
    ) -> Result<PasswordCheck, PoolError> {
        let passwords = self.passwords;
        self.run(move || match stored {
            Some(stored) => passwords.check(&password, stored.expose_secret()),
            None => passwords.check_unknown(&password),
        })
        .await
    }

    /// Hashes a new password.
    pub async fn hash(&self, random: Arc<dyn Random>, password: SecretString) -> Result<SecretString, PoolError> {
        let passwords = self.passwords;
        self.run(move || passwords.hash(random.as_ref(), &password)).await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, KeysError> + Send + 'static,
    ) -> Result<T, PoolError> {
        let _place = Arc::clone(&self.queue).try_acquire_owned().map_err(|_| PoolError::Busy)?;
        let worker = Arc::clone(&self.workers).acquire_owned().await.map_err(|_| PoolError::Interrupted)?;
        let result = tokio::task::spawn_blocking(move || {
            // Held until the hash is done, also when the caller has gone away.
            let _worker = worker;
            work()
        })
        .await
        .map_err(|_| PoolError::Interrupted)?;
        Ok(result?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_keys::testing::{SeededRandom, cheap_password_params};

    #[tokio::test]
    async fn right_wrong_and_unknown() {
        let pool = PasswordPool::new(Passwords::new(cheap_password_params()), 1);
        let stored = pool.hash(Arc::new(SeededRandom::new(1)), "correct horse".into()).await.unwrap();
        let right = pool.check(Some(stored.clone()), "correct horse".into()).await.unwrap();
        assert!(matches!(right, PasswordCheck::Right { .. }));
        assert_eq!(pool.check(Some(stored), "wrong".into()).await.unwrap(), PasswordCheck::Wrong);
        assert_eq!(pool.check(None, "anything".into()).await.unwrap(), PasswordCheck::Wrong);
    }

    #[tokio::test]
    async fn a_flood_is_turned_away_and_not_queued_for_ever() {
        let pool = PasswordPool::new(Passwords::new(cheap_password_params()), 1);
        let waiting: Vec<_> =
            (0..QUEUE_PER_WORKER).map(|_| Arc::clone(&pool.queue).try_acquire_owned().expect("a free place")).collect();
        assert!(matches!(pool.check(None, "x".into()).await, Err(PoolError::Busy)));
        drop(waiting);
        assert!(pool.check(None, "x".into()).await.is_ok());
    }
}
