//! `wait`: a held call that ends as soon as the request has moved.
//!
//! Two things wake it. A commit of this process tells the version that it wrote. What another process committed is noticed by one look for all who wait
//! here ([`Engine::run_watch`]), whose cost grows with the requests that are waited for, not with who waits.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use countersign_core::ids::{AccountId, PersonId, RequestId};
use countersign_core::principal::Principal;
use countersign_store::RequestVersions;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::View;
use crate::{Engine, EngineError};

/// Held calls of one person, or of an account that is nobody's. More than a person needs, fewer than a flood wants.
const HELD_PER_HOLDER: usize = 64;
/// Held calls from one address, which may be a proxy with many people behind it.
const HELD_PER_SOURCE: usize = 512;
/// What another process committed is noticed after this long at the latest.
const TICK: Duration = Duration::from_millis(400);
/// Versions read in one question.
const BATCH: usize = 512;
/// Whoever waits is judged again after this long, also if nothing has happened.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Who waits for what, in this process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wakeups(Arc<State>);

#[derive(Debug, Default)]
struct State {
    bells: Mutex<HashMap<RequestId, Rope>>,
    held: Mutex<Places>,
}

/// The newest version of a request that this process knows of, and for how many.
#[derive(Debug)]
struct Rope {
    version: watch::Sender<i64>,
    waiting: usize,
}

#[derive(Debug, Default)]
struct Places {
    all: u32,
    holders: HashMap<Holder, usize>,
    sources: HashMap<String, usize>,
}

/// Whom held calls are counted for: a person through all accounts together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Holder {
    Person(PersonId),
    Account(AccountId),
}

impl Wakeups {
    /// Tells everybody who waits for this request which version it has.
    pub(crate) fn wake(&self, request: RequestId, version: i64) -> bool {
        let bells = lock(&self.0.bells);
        bells.get(&request).is_some_and(|rope| {
            rope.version.send_if_modified(|known| {
                let is_news = version > *known;
                *known = version.max(*known);
                is_news
            })
        })
    }

    pub(super) fn bell(&self, request: RequestId) -> Bell {
        let mut bells = lock(&self.0.bells);
        let rope = bells.entry(request).or_insert_with(|| Rope { version: watch::Sender::new(i64::MIN), waiting: 0 });
        rope.waiting += 1;
        Bell { state: Arc::clone(&self.0), request, version: rope.version.subscribe() }
    }

    /// A place for a held call, if the caller and his address have one left.
    pub(crate) fn hold(&self, principal: &Principal) -> Result<Held, EngineError> {
        let holder =
            principal.person.as_ref().map_or(Holder::Account(principal.account), |person| Holder::Person(person.id));
        self.take(holder, &principal.source).ok_or(EngineError::TooManyWaiting)
    }

    fn take(&self, holder: Holder, source: &str) -> Option<Held> {
        let mut places = lock(&self.0.held);
        let of_holder = places.holders.get(&holder).copied().unwrap_or(0);
        let of_source = places.sources.get(source).copied().unwrap_or(0);
        if of_holder >= HELD_PER_HOLDER || of_source >= HELD_PER_SOURCE {
            return None;
        }
        places.all += 1;
        places.holders.insert(holder, of_holder + 1);
        places.sources.insert(source.to_owned(), of_source + 1);
        Some(Held { state: Arc::clone(&self.0), holder, source: source.to_owned() })
    }

    /// How many calls are held now.
    pub(crate) fn held(&self) -> u32 {
        lock(&self.0.held).all
    }

    fn waited_for(&self) -> Vec<RequestId> {
        lock(&self.0.bells).keys().copied().collect()
    }
}

/// Somebody's hold on a request's bell. The last one takes the bell along, also when the caller just goes away: the table grows with those who wait, not
/// with what is stored.
#[derive(Debug)]
pub(super) struct Bell {
    state: Arc<State>,
    request: RequestId,
    version: watch::Receiver<i64>,
}

impl Bell {
    /// Returns when the request is past this version, or at that moment.
    pub(super) async fn past(&mut self, known: i64, end: Instant) {
        let _past_or_not = timeout_at(end, self.version.wait_for(|version| *version > known)).await;
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        let mut bells = lock(&self.state.bells);
        if let Entry::Occupied(mut rope) = bells.entry(self.request) {
            rope.get_mut().waiting -= 1;
            if rope.get().waiting == 0 {
                rope.remove();
            }
        }
    }
}

/// A place among the held calls; given back also when the caller goes away.
#[derive(Debug)]
pub(crate) struct Held {
    state: Arc<State>,
    holder: Holder,
    source: String,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut places = lock(&self.state.held);
        places.all -= 1;
        give_back(&mut places.holders, &self.holder);
        give_back(&mut places.sources, &self.source);
    }
}

fn give_back<K: std::hash::Hash + Eq>(places: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = places.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            places.remove(key);
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
        let _held = self.inner.wakeups.hold(principal)?;
        let mut bell = self.inner.wakeups.bell(request);
        let end = Instant::now() + timeout;
        loop {
            let view = self.show(principal, request).await?;
            if view.request.version > known || Instant::now() >= end {
                return Ok(view);
            }
            bell.past(known, end.min(Instant::now() + LOOK_AGAIN)).await;
        }
    }

    /// Looks for what other processes committed, for all who wait here, until told to stop.
    pub async fn run_watch(&self, stop: CancellationToken) {
        let mut failed = false;
        while !stop.is_cancelled() {
            match self.notice_changes().await {
                Ok(_) => failed = false,
                Err(error) if failed => {
                    tracing::debug!(%error, "requests that are waited for still can't be looked at");
                }
                Err(error) => {
                    failed = true;
                    tracing::warn!(%error, "requests that are waited for can't be looked at; trying again");
                }
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }

    /// One look at each request that somebody waits for here. Returns for how many of them that was news.
    pub async fn notice_changes(&self) -> Result<usize, EngineError> {
        let mut news = 0;
        for ids in self.inner.wakeups.waited_for().chunks(BATCH) {
            for (request, version) in self.inner.store.load(RequestVersions(ids.to_vec())).await? {
                news += usize::from(self.inner.wakeups.wake(request, version));
            }
        }
        Ok(news)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_core::time::Micros;

    fn account(n: u8) -> Holder {
        Holder::Account(AccountId::new(Micros::from_secs(1), [n; 10]))
    }

    #[test]
    fn held_calls_are_capped_for_each_holder_and_given_back() {
        let wakeups = Wakeups::default();
        let take = || wakeups.take(account(1), "192.0.2.1");
        let held: Vec<_> = (0..HELD_PER_HOLDER).map(|_| take().expect("a place")).collect();
        assert!(take().is_none() && wakeups.take(account(1), "192.0.2.2").is_none());
        assert!(wakeups.take(account(2), "192.0.2.1").is_some());
        assert_eq!(wakeups.held(), u32::try_from(HELD_PER_HOLDER).unwrap());
        drop(held);
        assert!(take().is_some());
        let places = lock(&wakeups.0.held);
        assert!(places.holders.is_empty() && places.sources.is_empty() && places.all == 0);
    }

    #[test]
    fn held_calls_are_capped_for_each_source_whoever_makes_them() {
        let wakeups = Wakeups::default();
        let each = |n: usize| account(u8::try_from(n / HELD_PER_HOLDER).unwrap());
        let held: Vec<_> = (0..HELD_PER_SOURCE).map(|n| wakeups.take(each(n), "192.0.2.1").expect("a place")).collect();
        assert!(wakeups.take(account(200), "192.0.2.1").is_none());
        assert!(wakeups.take(account(200), "192.0.2.2").is_some());
        drop(held);
        assert!(wakeups.take(account(200), "192.0.2.1").is_some());
    }

    #[test]
    fn a_bell_goes_with_the_last_who_waits() {
        let wakeups = Wakeups::default();
        let request = RequestId::new(Micros::from_secs(1), [1; 10]);
        let (first, second) = (wakeups.bell(request), wakeups.bell(request));
        drop(first);
        assert_eq!(wakeups.waited_for(), [request]);
        drop(second);
        assert!(wakeups.waited_for().is_empty());
    }

    #[tokio::test]
    async fn a_version_rings_once_and_is_not_slept_through() {
        let wakeups = Wakeups::default();
        let request = RequestId::new(Micros::from_secs(1), [1; 10]);
        assert!(!wakeups.wake(request, 1), "nobody waits");
        let mut bell = wakeups.bell(request);
        assert!(wakeups.wake(request, 2));
        assert!(!wakeups.wake(request, 2) && !wakeups.wake(request, 1), "no news");
        // Told before it was waited for.
        bell.past(1, Instant::now() + Duration::from_hours(1)).await;
    }
}
