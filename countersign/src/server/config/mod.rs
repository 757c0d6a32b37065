//! The configuration: read once, checked as a whole, refused with file, line and key whatever is unknown or dangerous in it.

mod database;
mod duration;
mod file;
mod problem;
mod show;
mod sinks;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use countersign_engine::EngineConfig;
use serde::{Deserialize, Serialize};
use toml::Spanned;

pub(super) use database::{Database, Unopened};
pub(super) use problem::{Problem, Problems};
pub(crate) use show::config;
pub(super) use sinks::SinkConfig;

use super::files;
use super::master_key::MasterKeySource;
use crate::exit::Failure;
use file::File;
use problem::Text;

pub(super) const FILE: &str = "countersign.toml";
pub(super) const DATABASE: &str = "countersign.db";
pub(super) const MASTER_KEY: &str = "master.key";
pub(super) const POLICY: &str = "policy.toml";
/// Stands in the folder of a demo, and nowhere else.
pub(super) const DEMO: &str = "demo.json";

const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8220);
const COOLING: Duration = Duration::from_hours(24);
const COOLING_MAX: Duration = Duration::from_hours(24 * 30);
/// Below this it protects nobody who sleeps, so it is told at each start.
const COOLING_SHORT: Duration = Duration::from_hours(1);
const SESSION_TTL: Duration = Duration::from_hours(12);
const SESSION_TTL_MIN: Duration = Duration::from_mins(1);

/// What a server runs with. Paths are as they are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Config {
    pub(super) file: PathBuf,
    pub(super) listen: SocketAddr,
    /// TLS ends at a proxy in front: the listener may answer other machines in clear.
    pub(super) behind_tls_proxy: bool,
    /// The log's name. Decided by `init`; afterwards it only must not contradict the database.
    pub(super) name: Option<String>,
    pub(super) data: PathBuf,
    pub(super) database: Database,
    pub(super) policy: PathBuf,
    pub(super) master_key: MasterKeySource,
    pub(super) log_format: LogFormat,
    pub(super) log_level: LogLevel,
    pub(super) cooling: Duration,
    pub(super) strict_totp: bool,
    pub(super) session_ttl: Duration,
    pub(super) sinks: Vec<SinkConfig>,
    /// Metrics are served to whoever reaches the listener.
    pub(super) public_metrics: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum LogFormat {
    #[default]
    Json,
    Text,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl From<LogLevel> for tracing::Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

/// What the command line says in place of the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Overrides {
    pub(super) listen: Option<SocketAddr>,
    pub(super) data: Option<PathBuf>,
}

impl Config {
    /// Reads and checks a file.
    pub(super) fn load(file: &Path, overrides: &Overrides) -> anyhow::Result<Self> {
        let text = std::fs::read(file).map_err(|error| {
            Failure::new(format!("{} can't be read: {error}", file.display())).hint(
                "name another one with --config, or make a new server with `countersign init --dir DIR --admin NAME`",
            )
        })?;
        let text = String::from_utf8(text).map_err(|_| Failure::new(format!("{} is not UTF-8", file.display())))?;
        Ok(Self::parse(file, &text, overrides)?)
    }

    pub(super) fn parse(path: &Path, text: &str, overrides: &Overrides) -> Result<Self, Problems> {
        let at = Text { file: path, text };
        let file: File = toml::from_str(text).map_err(|error| Problems(vec![at.unreadable(&error)]))?;
        let mut problems = Vec::new();
        let behind_tls_proxy = file.listener.plain_http.is_some();
        let listen = listen(&at, file.listen.as_ref(), overrides.listen, behind_tls_proxy, &mut problems);
        let name = name(&at, file.name.as_ref(), &mut problems);
        let folder = path.parent().unwrap_or(Path::new(""));
        let data = overrides.data.clone().unwrap_or_else(|| match &file.data {
            Some(data) => tidy(&folder.join(data.get_ref())),
            None => folder.to_owned(),
        });
        let data = if data.as_os_str().is_empty() { PathBuf::from(".") } else { data };
        if data.exists()
            && let Err(why) = files::trusted_folder(&data)
        {
            problems.push(match &file.data {
                Some(written) if overrides.data.is_none() => at.problem("data", &written.span(), why),
                _ => Problem { at: None, key: "data".to_owned(), what: why },
            });
        }
        let cooling = time(
            &at,
            "security.cooling",
            file.security.cooling.as_ref(),
            COOLING,
            &mut problems,
            |cooling| {
                if cooling.is_zero() {
                    return Err(
                        "without it a factor that one administrator reset could approve at once; give at least 1s, 24h is usual",
                    );
                }
                if cooling > COOLING_MAX {
                    Err("is longer than 30d; nobody new could approve anything")
                } else {
                    Ok(())
                }
            },
        );
        let session_ttl =
            time(&at, "security.session_ttl", file.security.session_ttl.as_ref(), SESSION_TTL, &mut problems, |ttl| {
                if ttl > SESSION_TTL {
                    return Err("is longer than 12h; a stolen session would outlive the day");
                }
                if ttl < SESSION_TTL_MIN { Err("is shorter than 1m; nobody could work") } else { Ok(()) }
            });
        let database =
            database::database(&at, file.database, file.store.sqlite, folder, data.join(DATABASE), &mut problems);
        let master_key = master_key(&at, file.master_key, folder, &data, &mut problems);
        let sinks = sinks::read(&at, file.sink, folder, &mut problems);
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        Ok(Self {
            file: path.to_owned(),
            listen,
            behind_tls_proxy,
            name,
            database,
            policy: folder.join(file.policy.unwrap_or_else(|| POLICY.into())),
            master_key,
            data,
            log_format: file.log.format,
            log_level: file.log.level,
            cooling,
            strict_totp: file.security.strict_totp,
            session_ttl,
            sinks,
            public_metrics: file.metrics.public,
        })
    }

    /// What the engine is to know of it.
    pub(super) fn engine(&self, node: &str) -> EngineConfig {
        EngineConfig {
            cooling: self.cooling,
            strict_totp: self.strict_totp,
            session_ttl: self.session_ttl,
            node: node.to_owned(),
            public_metrics: self.public_metrics,
            ..EngineConfig::default()
        }
    }

    /// What is weaker than it could be, to be told at each start.
    pub(super) fn weakened(&self) -> Vec<String> {
        let mut weakened = Vec::new();
        if self.behind_tls_proxy && !is_loopback(self.listen) {
            weakened.push(format!(
                "`listener.plain_http`: {} answers in clear; make sure that only the TLS proxy can reach it",
                self.listen
            ));
        }
        if self.cooling < COOLING_SHORT {
            weakened.push(format!(
                "`security.cooling` is {}: one administrator can reset a factor and approve with it soon after",
                duration::written(self.cooling)
            ));
        }
        if self.public_metrics && !is_loopback(self.listen) {
            weakened
                .push("`metrics.public`: whoever reaches the service sees how much it is used, and when".to_owned());
        }
        weakened
    }
}

/// Where the configuration lies if only a folder was named, or nothing at all.
pub(super) fn default_file(config: Option<PathBuf>, dir: Option<&Path>) -> PathBuf {
    config.unwrap_or_else(|| dir.unwrap_or(Path::new("")).join(FILE))
}

/// Without the dots that say nothing, for messages.
fn tidy(path: &Path) -> PathBuf {
    path.components().collect()
}

pub(super) fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

fn listen(
    at: &Text<'_>,
    written: Option<&Spanned<String>>,
    given: Option<SocketAddr>,
    behind_tls_proxy: bool,
    problems: &mut Vec<Problem>,
) -> SocketAddr {
    let problem = |what: String| match written {
        Some(written) if given.is_none() => at.problem("listen", &written.span(), what),
        _ => Problem { at: None, key: "--listen".to_owned(), what },
    };
    let parsed = written.map(|text| text.get_ref().parse::<SocketAddr>());
    let address = match (given, parsed) {
        (Some(address), _) | (None, Some(Ok(address))) => address,
        (None, None) => LISTEN,
        (None, Some(Err(_))) => {
            problems.push(problem("is an address and a port, for example 127.0.0.1:8220 or [::1]:8220".to_owned()));
            return LISTEN;
        }
    };
    if !is_loopback(address) && !behind_tls_proxy {
        problems.push(problem(format!(
            "{address} can be reached by other machines, and passwords and codes would travel in clear; listen on 127.0.0.1 behind a proxy that \
             speaks TLS, or, if that proxy is another machine, set `plain_http = \"behind_a_tls_proxy\"` in [listener]"
        )));
    }
    address
}

fn name(at: &Text<'_>, written: Option<&Spanned<String>>, problems: &mut Vec<Problem>) -> Option<String> {
    let written = written?;
    if let Err(error) = countersign_ledger::log_origin(written.get_ref(), 1) {
        problems.push(at.problem("name", &written.span(), error.to_string()));
    }
    Some(written.get_ref().clone())
}

fn time(
    at: &Text<'_>,
    key: &str,
    written: Option<&Spanned<String>>,
    default: Duration,
    problems: &mut Vec<Problem>,
    check: impl FnOnce(Duration) -> Result<(), &'static str>,
) -> Duration {
    let Some(written) = written else { return default };
    let parsed =
        duration::parse(written.get_ref()).ok_or("is a whole number with its unit, for example 30m, 12h or 1d");
    match parsed.and_then(|duration| check(duration).map(|()| duration)) {
        Ok(duration) => duration,
        Err(what) => {
            problems.push(at.problem(key, &written.span(), what));
            default
        }
    }
}

fn master_key(
    at: &Text<'_>,
    written: Option<Spanned<file::MasterKey>>,
    folder: &Path,
    data: &Path,
    problems: &mut Vec<Problem>,
) -> MasterKeySource {
    let default = MasterKeySource::File(data.join(MASTER_KEY));
    let Some(written) = written else { return default };
    let span = written.span();
    let wrong = match written.into_inner() {
        file::MasterKey { file: Some(file), env: None, command: None } => {
            return MasterKeySource::File(folder.join(file));
        }
        file::MasterKey { file: None, env: Some(name), command: None } => {
            if !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return MasterKeySource::Env(name);
            }
            "`env` is the name of an environment variable, never the key itself"
        }
        file::MasterKey { file: None, env: None, command: Some(command) } => {
            if command.first().is_some_and(|program| !program.is_empty()) {
                return MasterKeySource::Command(command);
            }
            "`command` is a program and its arguments"
        }
        _ => "give exactly one of `file`, `env` and `command`",
    };
    problems.push(at.problem("master_key", &span, wrong));
    default
}

#[cfg(test)]
mod tests;
