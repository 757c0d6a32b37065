//! `login`, `whoami`, `logout`.

use std::process::ExitCode;

use reqwest::Method;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::json;

use super::home::{Home, Pinned};
use super::http::{ApiError, Client};
use super::session::{Context, kept};
use super::wire::{LoggedIn, WhoAmI};
use super::{code, ledger, output, prompt, surroundings, words};
use crate::cli::LoginArgs;
use crate::exit::Failure;

#[derive(Serialize)]
struct Login<'a> {
    name: &'a str,
    password: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
}

pub(super) async fn login(context: &Context, args: LoginArgs) -> anyhow::Result<ExitCode> {
    let client = context.stranger()?;
    let name = match args.user {
        Some(name) => name,
        None => prompt::name("User: ")?,
    };
    let from = prompt::From::stdin(args.password_stdin);
    let password = prompt::password(from, &format!("Password of {} at {}: ", words::visible(&name), client.server()))?;
    let code = if args.code_stdin { Some(prompt::code(prompt::From::Stdin, "")?) } else { None };
    let accept = args.accept_log_key.as_deref();
    let opened = match open(&context.home, &client, &name, &password, code.as_ref(), accept).await {
        // Only some policies want a code at login, so it is asked for when the server says so.
        Err(error) if code.is_none() && !args.password_stdin && wants_code(&error) => {
            let code = prompt::code(prompt::From::Terminal, code::PROMPT)?;
            open(&context.home, &client, &name, &password, Some(&code), accept).await?
        }
        opened => opened?,
    };
    ledger::remember(&context.home, &client).await;
    if context.json() {
        output::json(&json!({
            "server": client.server(), "account": opened.account, "person": opened.person,
            "expires_at": opened.expires_at, "log": opened.log,
        }))?;
    } else {
        let (account, until) = (words::visible(&opened.account), surroundings::clock(opened.expires_at));
        output::note(&format!("logged in at {} as {account}, until {until} at most", client.server()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Logs in and keeps the session, but not before the log's key has been found to be the one that is pinned.
pub(super) async fn open(
    home: &Home,
    client: &Client,
    name: &str,
    password: &SecretString,
    code: Option<&SecretString>,
    accept: Option<&str>,
) -> anyhow::Result<LoggedIn> {
    let body = Login { name, password: password.expose_secret(), code: code.map(secrecy::ExposeSecret::expose_secret) };
    let opened: LoggedIn = client.post(&["login"], &body).await?;
    let server = client.server();
    opened.log.vkey.parse::<countersign_ledger::VerifierKey>()?;
    if let Pinned::Changed { pinned } = home.pin(&server, &opened.log, accept)? {
        // The session is of no use to anybody any more.
        let known = client.clone().with_token(opened.token);
        let _unanswered = known.tell(Method::POST, &["logout"], None::<&()>).await;
        return Err(Failure::new(format!(
            "the log key of {server} has changed: {} was pinned, now it is {}; either its operator began a new log, or \
             this is not the server that you knew, or somebody is hiding what the old log said",
            pinned.vkey, opened.log.vkey
        ))
        .hint("ask the operator by another way for the new key, then log in with --accept-log-key VKEY")
        .into());
    }
    home.keep_session(&kept(server, opened.token.clone(), opened.account.clone(), opened.expires_at))?;
    Ok(opened)
}

pub(super) async fn whoami(context: &Context) -> anyhow::Result<ExitCode> {
    let client = context.client().await?;
    let who: WhoAmI = client.get(&["whoami"], &[]).await?;
    if context.json() {
        output::json(&who)?;
        return Ok(ExitCode::SUCCESS);
    }
    let nobody = "nobody: this account fills no slot".to_owned();
    let none = |list: &[String]| if list.is_empty() { "none".to_owned() } else { list.join(", ") };
    let mut rows = vec![
        ["server", &client.server()].map(str::to_owned).to_vec(),
        vec!["account".to_owned(), who.account],
        vec!["person".to_owned(), who.person.unwrap_or(nobody)],
        vec!["groups".to_owned(), none(&who.groups)],
        vec!["factors".to_owned(), none(&who.enrolled)],
    ];
    if let Some(fresh) = who.fresh {
        rows.push(vec!["proved".to_owned(), format!("{} at {}", fresh.factor, surroundings::clock(fresh.at))]);
    }
    if let Some(at) = who.expires_at {
        rows.push(vec!["until".to_owned(), surroundings::clock(at)]);
    }
    for row in rows {
        if let [name, value] = row.as_slice() {
            output::line(&format!("{name:<8} {}", words::visible(value)));
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn logout(context: &Context) -> anyhow::Result<ExitCode> {
    let Some(session) = context.home.session()? else {
        output::note("you were not logged in");
        return Ok(ExitCode::SUCCESS);
    };
    let client = Client::new(&session.server, context.globals.insecure_http)?.with_token(session.token);
    let told = client.tell(Method::POST, &["logout"], None::<&()>).await;
    context.home.forget_session()?;
    match told {
        Err(error) if error.slug() != Some("unauthenticated") => Err(anyhow::Error::from(error)
            .context("the session is forgotten here, but it may live on at the server until its end")),
        _ => {
            output::note(&format!("logged out from {}", session.server));
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn wants_code(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ApiError>().and_then(ApiError::slug) == Some("code-needed")
}
