//! One-time codes: for a request, and for a session that must be fresh.

use reqwest::Method;
use secrecy::ExposeSecret as _;
use serde::Serialize;

use super::http::{ApiError, Client};
use super::wire::{Problem, View};
use super::{output, prompt, wait, words};
use crate::exit::Failure;

pub(super) const PROMPT: &str = "Code from your authenticator app: ";

#[derive(Serialize)]
struct Answer<'a> {
    challenge: &'a str,
    code: &'a str,
    /// Of what was on the screen: if the request is another one, the answer does not count.
    digest: &'a str,
}

#[derive(Serialize)]
struct Fresh<'a> {
    code: &'a str,
}

/// Asks for a code and answers the challenge that is put to this user. On a terminal a mistyped code is asked for again.
pub(super) async fn answer(client: &Client, view: &View, from: prompt::From) -> anyhow::Result<View> {
    let challenge = view.you.challenge.as_deref();
    let challenge = challenge.ok_or_else(|| Failure::new("this request puts no challenge to you"))?;
    let mut left = from.tries();
    loop {
        let code = prompt::code(from, PROMPT)?;
        let body = Answer { challenge, code: code.expose_secret(), digest: &view.digest };
        left -= 1;
        match client.post(&["requests", &view.id, "answer"], &body).await {
            Ok(view) => return Ok(view),
            Err(ApiError::Problem(problem)) if problem.slug == "answer-rejected" => {
                let mistyped = matches!(problem.why.as_deref(), Some("wrong-factor" | "used-code"));
                if !mistyped || left == 0 {
                    return Err(rejected(*problem));
                }
                output::note(&words::visible(&ApiError::Problem(problem).to_string()));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Gives the requester's own code where policy wants one.
pub(super) async fn confirm(client: &Client, view: View, from: prompt::From) -> anyhow::Result<View> {
    if view.stage.is_pending() && view.may("confirm") && view.you.challenge.is_some() {
        output::note("policy wants your own code first");
        return answer(client, &view, from).await;
    }
    Ok(view)
}

/// Makes a call, and if the session is too old for it, proves a factor and makes it again.
pub(super) async fn fresh<T, F>(client: &Client, from: prompt::From, call: impl Fn() -> F) -> anyhow::Result<T>
where
    F: Future<Output = Result<T, ApiError>>,
{
    match call().await {
        Err(error) if error.slug() == Some("stale-session") => {
            output::note("this needs a fresh code");
            let code = prompt::code(from, PROMPT)?;
            client.tell(Method::POST, &["session", "fresh"], Some(&Fresh { code: code.expose_secret() })).await?;
            Ok(call().await?)
        }
        done => Ok(done?),
    }
}

/// An answer that came too late ends like the request did.
fn rejected(problem: Problem) -> anyhow::Error {
    let over = problem.why.as_deref() == Some("over");
    let ended = problem.request.as_deref().filter(|_| over).and_then(wait::ended);
    let used = problem.why.as_deref() == Some("used-code");
    let error = ApiError::Problem(Box::new(problem));
    match ended {
        Some(ended) => ended.into(),
        None if used => Failure::new(error.to_string()).hint("wait for the next code").into(),
        None => error.into(),
    }
}
