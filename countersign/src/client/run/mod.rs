//! `run`: ask for exactly this command, wait, run it once.
//!
//! Once means: one release is begun, and only after the server has said that it has begun is anything executed. If that answer is lost nothing is
//! run, although the server may count the use; whoever wants the command then asks again.

mod child;
mod resolve;
mod signals;

use std::os::unix::ffi::OsStrExt as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use countersign_core::canonical::Value;
use serde::Serialize;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::http::{ApiError, Client};
use super::output::LiveLine;
use super::session::Context;
use super::wire::{Asking, Begun, Explanation, GrantState, View};
use super::{code, ledger, output, prompt, review, surroundings, wait, words};
use crate::cli::RunArgs;
use crate::exit::{self, Failure};
use child::Outcome;
use signals::Signals;

#[derive(Serialize)]
struct Empty {}

pub(super) async fn run(context: &Context, args: RunArgs) -> anyhow::Result<ExitCode> {
    let folder = std::env::current_dir().context("the current folder is gone")?;
    let (typed, arguments) = args.command.split_first().context("there is no command")?;
    // What cannot be run is found out before anybody is bothered.
    let program = resolve::program(typed, &surroundings::search_path(), &folder)?;
    let parameters = [
        ("argv", Value::array(args.command.iter().map(|word| Value::bytes_or_string(word.as_bytes())))),
        ("cwd", Value::bytes_or_string(folder.as_os_str().as_bytes())),
        ("user", Value::from(surroundings::user())),
    ];
    let about = [
        ("client", Value::from(concat!("countersign ", env!("CARGO_PKG_VERSION")))),
        ("executable", Value::bytes_or_string(program.as_os_str().as_bytes())),
    ];
    let asking = Asking {
        action: "command.run".to_owned(),
        target: match args.target {
            Some(target) => target,
            None => surroundings::host()?,
        },
        parameters: Value::object(parameters),
        context: Value::object(about),
        reason: args.reason,
        deadline_secs: args.deadline,
    };

    // Heard from here on, also between two waits: whoever gives up before the command has begun keeps the grant.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let client = context.client().await?;
    if args.explain {
        return explain(context, &client, &asking).await;
    }
    let view: View = client.post(&["requests"], &asking).await?;
    if view.stage.is_pending() {
        output::note(&format!("request {}: {}", words::visible(&view.id), words::visible(&view.needs)));
    }
    let view = code::confirm(&client, view, prompt::From::stdin(args.code_stdin)).await?;
    let id = view.id.clone();
    let view = match wait::until_decided(&client, view).await? {
        wait::Waited::Decided(view) => *view,
        wait::Waited::Interrupted => {
            let code = wait::left_pending(&id);
            output::note("hint: the same command again takes up where this one was");
            return Ok(code);
        }
    };
    ledger::remember(&context.home, &client).await;
    let view = until_begun(&client, view).await?;
    if let Some(ended) = wait::ended(&view) {
        if context.json() {
            output::json(&view)?;
        }
        return Err(ended.into());
    }
    if view.grant.as_ref().is_some_and(|grant| grant.state == GrantState::Spent) {
        return Err(Failure::new(format!("request {id} was granted, and its grant is used up"))
            .hint("ask again")
            .into());
    }
    if std::env::current_dir().ok().as_ref() != Some(&folder) {
        return Err(Failure::new("the current folder was moved while waiting: nothing was run").into());
    }

    // From here on a signal must not end this process without a word: it belongs to the command.
    let mut signals = Signals::catch()?;
    tokio::select! {
        biased;
        _ = interrupt.recv() => {
            let again = "nothing was run and the grant stays: run the same command again";
            return Err(Failure::new("interrupted").code(exit::INTERRUPTED).hint(again).into());
        }
        () = std::future::ready(()) => {}
    }
    let begun = begin(&client, &id).await?;
    let outcome = child::run(&client, &begun, &program, typed, arguments, &mut signals).await;
    let reported = report(&client, &begun, &outcome).await;
    if let Err(error) = &reported {
        let release = words::visible(&begun.release);
        output::note(&format!("warning: how it ended could not be reported: {}", words::visible(&error.to_string())));
        output::note(&format!("hint: an administrator closes release {release}: it ended with {}", outcome.in_words()));
    }
    if context.json() {
        let document =
            json!({"id": id, "release": begun.release, "outcome": outcome.in_words(), "reported": reported.is_ok()});
        output::note(&serde_json::to_string(&document)?);
    }
    signals.stop();
    Ok(outcome.pass_on())
}

/// Says what policy would want. Refused is refused, here too.
pub(super) async fn explain(context: &Context, client: &Client, asking: &Asking) -> anyhow::Result<ExitCode> {
    let explanation: Explanation = client.post(&["requests", "explain"], asking).await?;
    if context.json() {
        output::json(&explanation)?;
    } else {
        output::lines(review::explanation(&explanation));
    }
    Ok(if explanation.verdict == "deny" { ExitCode::from(exit::REFUSED) } else { ExitCode::SUCCESS })
}

/// Waits out a grant that begins later, as long as it stays live.
async fn until_begun(client: &Client, mut view: View) -> anyhow::Result<View> {
    let mut line = LiveLine::default();
    // One for the whole wait: what comes between two turns is not lost.
    let mut interrupt = signal(SignalKind::interrupt())?;
    while let Some(grant) = view.grant.as_ref().filter(|grant| grant.state == GrantState::Live)
        && grant.not_before > surroundings::now()
    {
        let at = grant.not_before;
        tokio::select! {
            next = wait::until(client, view.clone(), at, &mut line) => match next {
                Ok(next) => view = next,
                Err(error) if error.is_passing() => tokio::time::sleep(Duration::from_secs(2)).await,
                Err(error) => return Err(error.into()),
            },
            _ = interrupt.recv() => {
                line.end();
                let again = "the grant stays: run the same command again after its begin";
                return Err(Failure::new("interrupted").code(exit::INTERRUPTED).hint(again).into());
            }
        }
    }
    line.end();
    Ok(view)
}

/// Begins the one release. Only an answer that says that nothing has begun is reason to ask again.
async fn begin(client: &Client, id: &str) -> anyhow::Result<Begun> {
    let mut left = 10;
    loop {
        let error = match client.post(&["requests", id, "release"], &Empty {}).await {
            Ok(begun) => return Ok(begun),
            Err(error) => error,
        };
        let not_yet = matches!(error.slug(), Some("grant-not-begun" | "ledger-behind" | "sink-refused"));
        if !not_yet || left == 0 {
            let lost = matches!(error, ApiError::Cut { .. } | ApiError::Foreign { .. })
                || error.slug() == Some("unknown-outcome");
            return Err(if lost {
                anyhow::Error::from(error).context("the command was not run, but its grant may count as used")
            } else {
                error.into()
            });
        }
        left -= 1;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// The result is owed to the ledger, so a server that is away for a moment is asked again.
async fn report(client: &Client, begun: &Begun, outcome: &Outcome) -> Result<(), ApiError> {
    let body = json!({"outcome": outcome.in_words()});
    let limit = Duration::from_secs(5);
    let mut pause = Duration::from_millis(500);
    loop {
        let told: Result<View, _> = client.post_within(limit, &["releases", &begun.release, "result"], &body).await;
        match told {
            Err(error) if error.is_passing() && pause < Duration::from_secs(8) => {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            told => return told.map(|_view| ()),
        }
    }
}

#[cfg(test)]
fn os(words: &[&str]) -> Vec<std::ffi::OsString> {
    words.iter().map(Into::into).collect()
}
