//! `token`: credentials for programs, which may ask and never approve.

use std::process::ExitCode;

use reqwest::Method;
use secrecy::ExposeSecret as _;
use serde::Serialize;

use super::session::Context;
use super::wire::{NewToken, TokenRow};
use super::{code, output, prompt, surroundings, words};
use crate::cli::TokenCommand;

#[derive(Serialize)]
struct Wanted {
    name: String,
    scopes: Vec<String>,
    ttl_secs: u64,
}

pub(super) async fn token(context: &Context, command: TokenCommand) -> anyhow::Result<ExitCode> {
    let client = context.client().await?;
    match command {
        TokenCommand::Create { name, scopes, ttl, code_stdin } => {
            let wanted = Wanted { name, scopes, ttl_secs: ttl };
            let from = prompt::From::stdin(code_stdin);
            let new: NewToken =
                code::fresh(&client, from, || async { client.post(&["tokens"], &wanted).await }).await?;
            // This is what the command is for: the one moment in which the token is shown.
            if context.json() {
                output::json(&serde_json::json!({"id": new.id, "token": new.token.expose_secret()}))?;
            } else {
                output::line(new.token.expose_secret());
                output::note(&format!("token {}: keep it now, it is not shown again", words::visible(&new.id)));
            }
        }
        TokenCommand::List(list) => {
            let listed = client.list::<TokenRow>("tokens", &list).await?;
            listed.tell(&list);
            let tokens = listed.items;
            if context.json() {
                output::json(&tokens)?;
            } else {
                let rows = tokens.into_iter().map(|token| {
                    let until = token.expires_at.map_or_else(|| "no end".to_owned(), surroundings::clock);
                    let state = if token.revoked { "revoked".to_owned() } else { until };
                    vec![token.id, token.name, token.scopes.join(", "), state]
                });
                output::table(&["ID", "NAME", "SCOPES", "UNTIL"], rows.collect());
            }
        }
        TokenCommand::Revoke { id } => {
            client.tell(Method::DELETE, &["tokens", &id], None::<&()>).await?;
            if context.json() {
                output::json(&serde_json::json!({"id": id, "revoked": true}))?;
            } else {
                output::note("revoked");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
