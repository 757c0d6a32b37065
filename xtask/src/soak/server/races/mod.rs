//! Races of sixty-four connections, each of which must have exactly one winner: counted from the answers, and again from the ledger.
//!
//! They go over HTTP to the built program, because on PostgreSQL the sixty-four are spread over two processes of it, which share nothing but the
//! database; and they go in sittings, each with a service and authenticators of its own, so that a round always finds a code that nobody has sent.

mod crowd;
mod expiry;
mod table;
mod tally;

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::home::{Engine, Home, session, token};
use super::http::Http;
use super::people::Approver;
use super::running::Running;
use table::Table;
pub(crate) use tally::Tally;

/// Rounds of one sitting: groups stay small, and so do the answers that list who could approve.
const SITTING: u32 = 40;
/// Of each round, in the races at the table.
const APPROVERS: usize = 4;

/// One request may need one or two of security; each grant is for one use.
const POLICY: &str = r#"version = 1

[[rule]]
id = "one-of-security"
effect = "require"
action = "command.run"
target = "one-*"
by = "person:alice"
reason = ".+"
quorum = [{ k = 1, of = "local:security", factors = ["totp"] }]
grant = { ttl = "5m", uses = 1 }

[[rule]]
id = "two-of-security"
effect = "require"
action = "command.run"
target = "two-*"
by = "person:alice"
reason = ".+"
quorum = [{ k = 2, of = "local:security", factors = ["totp"] }]
grant = { ttl = "5m", uses = 1 }
"#;

/// So many rounds of each race.
pub(crate) fn race(engine: Engine, binary: &Path, parent: &Path, rounds: u32) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut left = rounds;
    while left > 0 {
        let now = left.min(SITTING);
        sit(engine, binary, parent, now, &mut tally)?;
        left -= now;
        if !tally.wrong().is_empty() {
            break;
        }
    }
    Ok(tally)
}

fn sit(engine: Engine, binary: &Path, parent: &Path, rounds: u32, tally: &mut Tally) -> Result<()> {
    let count = rounds as usize;
    // Those of the expiry take two codes each.
    let home = Home::new(engine, binary, parent, APPROVERS * count + count.div_ceil(2), Some(POLICY))?;
    let servers = serve(&home)?;
    let addresses: Vec<&str> = servers.iter().map(|(_, address)| address.as_str()).collect();
    let (first, second) = (*addresses.first().context("no server")?, *addresses.last().context("no server")?);
    let requester = token(&session(&mut Http::connect(first)?, &home.people.requester)?)?;
    let mut approvers = log_in(&home, first, second)?;
    let for_expiry = approvers.split_off(APPROVERS * count);

    let (raced, expired) = std::thread::scope(|scope| {
        let expiry = scope.spawn(|| expiry::race(&addresses, &requester, for_expiry, rounds));
        let table = Table::new(&addresses, &requester).and_then(|mut table| {
            while approvers.len() >= APPROVERS {
                let people = approvers.split_off(approvers.len() - APPROVERS);
                table.round(people)?;
            }
            Ok(table.tally)
        });
        (table, expiry.join())
    });
    let mut sitting = raced?;
    sitting.add(expired.map_err(|_| anyhow::anyhow!("the race against the clock panicked"))??);
    let mut http = Http::connect(first)?;
    sitting.hold_to_the_ledger(&mut http, &requester)?;
    if let Some(broken) = home.verify("--server", format!("http://{first}"), &[])? {
        sitting.is_wrong(broken);
    }
    drop(http);
    for (running, _) in servers {
        let ended = running.stop()?;
        ensure!(ended.status.success(), "a server ended with {}: {}", ended.status, home.log());
        // On a slow machine its log may well tell that it has waited for the database in vain.
        let panics = ended.complaints.into_iter().filter(|complaint| complaint.contains("panicked"));
        panics.for_each(|complaint| sitting.is_wrong(complaint));
    }
    if let Some(broken) = home.verify("--dir", home.dir(), &[])? {
        sitting.is_wrong(broken);
    }
    tally.add(sitting);
    Ok(())
}

/// One process where the database belongs to one, else two.
fn serve(home: &Home) -> Result<Vec<(Running, String)>> {
    let mut servers = Vec::new();
    let names: &[&str] = match home.engine {
        Engine::Sqlite => &["log.txt"],
        Engine::Postgres => &["log.txt", "log-2.txt"],
    };
    for name in names {
        let mut running = home.spawn(&[], name)?;
        let address = running.address().with_context(|| home.log())?;
        servers.push((running, address));
    }
    Ok(servers)
}

/// Every second one at the other server.
fn log_in(home: &Home, first: &str, second: &str) -> Result<Vec<Approver>> {
    let mut https = [Http::connect(first)?, Http::connect(second)?];
    let mut approvers = Vec::new();
    for (number, login) in home.people.approvers.iter().enumerate() {
        let Some(http) = https.get_mut(number % 2) else { continue };
        approvers.push(Approver::new(login.clone(), token(&session(http, login)?)?));
    }
    Ok(approvers)
}
