//! Sixty-four connections that fire at once.

use std::io;
use std::sync::Barrier;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

use super::super::http::{Answer, Call, Http};
use super::super::people::Approver;

pub(super) const CROWD: usize = 64;

/// Connections that are kept, spread over the servers.
#[derive(Debug)]
pub(super) struct Crowd {
    connections: Vec<Http>,
    requester: String,
}

/// What one connection sends.
#[derive(Debug, Clone)]
pub(super) struct Shot {
    pub(super) path: String,
    pub(super) token: String,
    pub(super) body: Value,
    /// Not before this moment.
    pub(super) at: Option<SystemTime>,
}

impl Crowd {
    pub(super) fn new(addresses: &[&str], requester: &str) -> Result<Self> {
        let connections = addresses.iter().cycle().take(CROWD).map(|address| Http::connect(address));
        Ok(Self { connections: connections.collect::<io::Result<_>>()?, requester: requester.to_owned() })
    }

    pub(super) fn requester(&self) -> &str {
        &self.requester
    }

    /// All at once; the answers in the order of the shots.
    pub(super) fn fire(&mut self, shots: &[Shot]) -> Result<Vec<Answer>> {
        if shots.len() != CROWD {
            bail!("{} shots for {CROWD} connections", shots.len());
        }
        let barrier = Barrier::new(CROWD);
        std::thread::scope(|scope| {
            let aimed: Vec<_> = self
                .connections
                .iter_mut()
                .zip(shots)
                .map(|(http, shot)| {
                    let barrier = &barrier;
                    scope.spawn(move || {
                        barrier.wait();
                        if let Some(wait) = shot.at.and_then(|at| at.duration_since(SystemTime::now()).ok()) {
                            std::thread::sleep(wait);
                        }
                        let Shot { path, token, body, .. } = shot;
                        http.call(Call { path, token, body: Some(body), ..Call::default() })
                    })
                })
                .collect();
            let answers = aimed
                .into_iter()
                .map(|one| one.join().map_err(|_| anyhow!("a connection panicked"))?.map_err(Into::into));
            answers.collect()
        })
    }

    /// Asks as the requester; the view.
    pub(super) fn ask(&mut self, target: &str, deadline_secs: Option<u32>) -> Result<Value> {
        let mut body = json!({
            "action": "command.run", "target": target, "reason": "a race",
            "parameters": {"argv": ["true", target], "cwd": "/", "user": "alice"},
        });
        if let (Some(seconds), Some(body)) = (deadline_secs, body.as_object_mut()) {
            body.insert("deadline_secs".to_owned(), seconds.into());
        }
        let requester = self.requester.clone();
        let answer =
            self.one()?.call(Call { path: "/requests", token: &requester, body: Some(&body), ..Call::default() })?;
        if answer.status != 201 {
            bail!("{target} was answered with {}: {}", answer.status, answer.text());
        }
        Ok(answer.json())
    }

    /// The request as somebody sees it.
    pub(super) fn see(&mut self, request: &Value, token: &str) -> Result<Value> {
        let path = path(request, "");
        let answer = self.one()?.call(Call { path: &path, token, ..Call::default() })?;
        if answer.status != 200 {
            bail!("{path} was answered with {}: {}", answer.status, answer.text());
        }
        Ok(answer.json())
    }

    /// The answer of this approver to this request, with this code.
    pub(super) fn approval(&mut self, request: &Value, approver: &Approver, code: &str) -> Result<Shot> {
        let seen = self.see(request, &approver.token)?;
        let body = json!({"challenge": seen["you"]["challenge"], "code": code, "digest": seen["digest"]});
        Ok(Shot { path: path(request, "/answer"), token: approver.token.clone(), body, at: None })
    }

    /// Another verb about this request.
    pub(super) fn act(request: &Value, verb: &str, token: &str) -> Shot {
        Shot { path: path(request, &format!("/{verb}")), token: token.to_owned(), body: json!({}), at: None }
    }

    fn one(&mut self) -> Result<&mut Http> {
        self.connections.first_mut().context("no connection")
    }
}

/// Two kinds of shots, so that both are sent over all servers.
pub(super) fn mixed(one: &Shot, other: &Shot) -> Vec<Shot> {
    (0..CROWD).map(|number| if usize::is_multiple_of(number / 2, 2) { one } else { other }).cloned().collect()
}

/// Waits for a code that nobody has sent, which is a few seconds at most.
pub(super) fn code(approver: &mut Approver) -> Result<String> {
    loop {
        if let Some(code) = approver.fresh_code()? {
            return Ok(code);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn path(request: &Value, rest: &str) -> String {
    format!("/requests/{}{rest}", request["id"].as_str().unwrap_or_default())
}
