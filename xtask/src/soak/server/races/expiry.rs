//! Approvals against a deadline. They wait for the clock, so they run beside the others, several deadlines after each other.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::super::faults::until;
use super::super::people::Approver;
use super::crowd::{CROWD, Crowd, Shot, code};
use super::tally::Tally;

const RACE: &str = "approve against expiry";
const DEADLINE: u32 = 2;
/// Deadlines in a row, and the time between two of them.
const BATCH: u32 = 10;
const APART: Duration = Duration::from_millis(120);
/// The first shot comes so many milliseconds before the deadline at most, and the others are spread behind it: where it comes changes from round to round, or the
/// same side would win them all.
const BEFORE: u64 = 120;
const SPREAD: Duration = Duration::from_millis(30);

/// A request that is about to end, an answer to it, and the moment of the first shot.
struct Due {
    request: Value,
    approval: Shot,
    first: SystemTime,
}

pub(super) fn race(addresses: &[&str], requester: &str, mut approvers: Vec<Approver>, rounds: u32) -> Result<Tally> {
    let mut crowd = Crowd::new(addresses, requester)?;
    let mut tally = Tally::default();
    let mut left = rounds;
    while left > 0 {
        let now = left.min(BATCH);
        let mut batch = Vec::new();
        for number in 0..now {
            let person = ((left - 1 - number) / 2) as usize;
            let approver = approvers.get_mut(person).context("one person for two rounds")?;
            batch.push(ask(&mut crowd, approver, left - number)?);
            std::thread::sleep(APART);
        }
        for due in &batch {
            fire(&mut crowd, &mut tally, due)?;
        }
        for due in &batch {
            conclude(&mut crowd, &mut tally, due)?;
        }
        left -= now;
    }
    Ok(tally)
}

fn ask(crowd: &mut Crowd, approver: &mut Approver, round: u32) -> Result<Due> {
    let code = code(approver)?;
    for patience in 0..5 {
        let seconds = DEADLINE << patience;
        let request = crowd.ask(&format!("one-expiry-{round}-{seconds}"), Some(seconds))?;
        let deadline = SystemTime::now() + Duration::from_secs(seconds.into());
        let first = deadline - Duration::from_millis(u64::from(round) * 37 % BEFORE);
        let approval = crowd.approval(&request, approver, &code)?;
        // On a machine that is very slow it is over before it was looked at; then there is no race.
        if !approval.body["challenge"].is_null() {
            return Ok(Due { request, approval, first });
        }
    }
    bail!("no request lives long enough to be looked at")
}

fn fire(crowd: &mut Crowd, tally: &mut Tally, due: &Due) -> Result<()> {
    let step = SPREAD / u32::try_from(CROWD)?;
    let shots: Vec<Shot> = (0_u32..)
        .take(CROWD)
        .map(|number| Shot { at: Some(due.first + step * number), ..due.approval.clone() })
        .collect();
    let answers = crowd.fire(&shots)?;
    let sorted = tally.sort(RACE, &answers);
    match sorted.done.len() {
        0 => tally.won_by(RACE, "expired"),
        _ => tally.one_winner(RACE, &sorted, |_| "granted".to_owned()),
    }
    let granted = sorted.done.len();
    tally.tells(RACE, &due.request, &[("request.granted", granted), ("request.expired", 1 - granted.min(1))]);
    Ok(())
}

/// The deadline has passed: it is one or the other, and stays that.
fn conclude(crowd: &mut Crowd, tally: &mut Tally, due: &Due) -> Result<()> {
    let requester = crowd.requester().to_owned();
    let mut stage = String::new();
    until("an end of the request", || {
        crowd.see(&due.request, &requester)?["stage"].as_str().unwrap_or_default().clone_into(&mut stage);
        Ok(stage != "challenged")
    })?;
    if stage != "granted" && stage != "expired" {
        tally.is_wrong(format!("{RACE}: it is {stage}"));
    }
    Ok(())
}
