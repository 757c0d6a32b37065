//! How many connections each source has.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Source;

/// Grows with those who are connected, not with those who ever were.
#[derive(Clone, Debug)]
pub(super) struct Sources {
    open: Arc<Mutex<HashMap<Source, usize>>>,
    limit: usize,
}

/// One connection of a source, given back when dropped.
#[derive(Debug)]
pub(super) struct Counted {
    sources: Sources,
    source: Source,
}

impl Sources {
    pub(super) fn new(limit: usize) -> Self {
        Self { open: Arc::default(), limit }
    }

    /// `None` when the source has all that it may have.
    pub(super) fn enter(&self, source: &Source) -> Option<Counted> {
        let mut open = self.lock();
        let count = open.entry(source.clone()).or_default();
        if *count >= self.limit {
            return None;
        }
        *count += 1;
        Some(Counted { sources: self.clone(), source: source.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Source, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut open = self.sources.lock();
        if let Some(count) = open.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    #[test]
    fn each_source_has_its_own_places_and_leaves_nothing_behind() {
        let sources = Sources::new(2);
        let (one, two) = ([192, 0, 2, 1], [192, 0, 2, 2]);
        let [one, two] = [one, two].map(|ip| Source::from(SocketAddr::from((ip, 1))));
        let held = [sources.enter(&one), sources.enter(&one)];
        assert!(held.iter().all(Option::is_some) && sources.enter(&one).is_none());
        assert!(sources.enter(&two).is_some());
        drop(held);
        assert!(sources.lock().is_empty());
    }
}
