//! `countersign.toml` as it is written.

use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::{LogFormat, LogLevel, sinks};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) listen: Option<Spanned<String>>,
    pub(super) name: Option<Spanned<String>>,
    pub(super) data: Option<Spanned<PathBuf>>,
    pub(super) policy: Option<PathBuf>,
    #[serde(default)]
    pub(super) listener: Listener,
    #[serde(default)]
    pub(super) store: Store,
    pub(super) database: Option<Spanned<Database>>,
    pub(super) master_key: Option<Spanned<MasterKey>>,
    #[serde(default)]
    pub(super) log: Log,
    #[serde(default)]
    pub(super) security: Security,
    #[serde(default)]
    pub(super) sink: Vec<sinks::Written>,
    #[serde(default)]
    pub(super) metrics: Metrics,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listener {
    pub(super) plain_http: Option<PlainHttp>,
}

/// The one reason to answer other machines without TLS.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PlainHttp {
    BehindATlsProxy,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Store {
    pub(super) sqlite: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Database {
    pub(super) url: Spanned<String>,
    pub(super) password_file: Option<Spanned<PathBuf>>,
    pub(super) ca_file: Option<Spanned<PathBuf>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MasterKey {
    pub(super) file: Option<PathBuf>,
    pub(super) env: Option<String>,
    pub(super) command: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Log {
    #[serde(default)]
    pub(super) format: LogFormat,
    #[serde(default)]
    pub(super) level: LogLevel,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Security {
    pub(super) cooling: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) strict_totp: bool,
    pub(super) session_ttl: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Metrics {
    #[serde(default)]
    pub(super) public: bool,
}
