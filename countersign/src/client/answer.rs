//! `approve`, `deny`, `cancel`, `revoke`.

use std::process::ExitCode;

use serde::Serialize;

use super::session::Context;
use super::wire::View;
use super::{code, output, prompt, review, wait, words};
use crate::cli::{ApproveArgs, CancelArgs, DenyArgs, RevokeArgs};
use crate::exit::Failure;

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
struct Why<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
}

/// Shows exactly what is asked before it asks for the code, and answers what it has shown: the digest that goes with the code is the shown one's.
pub(super) async fn approve(context: &Context, args: &ApproveArgs) -> anyhow::Result<ExitCode> {
    let client = context.client().await?;
    let view: View = client.get(&["requests", &args.id], &[]).await?;
    output::notes(review::lines(&view));
    if !view.stage.is_pending() {
        return Err(wait::ended(&view).unwrap_or_else(|| Failure::new("this request is granted already")).into());
    }
    if !view.may("approve") && !view.may("confirm") {
        let able: Vec<String> =
            view.can_approve.iter().map(|able| format!("{}: {}", able.group, able.people.join(", "))).collect();
        let hint = if able.is_empty() {
            "nobody can at the moment".to_owned()
        } else {
            format!("who can: {}", able.join("; "))
        };
        return Err(Failure::new("this request is not yours to answer").hint(hint).into());
    }
    let view = code::answer(&client, &view, prompt::From::stdin(args.code_stdin)).await?;
    done(context, &view, "your code counts")
}

pub(super) async fn deny(context: &Context, args: &DenyArgs) -> anyhow::Result<ExitCode> {
    let client = context.client().await?;
    let view: View = client.post(&["requests", &args.id, "deny"], &Why { why: args.reason.as_deref() }).await?;
    done(context, &view, "denied")
}

pub(super) async fn cancel(context: &Context, args: &CancelArgs) -> anyhow::Result<ExitCode> {
    let client = context.client().await?;
    let view: View = client.post(&["requests", &args.id, "cancel"], &Empty {}).await?;
    done(context, &view, "cancelled")
}

pub(super) async fn revoke(context: &Context, args: &RevokeArgs) -> anyhow::Result<ExitCode> {
    let client = context.client().await?;
    let view: View = client.post(&["requests", &args.id, "revoke"], &Empty {}).await?;
    done(context, &view, "revoked: nothing more is released; what runs already is not stopped")
}

fn done(context: &Context, view: &View, what: &str) -> anyhow::Result<ExitCode> {
    if context.json() {
        output::json(view)?;
        return Ok(ExitCode::SUCCESS);
    }
    output::note(what);
    if view.stage.is_pending() {
        output::note(&format!("so far   {}", review::progress(view)));
    } else {
        output::notes(review::outcome(view));
    }
    if view.ended.is_none() && view.stage.is_pending() && !view.progress.summary.is_empty() {
        output::note(&words::visible(&view.progress.summary));
    }
    Ok(ExitCode::SUCCESS)
}
