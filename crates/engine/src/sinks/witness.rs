//! Required sinks: nothing is let go that they have not taken the record of.

use std::time::Duration;

use countersign_core::entry::EntryDraft;
use futures_util::future::try_join_all;

use super::Record;
use crate::{Engine, EngineError};

/// How long a release waits for its sinks. With the commits before and after it the caller is answered within two seconds.
const PATIENCE: Duration = Duration::from_millis(1_500);

impl Engine {
    /// Refuses while a required sink has just failed: what can't be let go need not be begun.
    pub(crate) fn sinks_are_open(&self) -> Result<(), EngineError> {
        match self.inner.sinks.required().find(|kept| kept.is_shut()) {
            Some(shut) => Err(EngineError::SinkRefused { sink: shut.name().to_owned() }),
            None => Ok(()),
        }
    }

    /// The records of what a commit tells, for [`Self::witness`]; none where no sink is required.
    pub(crate) fn records(&self, drafts: &[EntryDraft]) -> Result<Vec<Record>, EngineError> {
        if self.inner.sinks.required().next().is_none() {
            return Ok(Vec::new());
        }
        let keys = self.keys();
        drafts
            .iter()
            .map(|draft| {
                let row = keys.encode(draft)?;
                Record::new(keys.name(), &row.encoded.bytes, &row.encoded.openings, None).map_err(EngineError::internal)
            })
            .collect()
    }

    /// Returns once every required sink has these records. Whatever was to be let go must stay here otherwise.
    pub(crate) async fn witness(&self, records: &[Record]) -> Result<(), EngineError> {
        if records.is_empty() {
            return Ok(());
        }
        self.sinks_are_open()?;
        let asked = self.inner.sinks.required().map(async |kept| {
            let refused = |_| EngineError::SinkRefused { sink: kept.name().to_owned() };
            kept.offer(records, PATIENCE).await.map_err(refused)
        });
        try_join_all(asked).await.map(drop)
    }
}
