//! `config check` and `config show`.

use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use super::{Config, Database, FILE, LogFormat, LogLevel, Overrides, duration, sinks};
use crate::cli::{ConfigArgs, ConfigCommand};
use crate::client::output;
use crate::exit::Failure;
use crate::server::master_key::MasterKeySource;

pub(crate) async fn config(args: ConfigArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        ConfigCommand::Check { file } => check(&file, args.json),
        ConfigCommand::Show => show(args.json),
    }
}

#[derive(Serialize)]
struct Checked<'a> {
    ok: bool,
    file: &'a Path,
    weakened: Vec<String>,
}

fn check(file: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let config = Config::load(file, &Overrides::default())?;
    if config.policy.exists() {
        let text = std::fs::read_to_string(&config.policy).map_err(|error| unreadable(&config.policy, &error))?;
        let found = countersign_policy::Policy::parse(&text, &config.policy.display().to_string());
        if let Err(errors) = found {
            let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
            return Err(Failure::new(errors.join("; ")).into());
        }
    }
    let weakened = config.weakened();
    if json {
        output::json(&Checked { ok: true, file, weakened })?;
    } else {
        for weakened in &weakened {
            output::note(&format!("weakened: {weakened}"));
        }
        output::line(&format!("{} is fine", file.display()));
    }
    Ok(ExitCode::SUCCESS)
}

fn show(json: bool) -> anyhow::Result<ExitCode> {
    let file = Path::new(FILE);
    let config = if file.exists() {
        Config::load(file, &Overrides::default())?
    } else {
        Config::parse(file, "", &Overrides::default())?
    };
    let shown = Shown::of(&config);
    if json {
        output::json(&shown)?;
    } else {
        let from = if file.exists() { "in force with" } else { "the defaults; there is no" };
        output::note(&format!("# {from} ./{FILE}"));
        output::line(toml::to_string(&shown)?.trim_end());
    }
    Ok(ExitCode::SUCCESS)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{} can't be read: {error}", path.display()))
}

/// The effective configuration in the shape of the file. The arguments of the master key's command stay out: they may hold a credential.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    listen: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    data: &'a Path,
    policy: &'a Path,
    listener: Listener,
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<Store<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<DatabaseSection<'a>>,
    master_key: MasterKey<'a>,
    log: Log,
    security: Security,
    metrics: Metrics,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sink: Vec<sinks::Shown<'a>>,
}

#[derive(Debug, Serialize)]
struct Metrics {
    public: bool,
}

#[derive(Debug, Serialize)]
struct Listener {
    #[serde(skip_serializing_if = "Option::is_none")]
    plain_http: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Store<'a> {
    sqlite: &'a Path,
}

#[derive(Debug, Serialize)]
struct DatabaseSection<'a> {
    url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    password_file: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca_file: Option<&'a Path>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum MasterKey<'a> {
    File(&'a Path),
    Env(&'a str),
    Command(Vec<&'a str>),
}

#[derive(Debug, Serialize)]
struct Log {
    format: LogFormat,
    level: LogLevel,
}

#[derive(Debug, Serialize)]
struct Security {
    cooling: String,
    strict_totp: bool,
    session_ttl: String,
}

impl<'a> Shown<'a> {
    fn of(config: &'a Config) -> Self {
        Self {
            listen: config.listen.to_string(),
            name: config.name.as_deref(),
            data: &config.data,
            policy: &config.policy,
            listener: Listener { plain_http: config.behind_tls_proxy.then_some("behind_a_tls_proxy") },
            store: config.database.file().map(|sqlite| Store { sqlite }),
            database: match &config.database {
                Database::Sqlite(_) => None,
                // The address holds no password: the configuration was refused otherwise.
                Database::Postgres(postgres) => Some(DatabaseSection {
                    url: &postgres.url,
                    password_file: postgres.password_file.as_deref(),
                    ca_file: postgres.ca_file.as_deref(),
                }),
            },
            master_key: match &config.master_key {
                MasterKeySource::File(file) => MasterKey::File(file),
                MasterKeySource::Env(name) => MasterKey::Env(name),
                MasterKeySource::Command(command) => {
                    let program = command.first().map_or("", String::as_str);
                    let hidden = (command.len() > 1).then_some("(arguments are not shown)");
                    MasterKey::Command([Some(program), hidden].into_iter().flatten().collect())
                }
            },
            log: Log { format: config.log_format, level: config.log_level },
            security: Security {
                cooling: duration::written(config.cooling),
                strict_totp: config.strict_totp,
                session_ttl: duration::written(config.session_ttl),
            },
            metrics: Metrics { public: config.public_metrics },
            sink: config.sinks.iter().map(sinks::Shown::of).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_reads_back_as_the_same_configuration() {
        let file = Path::new("/etc/countersign/countersign.toml");
        let text = "listen = '[::1]:1'\nname = 'log.example.com'\n[master_key]\nenv = 'CS_KEY'\n[log]\nlevel = 'debug'\nformat = 'text'\n[security]\ncooling = '36h'\nstrict_totp = true\nsession_ttl = '90m'\n[metrics]\npublic = true\n";
        let config = Config::parse(file, text, &Overrides::default()).unwrap();
        let shown = toml::to_string(&Shown::of(&config)).unwrap();
        assert_eq!(Config::parse(file, &shown, &Overrides::default()).unwrap(), config, "{shown}");
    }

    #[test]
    fn a_server_is_shown_with_where_its_password_lies() {
        let file = Path::new("/etc/countersign/countersign.toml");
        let text = "[database]\nurl = 'postgresql://cs@localhost/cs'\npassword_file = '/etc/countersign/db.password'\n";
        let config = Config::parse(file, text, &Overrides::default()).unwrap();
        let shown = toml::to_string(&Shown::of(&config)).unwrap();
        assert!(shown.contains("postgresql://cs@localhost/cs") && shown.contains("db.password"), "{shown}");
        assert!(!shown.contains("[store]"), "{shown}");
        let again = Config::parse(file, &shown, &Overrides::default()).unwrap();
        assert_eq!(again.database.to_string(), config.database.to_string());
    }

    #[test]
    fn arguments_that_fetch_the_key_are_not_shown() {
        let text = "[master_key]\ncommand = ['/bin/fetch', '--token', 'hunter2']\n";
        let config = Config::parse(Path::new("c.toml"), text, &Overrides::default()).unwrap();
        let shown = toml::to_string(&Shown::of(&config)).unwrap();
        assert!(shown.contains("/bin/fetch") && !shown.contains("hunter2"), "{shown}");
    }
}
