//! A service with everybody who was told something by it, through any number of its deaths.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::client::Client;
use super::faults::until;
use super::home::{Engine, Home, session, token};
use super::http::Http;
use super::memory::Damage;
use super::people::Approver;
use super::running::{Ended, Running};

/// Every so many rounds one more process is killed while it is still starting.
const EARLY_KILL_EVERY: u64 = 3;
/// Checkpoints that are kept to hold the log to; older ones make room.
const KEPT: usize = 8;
/// Far more than a log needs to catch up.
const CATCHES_UP: Duration = Duration::from_secs(30);

/// How many there are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) clients: usize,
    /// Of each client. A code of each counts once in thirty seconds.
    pub(crate) approvers: usize,
}

/// The service, its clients, and what has been found so far.
#[derive(Debug)]
pub(crate) struct Load {
    home: Home,
    size: Size,
    clients: Vec<Client>,
    working: Vec<JoinHandle<Client>>,
    stop: Arc<AtomicBool>,
    turns: Arc<AtomicU64>,
    running: Option<Running>,
    address: String,
    kept: Vec<PathBuf>,
    found: Damage,
    /// Errors in its own log, of lives in which there should be none.
    complaints: Vec<String>,
    rounds: u64,
    early_kills: u64,
    slowest_start: Duration,
}

impl Load {
    /// `binary` is the built `countersign`; all files lie in a new folder under `parent`.
    pub(crate) fn new(engine: Engine, binary: &Path, parent: &Path, size: Size) -> Result<Self> {
        let home = Home::new(engine, binary, parent, size.clients * size.approvers, None)?;
        let mut load = Self {
            home,
            size,
            clients: Vec::new(),
            working: Vec::new(),
            stop: Arc::default(),
            turns: Arc::default(),
            running: None,
            address: String::new(),
            kept: Vec::new(),
            found: Damage::default(),
            complaints: Vec::new(),
            rounds: 0,
            early_kills: 0,
            slowest_start: Duration::ZERO,
        };
        load.log_everybody_in()?;
        Ok(load)
    }

    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// Starts it on what the last life left behind, and puts it under load.
    pub(crate) fn start(&mut self) -> Result<()> {
        let (running, address) = self.serve()?;
        self.begin(running, &address);
        Ok(())
    }

    /// The same where it may well be killed before it is ready: through another program, or by somebody who is told its number at once.
    pub(crate) fn start_under(&mut self, wrapper: &[String], tell: impl FnOnce(u32)) -> Result<()> {
        let mut running = self.home.spawn(wrapper, "log.txt")?;
        tell(running.pid());
        let address = running.address_within(CATCHES_UP).unwrap_or_default();
        self.begin(running, &address);
        Ok(())
    }

    /// Waits until its clients have taken so many turns more, however long that takes here.
    pub(crate) fn work(&self, turns: u64) -> Result<()> {
        let enough = self.turns.load(Ordering::Relaxed) + turns;
        until("turns of the clients", || Ok(self.turns.load(Ordering::Relaxed) >= enough))
    }

    /// Kills it. Fails if it has ended by itself.
    pub(crate) fn kill(&mut self) -> Result<()> {
        let complaints = self.end_by_a_kill()?;
        self.complaints.extend(complaints);
        Ok(())
    }

    /// The same for a life in which its disk or database was away, of which its log may tell; only panics are given.
    pub(crate) fn kill_in_trouble(&mut self) -> Result<Vec<String>> {
        let complaints = self.end_by_a_kill()?;
        Ok(complaints.into_iter().filter(|complaint| complaint.contains("panicked")).collect())
    }

    fn end_by_a_kill(&mut self) -> Result<Vec<String>> {
        let mut running = self.running.take().context("nothing runs")?;
        let lived = running.is_running()?;
        let ended = running.kill()?;
        self.join()?;
        if !lived {
            bail!("it ended by itself with {}: {}", ended.status, self.home.log());
        }
        Ok(ended.complaints)
    }

    /// Whether it takes a login, which it has to write down.
    pub(crate) fn takes_logins(&self) -> bool {
        Http::connect(&self.address)
            .map_err(Into::into)
            .and_then(|mut http| session(&mut http, &self.home.people.administrator))
            .is_ok()
    }

    /// Waits for an end that comes by itself. What it says of its end is no finding.
    pub(crate) fn dies(&mut self, patience: Duration) -> Result<Ended> {
        let running = self.running.take().context("nothing runs")?;
        let ended = running.ends(patience)?;
        self.join()?;
        Ok(ended)
    }

    /// To be called while it lives: the clients stop, and what they were told is looked at where it is served.
    pub(crate) fn settle(&mut self, all: bool) -> Result<Vec<String>> {
        self.stop.store(true, Ordering::Relaxed);
        self.join()?;
        let mut damage = Damage::default();
        let address = self.address.clone();
        self.look(&mut damage, &address, all)?;
        self.stop.store(false, Ordering::Relaxed);
        Ok(self.conclude(damage))
    }

    /// Puts the clients to work again after [`Load::settle`].
    pub(crate) fn go_on(&mut self) -> Result<()> {
        let running = self.running.take().context("nothing runs")?;
        let address = self.address.clone();
        self.begin(running, &address);
        Ok(())
    }

    /// To be called when the process is gone: walks the log where it lies, then starts the server again without any repair, and asks it for all that
    /// it told since the last time, or ever.
    pub(crate) fn damage(&mut self, all: bool) -> Result<Vec<String>> {
        self.rounds += 1;
        self.keep_checkpoints()?;
        let mut damage = Damage::default();
        // Reading a SQLite database also recovers it, so in every other round the server itself has to, and the walk comes after its second death.
        let walk_first = self.rounds.is_multiple_of(2);
        if walk_first {
            self.verify_dir(&mut damage)?;
        }
        if self.rounds.is_multiple_of(EARLY_KILL_EVERY) {
            self.early_kill()?;
        }
        let (running, address) = self.serve()?;
        self.look(&mut damage, &address, all)?;
        let ended = running.kill()?;
        self.complain(&ended);
        if !walk_first {
            self.verify_dir(&mut damage)?;
        }
        Ok(self.conclude(damage))
    }

    /// Acknowledgements of all rounds, by verb.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = BTreeMap::new();
        for (verb, count) in self.clients.iter().flat_map(|client| client.memory.counts()) {
            *counts.entry(*verb).or_default() += count;
        }
        counts
    }

    /// Answers that put a client off, by verb and slug.
    pub(crate) fn put_off(&self) -> BTreeMap<&str, u64> {
        let mut put_off = BTreeMap::new();
        for (what, count) in self.clients.iter().flat_map(|client| &client.put_off) {
            *put_off.entry(what.as_str()).or_default() += count;
        }
        put_off
    }

    /// What became of everything, in one paragraph.
    pub(crate) fn report(&self) -> String {
        let counts = self.counts();
        let list = |map: &mut dyn Iterator<Item = (&str, u64)>| {
            map.map(|(what, count)| format!("{what} {count}")).collect::<Vec<_>>().join(", ")
        };
        let verbs = list(&mut counts.iter().map(|(verb, count)| (*verb, *count)));
        let put_off = list(&mut self.put_off().into_iter());
        let Damage { lost, released_twice, broken, strange } = &self.found;
        format!(
            "{}: {} deaths under load, {} during a start; acknowledged {} ({verbs}); lost {}, released twice {}, ledger breaks {}, strange {}, repairs by \
             hand 0; put off ({put_off}); slowest start after a death {} ms",
            self.home.engine,
            self.rounds,
            self.early_kills,
            counts.values().sum::<u64>(),
            lost.len(),
            released_twice.len(),
            broken.len(),
            strange.len(),
            self.slowest_start.as_millis()
        )
    }

    fn begin(&mut self, running: Running, address: &str) {
        self.running = Some(running);
        address.clone_into(&mut self.address);
        for client in self.clients.drain(..) {
            let (address, stop, turns) = (address.to_owned(), Arc::clone(&self.stop), Arc::clone(&self.turns));
            self.working.push(std::thread::spawn(move || client.run(&address, &stop, &turns)));
        }
    }

    fn join(&mut self) -> Result<()> {
        for working in std::mem::take(&mut self.working) {
            self.clients.push(working.join().map_err(|_| anyhow!("a client panicked"))?);
        }
        Ok(())
    }

    fn look(&mut self, damage: &mut Damage, address: &str, all: bool) -> Result<()> {
        let mut http = Http::connect(address)?;
        for client in &mut self.clients {
            damage.add(client.check(&mut http, all)?);
        }
        damage.broken.extend(self.home.verify("--server", format!("http://{address}"), &self.kept)?);
        Ok(())
    }

    fn serve(&mut self) -> Result<(Running, String)> {
        let begun = Instant::now();
        let started = self.home.start()?;
        if self.rounds > 0 {
            self.slowest_start = self.slowest_start.max(begun.elapsed());
        }
        Ok(started)
    }

    /// Dies while it recovers what a kill left.
    fn early_kill(&mut self) -> Result<()> {
        let mut running = self.home.spawn(&[], "log.txt")?;
        let moment = Duration::from_millis(self.rounds * 7 % 60);
        if running.address_within(moment).is_none() {
            self.early_kills += 1;
        }
        let ended = running.kill()?;
        self.complain(&ended);
        Ok(())
    }

    fn log_everybody_in(&mut self) -> Result<()> {
        let (running, address) = self.home.start()?;
        let mut http = Http::connect(&address)?;
        let requester = token(&session(&mut http, &self.home.people.requester)?)?;
        let mut approvers = Vec::new();
        for login in &self.home.people.approvers {
            approvers.push(Approver::new(login.clone(), token(&session(&mut http, login)?)?));
        }
        for number in 0..self.size.clients {
            let own = approvers.split_off(approvers.len() - self.size.approvers);
            self.clients.push(Client::new(number, requester.clone(), own));
        }
        running.stop()?;
        Ok(())
    }

    fn keep_checkpoints(&mut self) -> Result<()> {
        for (number, client) in self.clients.iter_mut().enumerate() {
            if let Some(text) = client.checkpoint.take() {
                let file = self.home.dir().join(format!("kept-{}-{number}.txt", self.rounds));
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

    fn verify_dir(&self, damage: &mut Damage) -> Result<()> {
        damage.broken.extend(self.home.verify("--dir", self.home.dir(), &self.kept)?);
        Ok(())
    }

    fn complain(&mut self, ended: &Ended) {
        self.complaints.extend(ended.complaints.iter().cloned());
    }

    fn conclude(&mut self, mut damage: Damage) -> Vec<String> {
        damage.strange.append(&mut self.complaints);
        let all = damage.all();
        self.found.add(damage);
        all
    }
}
