//! The service's log: lines on standard error, for journald or a container's runtime to keep.

use tracing::Level;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::config::LogFormat;

/// Begins to log. Libraries below say no more than warnings: at finer levels some of them print what they carry, headers with credentials included.
pub(super) fn begin(format: LogFormat, level: Level) -> anyhow::Result<()> {
    let filter = Targets::new().with_default(level.min(Level::WARN)).with_target("countersign", level);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
        LogFormat::Text => lines.with_ansi(false).compact().boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(filter)).try_init()?;
    tracing::debug!(level = %LevelFilter::from_level(level), "logging");
    Ok(())
}
