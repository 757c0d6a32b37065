//! The newest checkpoint that a server showed with its answers. It goes back with each call: a server whose database was restored from a backup cannot know
//! that it is old, and this tells it.
//!
//! What is remembered here is signed by the log's key, and nothing more is known of it. Whether the log continued what it had signed before is found out
//! elsewhere (`ledger::remember`), by those checkpoints that were proved to continue each other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use countersign_ledger::{SignedCheckpoint, VerifierKey};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::home::Home;
use super::ledger;

pub(super) const HEADER: HeaderName = HeaderName::from_static("countersign-checkpoint");
/// In base64; a checkpoint of a log with a long name has half of that.
const LIMIT: usize = 2_048;

/// Shared by the clones of a client.
#[derive(Clone, Debug)]
pub(super) struct Newest(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    home: Home,
    key: VerifierKey,
    known: Mutex<Option<SignedCheckpoint>>,
}

impl Newest {
    /// `None` while no key of that server's log is pinned: then nothing it shows can be told from what anybody shows.
    pub(super) fn of(home: &Home, server: &str) -> Option<Self> {
        let key = ledger::pinned_of(home, server).ok()??;
        let kept = [home.newest(), home.checkpoints()].into_iter().flatten();
        let kept = kept.filter_map(|mut kept| kept.remove(key.name()));
        let known =
            kept.filter_map(|note| SignedCheckpoint::open(&note, &key).ok()).max_by_key(|note| note.head().size);
        Some(Self(Arc::new(Inner { home: home.clone(), key, known: Mutex::new(known) })))
    }

    pub(super) fn header(&self) -> Option<HeaderValue> {
        HeaderValue::try_from(BASE64_STANDARD.encode(self.known().as_ref()?.text())).ok()
    }

    /// Takes note of what an answer shows. What is not newer, or not signed by the pinned key, changes nothing.
    pub(super) fn shown(&self, headers: &HeaderMap) {
        let Some(shown) = headers.get(HEADER).filter(|shown| shown.len() <= LIMIT) else { return };
        let text = BASE64_STANDARD.decode(shown).ok().and_then(|note| String::from_utf8(note).ok());
        let Some(text) = text else { return };
        let mut known = self.known();
        if known.as_ref().is_some_and(|known| known.text() == text) {
            return;
        }
        let Ok(new) = SignedCheckpoint::open(&text, &self.0.key) else { return };
        if known.as_ref().is_some_and(|known| known.head().size >= new.head().size) {
            return;
        }
        // A home that can't be written is told by whatever has to be written there.
        let _kept = self.0.home.keep_newest(self.0.key.name(), new.text());
        *known = Some(new);
    }

    fn known(&self) -> MutexGuard<'_, Option<SignedCheckpoint>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
