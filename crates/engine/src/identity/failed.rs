//! Failed logins, folded: one ledger entry per account, source and minute, so that a flood of guesses is no flood of writes.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use countersign_core::canonical::Value;
use countersign_core::changes::Changes;
use countersign_core::entry::EntryKind;
use countersign_core::ids::PersonId;
use countersign_core::time::Micros;
use tokio_util::sync::CancellationToken;

use crate::{Engine, EngineError};

/// Pairs of account and source that are counted apart in one minute; what comes on top is counted together.
const KEPT_APART: usize = 4_096;
const OTHERS: &str = "(others)";
const FLUSH_EVERY: Duration = Duration::from_secs(5);

/// What waits to be told.
#[derive(Debug, Default)]
pub(crate) struct FailedLogins(Mutex<BTreeMap<Key, i64>>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    minute: i64,
    account: String,
    source: String,
    /// Whose account it is, if it is anybody's.
    person: Option<PersonId>,
}

impl FailedLogins {
    pub(crate) fn count(&self, account: &str, person: Option<PersonId>, source: &str, now: Micros) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let minute = now.as_secs().div_euclid(60);
        let mut key = Key { minute, account: account.to_owned(), source: source.to_owned(), person };
        if counts.len() >= KEPT_APART && !counts.contains_key(&key) {
            key = Key { minute, account: OTHERS.to_owned(), source: OTHERS.to_owned(), person: None };
        }
        *counts.entry(key).or_default() += 1;
    }

    /// Everything of minutes before `minute`.
    fn take(&self, minute: i64) -> BTreeMap<Key, i64> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let later = counts.split_off(&Key { minute, account: String::new(), source: String::new(), person: None });
        std::mem::replace(&mut counts, later)
    }

    fn put_back(&self, taken: BTreeMap<Key, i64>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, count) in taken {
            *counts.entry(key).or_default() += count;
        }
    }
}

impl Engine {
    /// Tells the ledger of failed logins, minute by minute, until told to stop; then of the rest.
    pub async fn run_failed_logins(&self, stop: CancellationToken) {
        loop {
            let last = stop.is_cancelled();
            let until = if last { i64::MAX } else { self.now().as_secs().div_euclid(60) };
            if let Err(error) = self.tell_failed_logins(until).await {
                tracing::error!(%error, "failed logins could not be recorded; trying again");
            }
            if last {
                return;
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(FLUSH_EVERY) => {}
            }
        }
    }

    async fn tell_failed_logins(&self, minute: i64) -> Result<(), EngineError> {
        let taken = self.inner.failed_logins.take(minute);
        if taken.is_empty() {
            return Ok(());
        }
        let mut ctx = self.ctx()?;
        let entries = taken
            .iter()
            .map(|(key, count)| {
                let fields = vec![ctx.field("account", key.account.as_str()), ctx.field("source", key.source.as_str())];
                let clear = vec![("count", Value::from(*count)), ("minute", Value::from(key.minute))];
                ctx.entry(EntryKind::LoginFailed, None, clear, fields).about(key.person)
            })
            .collect();
        let result = self.commit(Changes { writes: Vec::new(), entries }).await;
        if result.is_err() {
            self.inner.failed_logins.put_back(taken);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_line_for_each_account_source_and_minute() {
        let failed = FailedLogins::default();
        for second in 0..120 {
            failed.count("alice", None, "10.0.0.1", Micros::from_secs(second));
        }
        let taken = failed.take(1);
        assert_eq!(taken.values().copied().collect::<Vec<_>>(), [60]);
        assert_eq!(failed.take(i64::MAX).values().copied().collect::<Vec<_>>(), [60]);
    }

    #[test]
    fn a_flood_of_names_is_bounded() {
        let failed = FailedLogins::default();
        for n in 0..10_000 {
            failed.count(&format!("user{n}"), None, "10.0.0.1", Micros::from_secs(1));
        }
        let taken = failed.take(i64::MAX);
        assert_eq!(taken.len(), KEPT_APART + 1);
        assert_eq!(taken.values().sum::<i64>(), 10_000);
    }
}
