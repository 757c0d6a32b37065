//! The races that need no clock, one after the other.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::super::people::Approver;
use super::crowd::{CROWD, Crowd, Shot, code, mixed};
use super::tally::Tally;

/// Of one code: this many requests, each answered with it over several connections; the rest prove with it that their session is fresh.
const REQUESTS_OF_ONE_CODE: usize = 4;
const ANSWERS_OF_ONE_CODE: usize = 56;
/// So many different ones, the first of which is none.
const HEAD_STARTS: u64 = 8;

#[derive(Debug)]
pub(super) struct Table {
    crowd: Crowd,
    rounds: u32,
    pub(super) tally: Tally,
}

impl Table {
    pub(super) fn new(addresses: &[&str], requester: &str) -> Result<Self> {
        Ok(Self { crowd: Crowd::new(addresses, requester)?, rounds: 0, tally: Tally::default() })
    }

    /// Each race once, with people whose authenticators are new.
    pub(super) fn round(&mut self, people: Vec<Approver>) -> Result<()> {
        self.rounds += 1;
        let [mut alone, mut twice, mut left, mut right] =
            <[Approver; 4]>::try_from(people).ok().context("four people make a round")?;
        self.one_code(&mut alone)?;
        let pair = self.crowd.ask(&self.target("two", "slots"), None)?;
        self.one_challenge(&pair, &mut twice)?;
        self.last_slot(&pair, &mut left, &mut right)?;
        self.one_use(&pair)?;
        self.approve_or_deny(&mut alone, &right)?;
        self.approve_or_cancel(&mut left)
    }

    /// One code, for several requests and for a proof of freshness: it counts once.
    fn one_code(&mut self, approver: &mut Approver) -> Result<()> {
        const RACE: &str = "one code on 64 connections";
        let requests = (0..REQUESTS_OF_ONE_CODE)
            .map(|number| self.crowd.ask(&self.target("one", &format!("code-{number}")), None))
            .collect::<Result<Vec<_>>>()?;
        let code = code(approver)?;
        let approvals =
            requests.iter().map(|request| self.crowd.approval(request, approver, &code)).collect::<Result<Vec<_>>>()?;
        let mut shots: Vec<Shot> = approvals.into_iter().cycle().take(ANSWERS_OF_ONE_CODE).collect();
        let fresh = Shot {
            path: "/session/fresh".to_owned(),
            token: approver.token.clone(),
            body: json!({"code": code}),
            at: None,
        };
        // They come first, or they would always lose.
        shots.splice(0..0, std::iter::repeat_n(fresh, CROWD - ANSWERS_OF_ONE_CODE));
        let answers = self.crowd.fire(&shots)?;
        let sorted = self.tally.sort(RACE, &answers);
        let fresh_won = |number: usize| shots.get(number).is_some_and(|shot| shot.path == "/session/fresh");
        self.tally
            .one_winner(RACE, &sorted, |number| if fresh_won(number) { "a proof" } else { "an approval" }.to_owned());
        for request in &requests {
            let path = format!("/requests/{}/answer", request["id"].as_str().unwrap_or_default());
            let counted =
                sorted.done.iter().filter(|number| shots.get(**number).is_some_and(|shot| shot.path == path)).count();
            self.tally.tells(RACE, request, &[("request.answered", counted), ("request.granted", counted)]);
        }
        Ok(())
    }

    /// One challenge of somebody with two good codes: one person fills one place.
    fn one_challenge(&mut self, pair: &Value, approver: &mut Approver) -> Result<()> {
        const RACE: &str = "one challenge on 64 connections";
        let older = code(approver)?;
        let newer = code(approver)?;
        let [older, newer] =
            [self.crowd.approval(pair, approver, &older)?, self.crowd.approval(pair, approver, &newer)?];
        let answers = self.crowd.fire(&mixed(&older, &newer))?;
        let sorted = self.tally.sort(RACE, &answers);
        self.tally
            .one_winner(RACE, &sorted, |number| if is_first(number) { "older code" } else { "newer code" }.to_owned());
        let requester = self.crowd.requester().to_owned();
        let view = self.crowd.see(pair, &requester)?;
        let slots = view["progress"]["slots"].as_array().map_or(&[][..], Vec::as_slice);
        let filled = slots.iter().filter(|slot| !slot["filled_by"].is_null()).count();
        if filled != 1 || view["stage"] != "challenged" {
            self.tally.is_wrong(format!("{RACE}: {filled} places are filled: {view}"));
        }
        Ok(())
    }

    /// Two people for the one place that is left.
    fn last_slot(&mut self, pair: &Value, left: &mut Approver, right: &mut Approver) -> Result<()> {
        const RACE: &str = "two approvals for the last place";
        let codes = [code(left)?, code(right)?];
        let [one, other] = [self.crowd.approval(pair, left, &codes[0])?, self.crowd.approval(pair, right, &codes[1])?];
        let answers = self.crowd.fire(&mixed(&one, &other))?;
        let sorted = self.tally.sort(RACE, &answers);
        self.tally.one_winner(RACE, &sorted, |number| if is_first(number) { "one" } else { "other" }.to_owned());
        Ok(())
    }

    /// A grant of one use.
    fn one_use(&mut self, pair: &Value) -> Result<()> {
        const RACE: &str = "64 releases of a grant of one use";
        let release = Crowd::act(pair, "release", self.crowd.requester());
        let answers = self.crowd.fire(&vec![release; CROWD])?;
        let sorted = self.tally.sort(RACE, &answers);
        self.tally.one_winner(RACE, &sorted, |_| "a release".to_owned());
        // Two places, filled by one challenge and one of two people.
        self.tally.tells(RACE, pair, &[("request.answered", 2), ("request.granted", 1), ("release.intended", 1)]);
        Ok(())
    }

    fn approve_or_deny(&mut self, approver: &mut Approver, denier: &Approver) -> Result<()> {
        let deny = |request: &Value, _: &str| Crowd::act(request, "deny", &denier.token);
        self.approve_or("approve against deny", "denied", "request.denied", approver, deny)
    }

    fn approve_or_cancel(&mut self, approver: &mut Approver) -> Result<()> {
        let cancel = |request: &Value, requester: &str| Crowd::act(request, "cancel", requester);
        self.approve_or("approve against cancel", "cancelled", "request.cancelled", approver, cancel)
    }

    fn approve_or(
        &mut self,
        race: &'static str,
        ended: &str,
        entry: &'static str,
        approver: &mut Approver,
        end: impl Fn(&Value, &str) -> Shot,
    ) -> Result<()> {
        let request = self.crowd.ask(&self.target("one", ended), None)?;
        let code = code(approver)?;
        let approve = self.crowd.approval(&request, approver, &code)?;
        // An approval takes longer, so from round to round it gets more of a start, or it would always lose.
        let start = Duration::from_millis(u64::from(self.rounds) % HEAD_STARTS * 15);
        let end = Shot { at: Some(SystemTime::now() + start), ..end(&request, self.crowd.requester()) };
        let answers = self.crowd.fire(&mixed(&approve, &end))?;
        let sorted = self.tally.sort(race, &answers);
        self.tally.one_winner(race, &sorted, |number| if is_first(number) { "granted" } else { ended }.to_owned());
        let granted = sorted.done.iter().filter(|number| is_first(**number)).count();
        self.tally.tells(race, &request, &[("request.granted", granted), (entry, sorted.done.len() - granted)]);
        let requester = self.crowd.requester().to_owned();
        let stage = self.crowd.see(&request, &requester)?["stage"].as_str().unwrap_or_default().to_owned();
        if stage != if granted == 1 { "granted" } else { ended } {
            self.tally.is_wrong(format!("{race}: {granted} approvals counted, and it is {stage}"));
        }
        Ok(())
    }

    fn target(&self, rule: &str, race: &str) -> String {
        format!("{rule}-{race}-{}", self.rounds)
    }
}

/// Of [`mixed`] shots.
fn is_first(number: usize) -> bool {
    (number / 2).is_multiple_of(2)
}
