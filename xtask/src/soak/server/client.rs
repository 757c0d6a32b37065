//! One client under whose load a server is killed.

use std::collections::BTreeMap;
use std::io;

use serde_json::{Value, json};

use super::http::{Answer, Call, Http, is_strange};
use super::memory::{Damage, Memory};
use super::people::Approver;

/// More than this of what is strange says nothing new.
const STRANGE: usize = 10;

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
            turns: 0,
            unanswered: None,
            accepted: None,
        }
    }

    /// Works until the server is gone.
    pub(crate) fn run(mut self, address: &str) -> Self {
        let ended = Http::connect(address).and_then(|mut http| {
            self.after_a_start(&mut http)?;
            while self.strange.len() < STRANGE {
                self.turn(&mut http)?;
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
        Ok(damage)
    }

    /// What was interrupted is asked again, under its old key, and twice: that is one request. A code that counted does not count again.
    fn after_a_start(&mut self, http: &mut Http) -> io::Result<()> {
        if let Some(question) = self.unanswered.clone() {
            let first = self.ask_with(http, &question)?;
            let second = self.ask_with(http, &question)?;
            if first.is_none() || first.as_ref().map(|view| &view["id"]) != second.as_ref().map(|view| &view["id"]) {
                self.strange.push(format!("one question has two requests: {first:?}, {second:?}"));
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
        let Some(view) = self.ask(http)? else { return Ok(()) };
        match self.turns % 8 {
            0..=3 => self.approve(http, &view),
            4 | 5 => self.deny(http, &view),
            6 => {
                let token = self.requester.clone();
                let answer = post(http, &view, "cancel", &token, &json!({}))?;
                self.acknowledged("cancelled", &answer);
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
        })?;
        self.unanswered = None;
        Ok(self.acknowledged("asked", &answer))
    }

    /// Approves with a code, and uses the grant; denies where nobody has a code left.
    fn approve(&mut self, http: &mut Http, view: &Value) -> io::Result<()> {
        let Some((approver, code)) = self.fresh_code()? else { return self.deny(http, view) };
        let answer = self.answer_with(http, view, approver, &code)?;
        if self.acknowledged("approved", &answer).is_none() {
            return Ok(());
        }
        self.accepted = Some((approver, code));
        let token = self.requester.clone();
        let answer = post(http, view, "release", &token, &json!({}))?;
        let Some(release) = answer.json()["release"].as_str().map(str::to_owned) else {
            self.unexpected("release", &answer);
            return Ok(());
        };
        self.memory.released(id(view), &release);
        let again = post(http, view, "release", &token, &json!({}))?;
        if again.status == 200 {
            // The check finds both.
            self.memory.released(id(view), again.json()["release"].as_str().unwrap_or_default());
        }
        if self.turns.is_multiple_of(2) {
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
        self.acknowledged("denied", &answer);
        Ok(())
    }

    /// As an approver does it: looks at the request, then answers what was seen.
    fn answer_with(&mut self, http: &mut Http, view: &Value, approver: usize, code: &str) -> io::Result<Answer> {
        let token = self.approvers.get(approver).map(|approver| approver.token.clone()).unwrap_or_default();
        let path = format!("/requests/{}", id(view));
        let seen = http.call(Call { path: &path, token: &token, ..Call::default() })?.json();
        let body = json!({"challenge": seen["you"]["challenge"], "code": code, "digest": seen["digest"]});
        post(http, view, "answer", &token, &body)
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

    fn acknowledged(&mut self, verb: &'static str, answer: &Answer) -> Option<Value> {
        if !(200..300).contains(&answer.status) {
            self.unexpected(verb, answer);
            return None;
        }
        let view = answer.json();
        self.memory.told(verb, &view);
        Some(view)
    }

    fn unexpected(&mut self, verb: &str, answer: &Answer) {
        // A log that lags behind, after a kill that left entries outside of the tree, stops releases and says so.
        if answer.status == 503 {
            let slug = answer.json()["slug"].as_str().unwrap_or("503").to_owned();
            *self.put_off.entry(format!("{verb} {slug}")).or_default() += 1;
        } else {
            self.strange.push(format!("{verb} was answered with {}: {}", answer.status, answer.text()));
        }
    }
}

fn id(view: &Value) -> &str {
    view["id"].as_str().unwrap_or_default()
}

fn post(http: &mut Http, view: &Value, verb: &str, token: &str, body: &Value) -> io::Result<Answer> {
    let path = format!("/requests/{}/{verb}", id(view));
    http.call(Call { path: &path, token, body: Some(body), ..Call::default() })
}
