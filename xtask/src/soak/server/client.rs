//! One client under whose load a service is broken.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};

use super::http::{Answer, Call, Http, is_strange};
use super::memory::{Damage, Memory};
use super::people::Approver;

/// More than this of what is strange says nothing new.
const STRANGE: usize = 10;
/// After so many turns each kind of turn was taken once.
const KINDS: u64 = 16;

/// Asks, and answers its own questions as other people.
#[derive(Debug)]
pub(crate) struct Client {
    number: usize,
    requester: String,
    approvers: Vec<Approver>,
    pub(crate) memory: Memory,
    /// Checkpoints that this client saw. A log that contradicts one of them was cut or forked.
    pub(crate) checkpoint: Option<String>,
    pub(crate) strange: Vec<String>,
    /// Answers that ask to try again.
    pub(crate) put_off: BTreeMap<String, u64>,
    turns: u64,
    /// The question that was on its way when the server died.
    unanswered: Option<Question>,
    /// A code that was accepted, with its approver.
    accepted: Option<(usize, String)>,
    /// A session that this client opened besides.
    session: Option<String>,
}

#[derive(Debug, Clone)]
struct Question {
    key: String,
    body: Value,
}

impl Client {
    pub(crate) fn new(number: usize, requester: String, approvers: Vec<Approver>) -> Self {
        Self {
            number,
            requester,
            approvers,
            memory: Memory::default(),
            checkpoint: None,
            strange: Vec::new(),
            put_off: BTreeMap::new(),
            turns: number as u64,
            unanswered: None,
            accepted: None,
            session: None,
        }
    }

    /// Works until the server is gone, or somebody says stop. Counts its turns where others see them.
    pub(crate) fn run(mut self, address: &str, stop: &AtomicBool, turns: &AtomicU64) -> Self {
        let ended = Http::connect(address).and_then(|mut http| {
            self.after_a_start(&mut http)?;
            while self.strange.len() < STRANGE && !stop.load(Ordering::Relaxed) {
                self.turn(&mut http)?;
                turns.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        if let Err(error) = ended
            && is_strange(&error)
        {
            self.strange.push(format!("client {}: {error}", self.number));
        }
        self
    }

    /// Everything that was told since the last look, or ever, must still be true.
    pub(crate) fn check(&mut self, http: &mut Http, all: bool) -> io::Result<Damage> {
        let mut damage = Damage { strange: std::mem::take(&mut self.strange), ..Damage::default() };
        for id in self.memory.due(all) {
            let path = format!("/requests/{id}");
            let answer = http.call(Call { path: &path, token: &self.requester, ..Call::default() })?;
            damage.add(self.memory.check(&id, answer.status, &answer.json()));
        }
        for token in self.memory.due_credentials(all) {
            let answer = http.call(Call { path: "/whoami", token: &token, ..Call::default() })?;
            damage.add(self.memory.check_credential(&token, answer.status));
        }
        Ok(damage)
    }

    /// What was interrupted is asked again, under its old key, and twice: that is one request. A code that counted does not count again.
    fn after_a_start(&mut self, http: &mut Http) -> io::Result<()> {
        if let Some(question) = self.unanswered.clone() {
            let first = self.ask_with(http, &question)?;
            let second = self.ask_with(http, &question)?;
            if let (Some(first), Some(second)) = (first, second)
                && first["id"] != second["id"]
            {
                self.strange.push(format!("one question has two requests: {first}, {second}"));
            }
        }
        if let Some((approver, code)) = self.accepted.take()
            && let Some(view) = self.ask(http)?
        {
            let answer = self.answer_with(http, &view, approver, &code)?;
            if answer.status == 200 {
                self.strange.push("a used code was accepted again".to_owned());
            }
        }
        Ok(())
    }

    fn turn(&mut self, http: &mut Http) -> io::Result<()> {
        self.turns += 1;
        if self.turns % 8 == 1 {
            let answer = http.call(Call { path: "/ledger/checkpoint", ..Call::default() })?;
            if answer.status == 200 {
                self.checkpoint = Some(answer.text());
            }
        }
        let kind = self.turns % KINDS;
        match kind {
            12 => return self.log_in_or_out(http),
            13 => return self.make_a_token(http),
            _ => {}
        }
        let Some(view) = self.ask(http)? else { return Ok(()) };
        match kind {
            0..=6 => self.approve(http, &view, kind),
            7..=9 => self.deny(http, &view),
            10 | 11 => {
                let token = self.requester.clone();
                let answer = post(http, &view, "cancel", &token, &json!({}))?;
                self.told(&view, "cancelled", &answer);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn ask(&mut self, http: &mut Http) -> io::Result<Option<Value>> {
        let key = format!("{}-{}-{}", self.number, self.turns, self.memory.counts().values().sum::<u64>());
        let body = json!({
            "action": "command.run", "target": "db-1", "reason": "load on the service",
            "parameters": {"argv": ["true", key], "cwd": "/", "user": "alice"},
        });
        self.ask_with(http, &Question { key, body })
    }

    fn ask_with(&mut self, http: &mut Http, question: &Question) -> io::Result<Option<Value>> {
        self.unanswered = Some(question.clone());
        let answer = http.call(Call {
            path: "/requests",
            token: &self.requester,
            body: Some(&question.body),
            idempotency: Some(&question.key),
            ..Call::default()
        })?;
        if !puts_off(&answer) {
            self.unanswered = None;
        }
        Ok(self.acknowledged("asked", &answer))
    }

    /// Approves with a code, and uses the grant or takes it back; denies where nobody has a code left.
    fn approve(&mut self, http: &mut Http, view: &Value, kind: u64) -> io::Result<()> {
        let Some((approver, code)) = self.fresh_code()? else { return self.deny(http, view) };
        let answer = self.answer_with(http, view, approver, &code)?;
        if !self.told(view, "approved", &answer) {
            return Ok(());
        }
        self.accepted = Some((approver, code));
        if kind == 6 {
            let token = self.approvers.get(approver).map(|approver| approver.token.clone()).unwrap_or_default();
            let answer = post(http, view, "revoke", &token, &json!({}))?;
            self.told(view, "revoked", &answer);
            return Ok(());
        }
        let token = self.requester.clone();
        let answer = post(http, view, "release", &token, &json!({}))?;
        let Some(release) = answer.json()["release"].as_str().map(str::to_owned) else {
            self.refused(view, "release", &answer);
            return Ok(());
        };
        self.memory.released(id(view), &release);
        let again = post(http, view, "release", &token, &json!({}))?;
        if again.status == 200 {
            // The check finds both.
            self.memory.released(id(view), again.json()["release"].as_str().unwrap_or_default());
        }
        if kind.is_multiple_of(2) {
            let renewed = format!("/releases/{release}/renew");
            let answer =
                http.call(Call { path: &renewed, token: &token, body: Some(&json!({})), ..Call::default() })?;
            self.expected("renewed", &answer, 200);
            let body = json!({"outcome": "exit 0"});
            let path = format!("/releases/{release}/result");
            let answer = http.call(Call { path: &path, token: &token, body: Some(&body), ..Call::default() })?;
            self.acknowledged("reported", &answer);
        }
        Ok(())
    }

    fn deny(&mut self, http: &mut Http, view: &Value) -> io::Result<()> {
        let Some(token) = self.approvers.first().map(|approver| approver.token.clone()) else { return Ok(()) };
        let answer = post(http, view, "deny", &token, &json!({"why": "no"}))?;
        self.told(view, "denied", &answer);
        Ok(())
    }

    /// As an approver does it: looks at the request, then answers what was seen.
    fn answer_with(&mut self, http: &mut Http, view: &Value, approver: usize, code: &str) -> io::Result<Answer> {
        let token = self.approvers.get(approver).map(|approver| approver.token.clone()).unwrap_or_default();
        let path = format!("/requests/{}", id(view));
        let seen = http.call(Call { path: &path, token: &token, ..Call::default() })?;
        if puts_off(&seen) {
            return Ok(seen);
        }
        let seen = seen.json();
        let body = json!({"challenge": seen["you"]["challenge"], "code": code, "digest": seen["digest"]});
        post(http, view, "answer", &token, &body)
    }

    /// Opens a session besides, or ends the one that it opened.
    fn log_in_or_out(&mut self, http: &mut Http) -> io::Result<()> {
        if let Some(token) = self.session.take() {
            self.memory.ending(&token);
            let answer =
                http.call(Call { path: "/logout", token: &token, body: Some(&json!({})), ..Call::default() })?;
            if self.expected("logout", &answer, 204) {
                self.memory.credential("logout", &token, true);
            }
            return Ok(());
        }
        let Some(approver) = self.approvers.first() else { return Ok(()) };
        let body = json!({"name": approver.login.name, "password": approver.login.password});
        let answer = http.call(Call { path: "/login", body: Some(&body), ..Call::default() })?;
        if self.expected("login", &answer, 200) {
            let token = answer.json()["token"].as_str().unwrap_or_default().to_owned();
            self.memory.credential("login", &token, false);
            self.session = Some(token);
        }
        Ok(())
    }

    /// Proves a factor, makes a token, and ends every second one.
    fn make_a_token(&mut self, http: &mut Http) -> io::Result<()> {
        let Some((approver, code)) = self.fresh_code()? else { return Ok(()) };
        let owner = self.approvers.get(approver).map(|approver| approver.token.clone()).unwrap_or_default();
        let body = json!({"code": code});
        let answer = http.call(Call { path: "/session/fresh", token: &owner, body: Some(&body), ..Call::default() })?;
        if !self.expected("fresh", &answer, 204) {
            return Ok(());
        }
        self.accepted = Some((approver, code));
        let body = json!({"name": format!("soak-{}", self.turns), "scopes": ["command.*"], "ttl_secs": 86_400});
        let answer = http.call(Call { path: "/tokens", token: &owner, body: Some(&body), ..Call::default() })?;
        if !self.expected("token", &answer, 201) {
            return Ok(());
        }
        let made = answer.json();
        let token = made["token"].as_str().unwrap_or_default();
        self.memory.credential("token made", token, false);
        if (self.turns / KINDS).is_multiple_of(2) {
            self.memory.ending(token);
            let path = format!("/tokens/{}", id(&made));
            let answer = http.call(Call { path: &path, token: &owner, delete: true, ..Call::default() })?;
            if self.expected("token end", &answer, 204) {
                self.memory.credential("token ended", token, true);
            }
        }
        Ok(())
    }

    fn fresh_code(&mut self) -> io::Result<Option<(usize, String)>> {
        for (number, approver) in self.approvers.iter_mut().enumerate() {
            if let Some(code) =
                approver.fresh_code().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?
            {
                return Ok(Some((number, code)));
            }
        }
        Ok(None)
    }

    /// What an answer says of a request; whether it was done.
    fn told(&mut self, view: &Value, verb: &'static str, answer: &Answer) -> bool {
        if (200..300).contains(&answer.status) {
            self.memory.told(verb, &answer.json());
            return true;
        }
        self.refused(view, verb, answer);
        false
    }

    fn refused(&mut self, view: &Value, verb: &str, answer: &Answer) {
        if puts_off(answer) && answer.json()["slug"] != "unknown-outcome" {
            self.memory.nothing_done(id(view));
        }
        self.unexpected(verb, answer);
    }

    fn acknowledged(&mut self, verb: &'static str, answer: &Answer) -> Option<Value> {
        if !(200..300).contains(&answer.status) {
            self.unexpected(verb, answer);
            return None;
        }
        let view = answer.json();
        self.memory.told(verb, &view);
        Some(view)
    }

    fn expected(&mut self, verb: &str, answer: &Answer, status: u16) -> bool {
        if answer.status != status {
            self.unexpected(verb, answer);
        }
        answer.status == status
    }

    fn unexpected(&mut self, verb: &str, answer: &Answer) {
        if puts_off(answer) {
            let slug = answer.json()["slug"].as_str().unwrap_or("503").to_owned();
            *self.put_off.entry(format!("{verb} {slug}")).or_default() += 1;
        } else {
            self.strange.push(format!("{verb} was answered with {}: {}", answer.status, answer.text()));
        }
    }
}

/// A log that lags behind stops releases, a full disk or a database that is away stops everything, and each says so.
fn puts_off(answer: &Answer) -> bool {
    matches!(answer.status, 503 | 507)
}

fn id(view: &Value) -> &str {
    view["id"].as_str().unwrap_or_default()
}

fn post(http: &mut Http, view: &Value, verb: &str, token: &str, body: &Value) -> io::Result<Answer> {
    let path = format!("/requests/{}/{verb}", id(view));
    http.call(Call { path: &path, token, body: Some(body), ..Call::default() })
}
