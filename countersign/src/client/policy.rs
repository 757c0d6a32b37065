//! `policy`: checked here, applied there.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use countersign_core::canonical::Value;
use serde::Serialize;
use serde_json::json;

use super::admin::{Change, change};
use super::session::Context;
use super::wire::{Explanation, Policy};
use super::{ask, output, review, words};
use crate::cli::PolicyCommand;
use crate::exit;

#[derive(Serialize)]
struct Question {
    #[serde(rename = "for")]
    person: String,
    action: String,
    target: String,
    parameters: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

pub(super) async fn policy(context: &Context, command: PolicyCommand) -> anyhow::Result<ExitCode> {
    match command {
        PolicyCommand::Check { file } => check(context, &file),
        PolicyCommand::Apply { file, admin } => {
            let text = read(&file)?;
            if !findings(&text, &file).is_empty() {
                return check(context, &file);
            }
            change(context, Change::PolicyApply { text }, admin).await
        }
        PolicyCommand::Show => show(context).await,
        PolicyCommand::Explain { person, action, target, params, params_json, reason } => {
            let parameters = ask::parameters(&params, params_json.as_deref())?;
            explain(context, &Question { person, action, target, parameters, reason }).await
        }
    }
}

/// What can be said without knowing who exists: the text, the rules, their tests.
fn check(context: &Context, file: &Path) -> anyhow::Result<ExitCode> {
    let text = read(file)?;
    let errors = findings(&text, file);
    if context.json() {
        output::json(&json!({"ok": errors.is_empty(), "errors": errors}))?;
    } else {
        for error in &errors {
            output::line(&words::visible(error));
        }
        if errors.is_empty() {
            output::note(
                "the rules read and their tests hold; whether the groups have enough people is checked when they are applied",
            );
        }
    }
    Ok(if errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn show(context: &Context) -> anyhow::Result<ExitCode> {
    let client = context.client().await?;
    let policy: Policy = client.get(&["policy"], &[]).await?;
    if context.json() {
        output::json(&policy)?;
    } else {
        output::note(&format!("digest {}", words::visible(&policy.digest)));
        // A file to be edited and applied again: line breaks and tabs stay, everything else that cannot be seen is spelled out.
        for line in policy.text.lines() {
            let parts: Vec<String> = line.split('\t').map(words::visible).collect();
            output::line(&parts.join("\t"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn explain(context: &Context, question: &Question) -> anyhow::Result<ExitCode> {
    let client = context.client().await?;
    let explanation: Explanation = client.post(&["policy", "explain"], question).await?;
    if context.json() {
        output::json(&explanation)?;
    } else {
        output::lines(review::explanation(&explanation));
    }
    Ok(if explanation.verdict == "deny" { ExitCode::from(exit::REFUSED) } else { ExitCode::SUCCESS })
}

fn findings(text: &str, file: &Path) -> Vec<String> {
    match countersign_policy::Policy::parse(text, &file.display().to_string()) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("{} does not read", file.display()))
}
