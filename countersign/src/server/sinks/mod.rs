//! The sinks of the configuration, opened.

mod file;

use std::path::Path;
use std::sync::Arc;

use countersign_engine::sinks::Attached;

use super::config::SinkConfig;
use crate::exit::Failure;
use file::FileSink;

/// Opens all of them; one that can't be opened refuses the start, whatever its mode, because that is how a typing error shows.
pub(super) fn open(config: &Path, sinks: &[SinkConfig]) -> anyhow::Result<Vec<Attached>> {
    sinks
        .iter()
        .map(|SinkConfig { name, mode, path, line }| {
            let opened = FileSink::open(name, path).map_err(|why| {
                Failure::new(format!("{}:{line}: `sink.path`: {why}", config.display()))
                    .hint("the sink must be there before the service is: mend it, or name another place")
            })?;
            Ok(Attached { sink: Arc::new(opened), mode: *mode })
        })
        .collect()
}
