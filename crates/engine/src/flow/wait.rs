//! `wait`: a held call that ends as soon as the request has moved.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use countersign_core::ids::{AccountId, RequestId};
use countersign_core::principal::Principal;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::View;
use crate::{Engine, EngineError};

/// Held calls of one account. More than a person needs, fewer than a flood wants.
const HELD_PER_ACCOUNT: usize = 64;
/// What another node did is noticed after this long at the latest.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Who waits for what, in this process.
#[derive(Debug, Default)]
pub(crate) struct Wakeups {
    bells: Mutex<HashMap<RequestId, Arc<Notify>>>,
    held: Mutex<HashMap<AccountId, usize>>,
}

impl Wakeups {
    /// Tells everybody who waits for this request to look again.
    pub(crate) fn wake(&self, request: RequestId) {
        if let Some(bell) = lock(&self.bells).get(&request) {
            bell.notify_waiters();
        }
    }

    fn bell(&self, request: RequestId) -> Bell<'_> {
        let rings = Arc::clone(lock(&self.bells).entry(request).or_default());
        Bell { wakeups: self, request, rings }
    }

    fn hold(&self, account: AccountId) -> Option<Held<'_>> {
        let mut held = lock(&self.held);
        let count = held.entry(account).or_default();
        if *count >= HELD_PER_ACCOUNT {
            return None;
        }
        *count += 1;
        Some(Held { wakeups: self, account })
    }
}

/// Somebody's hold on a request's bell. The last one takes the bell along, also when the caller just goes away: the table grows with those who wait, not
/// with what is stored.
struct Bell<'a> {
    wakeups: &'a Wakeups,
    request: RequestId,
    rings: Arc<Notify>,
}

impl Drop for Bell<'_> {
    fn drop(&mut self) {
        let mut bells = lock(&self.wakeups.bells);
        // One is the table's, one is ours.
        if bells.get(&self.request).is_some_and(|bell| Arc::strong_count(bell) == 2) {
            bells.remove(&self.request);
        }
    }
}

/// A place among an account's held calls; given back also when the caller goes away.
struct Held<'a> {
    wakeups: &'a Wakeups,
    account: AccountId,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut held = lock(&self.wakeups.held);
        if let Some(count) = held.get_mut(&self.account) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.account);
            }
        }
    }
}

impl Engine {
    /// The request as soon as its version is past `known`, or as it stands when the time is up.
    pub async fn wait(
        &self,
        principal: &Principal,
        request: RequestId,
        known: i64,
        timeout: Duration,
    ) -> Result<View, EngineError> {
        let _held = self.inner.wakeups.hold(principal.account).ok_or(EngineError::TooManyWaiting)?;
        let bell = self.inner.wakeups.bell(request);
        self.wait_on(principal, request, known, timeout, &bell.rings).await
    }

    async fn wait_on(
        &self,
        principal: &Principal,
        request: RequestId,
        known: i64,
        timeout: Duration,
        bell: &Notify,
    ) -> Result<View, EngineError> {
        let end = Instant::now() + timeout;
        loop {
            // Armed before the look, or a change in between would be slept through.
            let mut rung = std::pin::pin!(bell.notified());
            rung.as_mut().enable();
            let view = self.show(principal, request).await?;
            if view.request.version > known || Instant::now() >= end {
                return Ok(view);
            }
            let look_again = end.min(Instant::now() + LOOK_AGAIN);
            let _rung_or_not = timeout_at(look_again, rung).await;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_core::time::Micros;

    #[test]
    fn held_calls_are_capped_and_given_back() {
        let wakeups = Wakeups::default();
        let account = AccountId::new(Micros::from_secs(1), [1; 10]);
        let held: Vec<_> = (0..HELD_PER_ACCOUNT).map(|_| wakeups.hold(account).expect("a place")).collect();
        assert!(wakeups.hold(account).is_none());
        drop(held);
        assert!(wakeups.hold(account).is_some());
        assert!(lock(&wakeups.held).is_empty());
    }

    #[test]
    fn a_bell_goes_with_the_last_who_waits() {
        let wakeups = Wakeups::default();
        let request = RequestId::new(Micros::from_secs(1), [1; 10]);
        let (first, second) = (wakeups.bell(request), wakeups.bell(request));
        drop(first);
        assert_eq!(lock(&wakeups.bells).len(), 1);
        drop(second);
        assert!(lock(&wakeups.bells).is_empty());
    }
}
