//! Where a service lives between its starts, on either engine.
//!
//! Its people are those of a demo, because a client could only make one of them in thirty seconds. What the demo has written is served by `serve` then,
//! as an operator's; on PostgreSQL, after its rows were copied there.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::http::{Call, Http};
use super::people::{Approver, Login, People};
use super::postgres::Postgres;
use super::running::Running;

/// What the service keeps its state in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        })
    }
}

/// A folder with a configuration, and the database that it names.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) engine: Engine,
    pub(crate) people: People,
    binary: PathBuf,
    dir: TempDir,
    log_key: String,
    postgres: Option<Postgres>,
}

/// The files of the service and of its demo.
const CONFIG: &str = "countersign.toml";
const POLICY: &str = "policy.toml";
const DEMO: &str = "demo.json";

impl Home {
    /// `binary` is the built `countersign`; the folder is a new one under `parent`. Without a policy it is the demo's.
    pub(crate) fn new(
        engine: Engine,
        binary: &Path,
        parent: &Path,
        approvers: usize,
        policy: Option<&str>,
    ) -> Result<Self> {
        let dir = tempfile::tempdir_in(parent).context("could not make a folder")?;
        let people = People::invent(dir.path(), approvers)?;
        let mut home = Self { engine, people, binary: binary.to_owned(), dir, log_key: String::new(), postgres: None };
        home.begin(policy)?;
        if engine == Engine::Postgres {
            home.move_to_postgres()?;
        }
        Ok(home)
    }

    /// The database server, where there is one.
    pub(crate) fn postgres(&self) -> Result<&Postgres> {
        self.postgres.as_ref().context("there is no PostgreSQL here")
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts the service, and waits for nothing. `name` tells the logs of several processes apart.
    pub(crate) fn spawn(&self, wrapper: &[String], name: &str) -> Result<Running> {
        let mut command = self.command();
        command.args(["serve", "--listen", "127.0.0.1:0", "--dir"]).arg(self.dir());
        Running::spawn(wrapper, command, &self.dir().join(name))
    }

    /// Starts it, and waits until it answers.
    pub(crate) fn start(&self) -> Result<(Running, String)> {
        let mut running = self.spawn(&[], "log.txt")?;
        let address = running.address().with_context(|| self.log())?;
        Ok((running, address))
    }

    /// Walks the whole log, where it lies or over HTTP; the first break in words.
    pub(crate) fn verify(&self, how: &str, what: impl AsRef<OsStr>, kept: &[PathBuf]) -> Result<Option<String>> {
        let mut command = self.command();
        command.args(["ledger", "verify", how]).arg(what).args(["--log-key", &self.log_key]);
        for file in kept {
            command.arg("--checkpoint").arg(file);
        }
        let Output { status, stderr, .. } = command.output().context("could not start `countersign ledger verify`")?;
        Ok((!status.success()).then(|| format!("`ledger verify {how}`: {}", String::from_utf8_lossy(&stderr).trim())))
    }

    /// What the last process of [`Home::start`] logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir().join("log.txt")).unwrap_or_default()
    }

    /// The demo makes the people, and the administrator sets the policy, if there is one.
    fn begin(&mut self, policy: Option<&str>) -> Result<()> {
        let mut command = self.command();
        command.args(["demo", "--json", "--listen", "127.0.0.1:0", "--dir"]).arg(self.dir());
        let mut demo = Running::spawn(&[], command, &self.dir().join("demo.txt"))?;
        let address =
            demo.address().with_context(|| fs::read_to_string(self.dir().join("demo.txt")).unwrap_or_default())?;
        let mut http = Http::connect(&address)?;
        let told = session(&mut http, &self.people.administrator)?;
        told["log"]["vkey"].as_str().context("a login without the log's key")?.clone_into(&mut self.log_key);
        if let Some(text) = policy {
            let administrator = Approver::new(self.people.administrator.clone(), token(&told)?);
            apply(&mut http, administrator, text)?;
            fs::write(self.dir().join(POLICY), text)?;
        }
        drop(http);
        demo.stop()?;
        fs::remove_file(self.dir().join(DEMO))?;
        fs::write(self.dir().join(CONFIG), "")?;
        Ok(())
    }

    /// The rows of the demo go where the configuration then says.
    fn move_to_postgres(&mut self) -> Result<()> {
        let postgres = Postgres::start()?;
        fs::write(self.dir().join(CONFIG), format!("[database]\nurl = \"{}\"\n", postgres.url()))?;
        // It finds nothing that was set up, and has made the tables then.
        let first = self.spawn(&[], "first.txt")?.ends(Duration::from_secs(30))?;
        if first.status.success() {
            bail!("an empty database was served");
        }
        let database = self.dir().join("countersign.db");
        postgres
            .copy(&database)
            .with_context(|| fs::read_to_string(self.dir().join("first.txt")).unwrap_or_default())?;
        for name in ["countersign.db", "countersign.db-wal", "countersign.db-shm"] {
            let file = self.dir().join(name);
            if file.exists() {
                fs::remove_file(file)?;
            }
        }
        self.postgres = Some(postgres);
        Ok(())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.stdin(Stdio::null());
        for name in
            ["COUNTERSIGN_SERVER", "COUNTERSIGN_DEMO", "COUNTERSIGN_HOME", "XDG_CONFIG_HOME", "HOME", "RUST_LOG"]
        {
            command.env_remove(name);
        }
        command
    }
}

/// Logs somebody in; what the server told.
pub(crate) fn session(http: &mut Http, login: &Login) -> Result<Value> {
    let body = json!({"name": login.name, "password": login.password});
    let answer = http.call(Call { path: "/login", body: Some(&body), ..Call::default() })?;
    if answer.status != 200 {
        bail!("the login of {} was answered with {}: {}", login.name, answer.status, answer.text());
    }
    Ok(answer.json())
}

pub(crate) fn token(told: &Value) -> Result<String> {
    told["token"].as_str().map(str::to_owned).context("a login without a token")
}

/// Asks for a policy, and confirms it.
fn apply(http: &mut Http, mut administrator: Approver, text: &str) -> Result<()> {
    let change = json!({"change": {"kind": "policy_apply", "text": text}, "reason": "rules of the soak"});
    let token = administrator.token.clone();
    let asked = http.call(Call { path: "/admin", token: &token, body: Some(&change), ..Call::default() })?.json();
    let code = administrator.fresh_code()?.context("no code")?;
    let proof = json!({"challenge": asked["you"]["challenge"], "code": code, "digest": asked["digest"]});
    let path = format!("/requests/{}/answer", asked["id"].as_str().unwrap_or_default());
    let done = http.call(Call { path: &path, token: &token, body: Some(&proof), ..Call::default() })?;
    if done.json()["stage"] != "granted" {
        bail!("the policy was not taken: {asked} {}", done.text());
    }
    Ok(())
}
