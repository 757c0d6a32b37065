//! Approvals over HTTP, each timed from the first byte sent to the last byte read.

use std::collections::VecDeque;
use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use countersign_keys::totp::TotpSecret;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use crate::http::Connection;
use crate::seed::{GROUP, Member, People, now};

const STEP: i64 = 30;
/// Setting up is not measured, so it may use as many connections as it likes.
const SETUP_CLIENTS: usize = 16;

/// An approval that is ready to be sent.
struct Ready<'a> {
    approver: &'a Member,
    request: String,
    challenge: String,
    digest: String,
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
/// line of JSON.
pub(crate) fn serve(dir: &Path, server: &str) -> Result<()> {
    let people = People::read(dir)?;
    let (asker, approvers) = people.people.split_first().context("nobody is there")?;
    let mut serial = 0;
    let mut last_step = 0;
    let mut orders = std::io::stdin().lock().lines();
    while let Some(line) = orders.next() {
        let line = line?;
        let (clients, count) = line.split_once(' ').context("say CLIENTS COUNT")?;
        let (clients, count): (usize, usize) = (clients.parse()?, count.parse()?);
        let ready = prepare(server, asker, approvers.get(..count).context("not enough approvers")?, &mut serial)?;
        wait_for_new_codes(&mut last_step);
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

fn prepare<'a>(server: &str, asker: &Member, approvers: &'a [Member], serial: &mut u64) -> Result<Vec<Ready<'a>>> {
    *serial += 1;
    let round = *serial;
    let work = Mutex::new(approvers.iter().enumerate().collect::<VecDeque<_>>());
    let done = Mutex::new(Vec::with_capacity(approvers.len()));
    each(server, SETUP_CLIENTS, |connection| {
        let Some((number, approver)) = next(&work) else { return Ok(false) };
        let target = number / GROUP;
        let body = format!(
            r#"{{"action":"command.run","target":"g{target}","parameters":{{"argv":["echo","{round}","{number}"],"cwd":"/","user":"bench"}}}}"#
        );
        let pending: View = serde_json::from_slice(&connection.call("POST", "/requests", &asker.token, &body)?)?;
        let path = format!("/requests/{}", pending.id);
        let seen: View = serde_json::from_slice(&connection.call("GET", &path, &approver.token, "")?)?;
        let challenge = seen.you.challenge.context("an approver may not approve")?;
        let ready = Ready { approver, request: seen.id, challenge, digest: seen.digest };
        done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(ready);
        Ok(true)
    })?;
    Ok(done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
}

/// Waits until nobody's current code was used in an earlier round, and for the beginning of a step, so that codes last through the round.
fn wait_for_new_codes(last_step: &mut i64) {
    loop {
        let secs = now().as_secs();
        let step = secs / STEP;
        if step > *last_step && secs % STEP < 5 {
            *last_step = step + 1;
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn measure(server: &str, clients: usize, ready: Vec<Ready<'_>>) -> Result<Measured> {
    let count = ready.len();
    let work = Mutex::new(VecDeque::from(ready));
    let times = Mutex::new(Vec::with_capacity(count));
    let begin = Instant::now();
    each(server, clients, |connection| {
        let Some(ready) = next(&work) else { return Ok(false) };
        let secret = TotpSecret::from_payload(&ready.approver.secret)?;
        let code = secret.code_at(now());
        let body = format!(
            r#"{{"challenge":"{}","code":"{}","digest":"{}"}}"#,
            ready.challenge,
            code.expose_secret(),
            ready.digest
        );
        let path = format!("/requests/{}/answer", ready.request);
        let begin = Instant::now();
        connection.call("POST", &path, &ready.approver.token, &body)?;
        let micros = begin.elapsed().as_secs_f64() * 1e6;
        times.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(micros);
        Ok(true)
    })?;
    let seconds = begin.elapsed().as_secs_f64();
    Ok(Measured { micros: times.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner), seconds })
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
            Err(_) => anyhow::bail!("a client panicked"),
        })
    })
}

fn next<T>(work: &Mutex<VecDeque<T>>) -> Option<T> {
    work.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop_front()
}
