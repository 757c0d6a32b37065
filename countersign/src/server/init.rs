//! `init`: a new server's folder, keys, database and first administrator.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use countersign_core::names::{GroupName, check_name};
use countersign_core::time::Micros;
use countersign_engine::{Bootstrap, Clock as _, Enrolled, NewPerson, is_bootstrapped};
use countersign_keys::SystemRandom;
use countersign_keys::master::MasterKey;
use countersign_keys::totp::TotpSecret;
use countersign_store::Store;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;

use super::clock::SystemClock;
use super::config::{self, Config, Database, Overrides};
use super::master_key::MasterKeySource;
use super::{files, wiring};
use crate::cli::InitArgs;
use crate::client::{output, prompt};
use crate::exit::Failure;
use crate::qr;

const PASSWORD_MIN: usize = 12;
const TRIES: u32 = 3;
const POLICY_TEXT: &str = include_str!("init/policy.toml");
const CONFIG_TEXT: &str = include_str!("init/countersign.toml");

#[derive(Serialize)]
struct Done<'a> {
    dir: &'a Path,
    config: &'a Path,
    administrator: &'a str,
    /// The secret of the second factor, for the only time.
    otpauth: &'a str,
    log: &'a str,
}

pub(crate) async fn init(args: InitArgs) -> anyhow::Result<ExitCode> {
    let InitArgs { dir, admin, password_stdin, json } = args;
    check_name(&admin).map_err(|error| Failure::new(format!("the administrator's name: {error}")))?;
    let plan = Plan::make(&dir)?;
    plan.refuse_existing().await?;
    // All that can be refused is refused before anything is made.
    let password = new_password(prompt::From::stdin(password_stdin), &admin)?;
    let totp = TotpSecret::generate(&SystemRandom)?;
    let otpauth = totp.otpauth_url(&plan.config_name()?, &admin)?;
    if !json {
        show(&admin, &otpauth)?;
    }
    // Where the password came from a pipe nobody is there to read codes from an app.
    let last_step = if password_stdin { 0 } else { prove(&totp)? };
    let totp = Enrolled { secret: totp, last_step };
    let mut made = Vec::new();
    let done = plan.carry_out(&admin, password, totp, &mut made).await;
    let config = match done {
        Ok(config) => config,
        Err(error) => {
            if !made.is_empty() {
                output::note(&format!("made so far, and left as it is: {}", made.join(", ")));
            }
            return Err(error);
        }
    };
    let log = config.name.as_deref().unwrap_or_default();
    if json {
        output::json(&Done {
            dir: &dir,
            config: &config.file,
            administrator: &admin,
            otpauth: otpauth.expose_secret(),
            log,
        })?;
    } else {
        for made in &made {
            output::line(&format!("made {made}"));
        }
        output::line(&format!("\nThe log is called {log}; receipts carry that name for ever."));
        output::line("Keep a copy of the master key somewhere else: without it the database does not open.");
        output::line(&format!("\nNext: countersign serve --config {}", config.file.display()));
        output::line(&format!("      countersign --server http://{} login --user {admin}", config.listen));
    }
    Ok(ExitCode::SUCCESS)
}

/// What there is and what is to be made.
#[derive(Debug)]
struct Plan {
    dir: PathBuf,
    /// Written by the operator beforehand: then it decides where everything lies, and what the log is called.
    existing: Option<Config>,
}

impl Plan {
    fn make(dir: &Path) -> anyhow::Result<Self> {
        if dir.join(config::DEMO).exists() {
            return Err(Failure::new(format!("{} is the folder of a demo", dir.display()))
                .hint("name another folder")
                .into());
        }
        let file = dir.join(config::FILE);
        let existing = file.exists().then(|| Config::load(&file, &Overrides::default())).transpose()?;
        Ok(Self { dir: dir.to_owned(), existing })
    }

    /// A database that is set up keeps its keys and people; said before anybody chose a password for nothing.
    async fn refuse_existing(&self) -> anyhow::Result<()> {
        let default = || Database::Sqlite(self.dir.join(config::DATABASE));
        let database = self.existing.as_ref().map_or_else(default, |config| config.database.clone());
        if database.file().is_none_or(Path::exists) {
            let store = wiring::open_database(&database).await?;
            refuse_bootstrapped(&store, &database).await?;
        }
        Ok(())
    }

    /// The log's name: from the configuration, or else this machine's.
    fn config_name(&self) -> anyhow::Result<String> {
        if let Some(name) = self.existing.as_ref().and_then(|config| config.name.clone()) {
            return Ok(name);
        }
        let host = nix::unistd::gethostname()?.into_string().unwrap_or_default();
        let hint = format!("write `name = \"log.example.com\"` into {} first", self.dir.join(config::FILE).display());
        match countersign_ledger::log_origin(&host, 1) {
            Ok(_) => Ok(host),
            Err(error) => {
                Err(Failure::new(format!("this machine's name does not name a log: {error}")).hint(hint).into())
            }
        }
    }

    async fn carry_out(
        self,
        admin: &str,
        password: SecretString,
        totp: Enrolled,
        made: &mut Vec<String>,
    ) -> anyhow::Result<Config> {
        let name = self.config_name()?;
        if !self.dir.exists() {
            files::private_folder(&self.dir)?;
            made.push(self.dir.display().to_string());
        }
        let config = if let Some(config) = self.existing {
            config
        } else {
            let file = self.dir.join(config::FILE);
            files::create(&file, CONFIG_TEXT.replace("{name}", &name).as_bytes(), 0o644)?;
            made.push(file.display().to_string());
            Config::load(&file, &Overrides::default())?
        };
        if !config.data.exists() {
            made.push(config.data.display().to_string());
        }
        files::private_folder(&config.data)?;
        let store = wiring::open_database(&config.database).await?;
        refuse_bootstrapped(&store, &config.database).await?;
        if !config.policy.exists() {
            files::create(&config.policy, POLICY_TEXT.as_bytes(), 0o644)?;
            made.push(config.policy.display().to_string());
        }
        let policy =
            std::fs::read_to_string(&config.policy).map_err(|error| files::cannot("read", &config.policy, &error))?;
        let master = match &config.master_key {
            MasterKeySource::File(file) if !file.exists() => {
                let master = MasterKey::generate(&SystemRandom)?;
                master.create_file(file)?;
                made.push(file.display().to_string());
                master
            }
            source => source.load().await?,
        };
        let password_hash = wiring::passwords().hash(Arc::new(SystemRandom), password).await?;
        let person = NewPerson {
            name: admin.to_owned(),
            password_hash,
            totp: Some(totp),
            groups: vec![GroupName::administrators()],
        };
        let bootstrap = Bootstrap { name: name.clone(), people: vec![person], policy };
        bootstrap.run(&store, &master, &SystemRandom, SystemClock.now()).await.map_err(wiring::words)?;
        made.push(config.database.to_string());
        Ok(Config { name: Some(name), ..config })
    }
}

async fn refuse_bootstrapped(store: &Store, database: &Database) -> anyhow::Result<()> {
    if is_bootstrapped(store).await.map_err(wiring::words)? {
        let hint = "start it with `countersign serve`, or name another folder for another server";
        return Err(Failure::new(format!("{database} is set up already")).hint(hint).into());
    }
    Ok(())
}

fn new_password(from: prompt::From, admin: &str) -> anyhow::Result<SecretString> {
    let password = prompt::new_password(from, admin)?;
    if password.expose_secret().chars().count() < PASSWORD_MIN {
        return Err(Failure::new(format!("a password has at least {PASSWORD_MIN} characters; nothing was made")).into());
    }
    Ok(password)
}

fn show(admin: &str, otpauth: &SecretString) -> anyhow::Result<()> {
    output::line(&format!("The second factor of {admin}. Scan it with an authenticator app; it is shown this once:\n"));
    output::line(&qr::terminal(otpauth.expose_secret())?);
    output::line(otpauth.expose_secret());
    Ok(())
}

/// Asks for two codes that follow each other: a single one may be typed from a screen that then is closed without saving.
fn prove(totp: &TotpSecret) -> anyhow::Result<i64> {
    let first = asked(totp, "\nThe code that the app shows now: ", None)?;
    let last = asked(totp, "And the next one: ", Some(first))?;
    Ok(i64::try_from(last)?)
}

fn asked(totp: &TotpSecret, text: &str, after: Option<u64>) -> anyhow::Result<u64> {
    for _ in 0..TRIES {
        let code = prompt::code(prompt::From::Terminal, text)?;
        match judge(totp, &code, SystemClock.now(), after) {
            Ok(step) => return Ok(step),
            Err(why) => output::note(why),
        }
    }
    let hint = "check the clocks of this machine and of the phone, then run `countersign init` again";
    Err(Failure::new("no right code; nothing was made").hint(hint).into())
}

fn judge(totp: &TotpSecret, code: &SecretString, now: Micros, after: Option<u64>) -> Result<u64, &'static str> {
    match (totp.check(code.expose_secret(), now, false), after) {
        (None, _) => Err("that is not the code"),
        (Some(step), Some(after)) if step <= after => Err("that is the same code again: wait for the next one"),
        (Some(step), _) => Ok(step),
    }
}

#[cfg(test)]
mod tests;
