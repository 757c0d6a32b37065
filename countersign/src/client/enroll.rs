//! `enroll`: an authenticator app, proved with two different codes.

use std::process::ExitCode;

use reqwest::Method;
use secrecy::ExposeSecret as _;
use serde::Serialize;

use super::session::Context;
use super::wire::Enrolment;
use super::{code, output, prompt};
use crate::cli::EnrollArgs;
use crate::exit::Failure;
use crate::qr;

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
struct Codes<'a> {
    codes: [&'a str; 2],
}

pub(super) async fn enroll(context: &Context, args: &EnrollArgs) -> anyhow::Result<ExitCode> {
    let client = context.client().await?;
    let from = prompt::From::stdin(args.code_stdin);
    let new: Enrolment =
        code::fresh(&client, from, || async { client.post(&["enroll", "totp"], &Empty {}).await }).await?;
    if context.json() {
        // A script makes its codes from this; it is the only time that the secret is shown.
        output::json(&serde_json::json!({
            "authenticator": new.authenticator, "otpauth": new.otpauth.expose_secret(), "secret": new.secret.expose_secret(),
        }))?;
    } else {
        match qr::terminal(new.otpauth.expose_secret()) {
            Ok(drawn) => output::line(drawn.trim_end_matches('\n')),
            Err(error) => output::note(&format!("note: {error:#}")),
        }
        output::line(new.otpauth.expose_secret());
        output::note(
            "scan this with an authenticator app, or give it the secret in the URL; then type two codes, one after the other",
        );
    }
    let mut left = from.tries();
    loop {
        let first = prompt::code(from, "First code: ")?;
        let second = prompt::code(from, "The next code, when the app shows it: ")?;
        left -= 1;
        if first.expose_secret() == second.expose_secret() {
            if left == 0 {
                return Err(Failure::new("the two codes are the same")
                    .hint("wait until the app shows the next one")
                    .into());
            }
            output::note("the two codes are the same: wait until the app shows the next one");
            continue;
        }
        let codes = Codes { codes: [first.expose_secret(), second.expose_secret()] };
        match client.tell(Method::POST, &["enroll", "totp", &new.authenticator], Some(&codes)).await {
            Ok(()) => break,
            Err(error) if left > 0 && error.slug() == Some("malformed") => {
                output::note(&super::words::visible(&error.to_string()));
            }
            Err(error) => return Err(error.into()),
        }
    }
    output::note("enrolled: the app's codes count from now on");
    Ok(ExitCode::SUCCESS)
}
