//! A demo under the load of many clients, as something to be killed. Standard library and the built program only: what is checked is what anybody
//! could check from outside. The same file serves `cargo xtask soak crash --victim server` and the short run in the tests.

mod client;
mod http;
mod memory;
mod people;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use client::Client;
use http::{Call, Http};
use memory::Damage;
use people::{Approver, Login};

const CLIENTS: usize = 8;
const APPROVERS: usize = 64;
/// Ready after a kill: far above what it takes, so that a slow machine is no finding.
const READY: Duration = Duration::from_secs(20);
/// Every so many rounds one more process is killed while it is still starting.
const EARLY_KILL_EVERY: u64 = 3;
/// Checkpoints that are kept to hold the log to; older ones make room.
const KEPT: usize = 8;

/// The server between two lives, with everybody who was told something.
#[derive(Debug)]
pub(crate) struct Server {
    binary: PathBuf,
    dir: TempDir,
    people: (Login, Vec<Login>),
    clients: Vec<Client>,
    working: Vec<JoinHandle<Client>>,
    kept: Vec<PathBuf>,
    log_key: String,
    found: Damage,
    rounds: u64,
    early_kills: u64,
    slowest_start: Duration,
}

impl Server {
    /// `binary` is the built `countersign`; the demo lies in a new folder under `parent`.
    pub(crate) fn new(binary: &Path, parent: &Path) -> Result<Self> {
        let dir = tempfile::tempdir_in(parent).context("could not make a folder")?;
        let people = people::invent(dir.path(), APPROVERS)?;
        Ok(Self {
            binary: binary.to_owned(),
            dir,
            people,
            clients: Vec::new(),
            working: Vec::new(),
            kept: Vec::new(),
            log_key: String::new(),
            found: Damage::default(),
            rounds: 0,
            early_kills: 0,
            slowest_start: Duration::ZERO,
        })
    }

    /// Starts it on what the last round left behind, and puts it under load.
    pub(crate) fn start(&mut self) -> Result<Child> {
        let (child, address) = self.serve()?;
        if self.clients.is_empty() {
            self.log_in(&address)?;
        }
        for client in self.clients.drain(..) {
            let address = address.clone();
            self.working.push(std::thread::spawn(move || client.run(&address)));
        }
        Ok(child)
    }

    /// To be called when the process is gone: walks the log where it lies, then starts the server again without any repair, and asks it for all that
    /// it told since the last time, or ever.
    pub(crate) fn damage(&mut self, all: bool) -> Result<Vec<String>> {
        self.rounds += 1;
        for working in std::mem::take(&mut self.working) {
            self.clients.push(working.join().map_err(|_| anyhow!("a client panicked"))?);
        }
        self.keep_checkpoints()?;
        let mut damage = Damage::default();
        // Reading the database also recovers it, so in every other round the server itself has to, and the walk comes after its second death.
        let walk_first = self.rounds.is_multiple_of(2);
        if walk_first {
            self.verify(&mut damage, "--dir", self.dir())?;
        }
        if self.rounds.is_multiple_of(EARLY_KILL_EVERY) {
            self.early_kill()?;
        }
        let (mut child, address) = self.serve()?;
        let looked = self.look(&mut damage, &address, all);
        child.kill()?;
        child.wait()?;
        looked?;
        if !walk_first {
            self.verify(&mut damage, "--dir", self.dir())?;
        }
        let words = fs::read_to_string(self.errors())?;
        damage.strange.extend(
            words.lines().filter(|line| line.contains("panicked") || line.contains("ERROR")).map(str::to_owned),
        );
        let all = damage.all();
        self.found.add(damage);
        Ok(all)
    }

    /// The demo's folder.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Acknowledgements of all rounds, by verb.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = BTreeMap::new();
        for (verb, count) in self.clients.iter().flat_map(|client| client.memory.counts()) {
            *counts.entry(*verb).or_default() += count;
        }
        counts
    }

    /// What became of everything, in one paragraph.
    pub(crate) fn report(&self) -> String {
        let counts = self.counts();
        let verbs: Vec<String> = counts.iter().map(|(verb, count)| format!("{verb} {count}")).collect();
        let mut put_off = BTreeMap::<&str, u64>::new();
        for (what, count) in self.clients.iter().flat_map(|client| &client.put_off) {
            *put_off.entry(what).or_default() += count;
        }
        let put_off: Vec<String> = put_off.iter().map(|(what, count)| format!("{what} {count}")).collect();
        let Damage { lost, released_twice, broken, strange } = &self.found;
        format!(
            "{} kills under load, {} during a start; acknowledged {} ({}); lost {}, released twice {}, ledger breaks {}, strange {}; \
             put off {} ({}); slowest start after a kill {} ms",
            self.rounds,
            self.early_kills,
            counts.values().sum::<u64>(),
            verbs.join(", "),
            lost.len(),
            released_twice.len(),
            broken.len(),
            strange.len(),
            put_off.len(),
            put_off.join(", "),
            self.slowest_start.as_millis()
        )
    }

    fn look(&mut self, damage: &mut Damage, address: &str, all: bool) -> Result<()> {
        let mut http = Http::connect(address)?;
        for client in &mut self.clients {
            damage.add(client.check(&mut http, all)?);
        }
        self.verify(damage, "--server", format!("http://{address}"))
    }

    fn serve(&mut self) -> Result<(Child, String)> {
        let begun = Instant::now();
        let (mut child, first) = self.spawn()?;
        let address = first.recv_timeout(READY).ok().as_deref().and_then(address_of);
        // The first start makes the database, and hashes everybody's password.
        if self.rounds > 0 {
            self.slowest_start = self.slowest_start.max(begun.elapsed());
        }
        let Some(address) = address else {
            child.kill()?;
            child.wait()?;
            bail!("the server did not get ready: {}", fs::read_to_string(self.errors())?);
        };
        Ok((child, address))
    }

    /// The process, and where its first line will come from.
    fn spawn(&self) -> Result<(Child, std::sync::mpsc::Receiver<String>)> {
        let mut child = self
            .countersign()
            .args(["demo", "--json", "--listen", "127.0.0.1:0", "--dir"])
            .arg(self.dir())
            .stdout(Stdio::piped())
            .stderr(File::options().create(true).append(true).open(self.errors())?)
            .spawn()
            .context("could not start the server")?;
        let stdout = child.stdout.take().context("the server has no output")?;
        let (sender, first) = channel();
        std::thread::spawn(move || {
            if let Some(Ok(line)) = BufReader::new(stdout).lines().next() {
                // Nobody waits for it any more if the server was killed.
                let _ = sender.send(line);
            }
        });
        Ok((child, first))
    }

    /// Dies while it recovers what a kill left.
    fn early_kill(&mut self) -> Result<()> {
        let (mut child, first) = self.spawn()?;
        let moment = Duration::from_millis(self.rounds * 7 % 60);
        if first.recv_timeout(moment) == Err(RecvTimeoutError::Timeout) {
            self.early_kills += 1;
        }
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    fn log_in(&mut self, address: &str) -> Result<()> {
        let mut http = Http::connect(address)?;
        let told = session(&mut http, &self.people.0)?;
        told["log"]["vkey"].as_str().context("a login without the log's key")?.clone_into(&mut self.log_key);
        let requester = token(&told)?;
        let mut approvers = Vec::new();
        for login in &self.people.1 {
            approvers.push(Approver::new(login, token(&session(&mut http, login)?)?));
        }
        for number in 0..CLIENTS {
            let own = approvers.split_off(approvers.len() - APPROVERS / CLIENTS);
            self.clients.push(Client::new(number, requester.clone(), own));
        }
        Ok(())
    }

    fn keep_checkpoints(&mut self) -> Result<()> {
        for (number, client) in self.clients.iter_mut().enumerate() {
            if let Some(text) = client.checkpoint.take() {
                let file = self.dir.path().join(format!("kept-{}-{number}.txt", self.rounds));
                fs::write(&file, text)?;
                self.kept.push(file);
            }
        }
        // Some of the oldest stay for ever.
        while self.kept.len() > KEPT {
            self.kept.remove(KEPT / 2);
        }
        Ok(())
    }

    fn verify(&self, damage: &mut Damage, how: &str, what: impl AsRef<OsStr>) -> Result<()> {
        let mut command = self.countersign();
        command.args(["ledger", "verify", how]).arg(what);
        if !self.log_key.is_empty() {
            command.args(["--log-key", &self.log_key]);
        }
        for file in &self.kept {
            command.arg("--checkpoint").arg(file);
        }
        let Output { status, stderr, .. } = command.output().context("could not start `countersign ledger verify`")?;
        if !status.success() {
            damage.broken.push(format!("`ledger verify {how}`: {}", String::from_utf8_lossy(&stderr).trim()));
        }
        Ok(())
    }

    fn countersign(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.stdin(Stdio::null()).env("COUNTERSIGN_HOME", self.dir().join("home"));
        for name in ["COUNTERSIGN_SERVER", "COUNTERSIGN_DEMO", "RUST_LOG"] {
            command.env_remove(name);
        }
        command
    }

    fn errors(&self) -> PathBuf {
        self.dir().join("stderr.txt")
    }
}

fn address_of(line: &str) -> Option<String> {
    let about: Value = serde_json::from_str(line).ok()?;
    about["url"].as_str()?.strip_prefix("http://").map(str::to_owned)
}

fn session(http: &mut Http, login: &Login) -> Result<Value> {
    let body = json!({"name": login.name, "password": login.password});
    let answer = http.call(Call { path: "/login", body: Some(&body), ..Call::default() })?;
    if answer.status != 200 {
        bail!("the login of {} was answered with {}: {}", login.name, answer.status, answer.text());
    }
    Ok(answer.json())
}

fn token(told: &Value) -> Result<String> {
    told["token"].as_str().map(str::to_owned).context("a login without a token")
}
