//! Approvals over HTTP, each timed from the first byte sent to the last byte read.

use std::collections::VecDeque;
use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use countersign_keys::totp::TotpSecret;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use crate::approvers::{GROUP, Member, People};
use crate::folder::now;
use crate::http::Connection;

const STEP: i64 = 30;
/// Setting up is not measured, so it may use as many connections as it likes.
const SETUP_CLIENTS: usize = 16;

/// An approval that is ready to be sent.
struct Ready<'a> {
    approver: &'a Approver,
    request: String,
    challenge: String,
    digest: String,
}

/// Somebody whose codes count once.
struct Approver {
    number: usize,
    member: Member,
    /// The step of the last code that was sent.
    last_step: AtomicI64,
}

#[derive(Serialize)]
struct Measured {
    micros: Vec<f64>,
    seconds: f64,
}

#[derive(Deserialize)]
struct View {
    id: String,
    digest: String,
    you: You,
}

#[derive(Deserialize)]
struct You {
    challenge: Option<String>,
}

/// Reads `CLIENTS COUNT` from standard input, asks for that many operations and says `ready`; at the next line it approves them all, and answers with a
/// line of JSON. Approvers take turns, so that there is little waiting for codes.
pub(crate) fn serve(dir: &Path, server: &str) -> Result<()> {
    let mut people = People::read(dir)?.people.into_iter();
    let asker = people.next().context("nobody is there")?;
    let approvers: Vec<Approver> =
        people.enumerate().map(|(number, member)| Approver { number, member, last_step: AtomicI64::new(0) }).collect();
    let mut turns = approvers.iter().cycle();
    let mut serial = 0;
    let mut orders = std::io::stdin().lock().lines();
    while let Some(line) = orders.next() {
        let line = line?;
        let (clients, count) = line.split_once(' ').context("say CLIENTS COUNT")?;
        let (clients, count): (usize, usize) = (clients.parse()?, count.parse()?);
        if count > approvers.len() {
            bail!("there are {} approvers, and each approves once in a measurement", approvers.len());
        }
        serial += 1;
        let ready = prepare(server, &asker, turns.by_ref().take(count).collect(), serial)?;
        wait_for_new_codes(&ready);
        say("ready")?;
        orders.next().context("nobody said go")??;
        let measured = measure(server, clients, ready)?;
        say(&serde_json::to_string(&measured)?)?;
    }
    Ok(())
}

fn say(line: &str) -> Result<()> {
    println!("{line}");
    Ok(std::io::stdout().flush()?)
}

fn prepare<'a>(server: &str, asker: &Member, approvers: VecDeque<&'a Approver>, serial: u64) -> Result<Vec<Ready<'a>>> {
    let done = Mutex::new(Vec::with_capacity(approvers.len()));
    let work = Mutex::new(approvers);
    each(server, SETUP_CLIENTS, |connection| {
        let Some(approver) = next(&work) else { return Ok(false) };
        let Approver { number, member, .. } = approver;
        let target = number / GROUP;
        let body = format!(
            r#"{{"action":"command.run","target":"g{target}","parameters":{{"argv":["echo","{serial}","{number}"],"cwd":"/","user":"bench"}}}}"#
        );
        let pending: View = serde_json::from_slice(&connection.call("POST", "/requests", &asker.token, &body)?)?;
        let path = format!("/requests/{}", pending.id);
        let seen: View = serde_json::from_slice(&connection.call("GET", &path, &member.token, "")?)?;
        let challenge = seen.you.challenge.context("an approver may not approve")?;
        let ready = Ready { approver, request: seen.id, challenge, digest: seen.digest };
        done.lock().unwrap_or_else(PoisonError::into_inner).push(ready);
        Ok(true)
    })?;
    Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Waits until nobody's current code was used before.
fn wait_for_new_codes(ready: &[Ready<'_>]) {
    let used = ready.iter().map(|ready| ready.approver.last_step.load(Ordering::Relaxed)).max().unwrap_or(0);
    while step() <= used {
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn step() -> i64 {
    now().as_secs() / STEP
}

fn measure(server: &str, clients: usize, ready: Vec<Ready<'_>>) -> Result<Measured> {
    let count = ready.len();
    let work = Mutex::new(VecDeque::from(ready));
    let times = Mutex::new(Vec::with_capacity(count));
    let begin = Instant::now();
    each(server, clients, |connection| {
        let Some(ready) = next(&work) else { return Ok(false) };
        let Approver { member, last_step, .. } = ready.approver;
        let secret = TotpSecret::from_payload(&member.secret)?;
        let at = now();
        let code = secret.code_at(at);
        last_step.store(at.as_secs() / STEP, Ordering::Relaxed);
        let body = format!(
            r#"{{"challenge":"{}","code":"{}","digest":"{}"}}"#,
            ready.challenge,
            code.expose_secret(),
            ready.digest
        );
        let path = format!("/requests/{}/answer", ready.request);
        let begin = Instant::now();
        connection.call("POST", &path, &member.token, &body)?;
        let micros = begin.elapsed().as_secs_f64() * 1e6;
        times.lock().unwrap_or_else(PoisonError::into_inner).push(micros);
        Ok(true)
    })?;
    let seconds = begin.elapsed().as_secs_f64();
    Ok(Measured { micros: times.into_inner().unwrap_or_else(PoisonError::into_inner), seconds })
}

/// Lets so many connections work until there is nothing left to do.
fn each(server: &str, clients: usize, work: impl Fn(&mut Connection) -> Result<bool> + Sync) -> Result<()> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..clients)
            .map(|_| {
                scope.spawn(|| {
                    let mut connection = Connection::open(server)?;
                    while work(&mut connection)? {}
                    Ok(())
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(result) => result,
            Err(_) => bail!("a client panicked"),
        })
    })
}

fn next<T>(work: &Mutex<VecDeque<T>>) -> Option<T> {
    work.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
}
