//! Changes to Countersign itself. They are operations like any other: asked, confirmed with the administrator's own code, and countersigned by
//! another administrator where there is one.

use std::process::ExitCode;

use secrecy::ExposeSecret as _;
use serde::{Serialize, Serializer};

use super::session::Context;
use super::wire::{Stage, View};
use super::{code, output, prompt, review, wait, words};
use crate::cli::AdminArgs;

/// What is to change, as `POST /admin` takes it.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Change {
    PersonAdd {
        name: String,
        #[serde(serialize_with = "exposed")]
        password: secrecy::SecretString,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        groups: Vec<String>,
    },
    PersonDisable {
        name: String,
    },
    PersonEnable {
        name: String,
    },
    PersonRemove {
        name: String,
    },
    PersonErase {
        name: String,
    },
    PasswordSet {
        name: String,
        #[serde(serialize_with = "exposed")]
        password: secrecy::SecretString,
    },
    FactorReset {
        name: String,
    },
    ThrottleClear {
        name: String,
    },
    GroupAdd {
        group: String,
    },
    GroupRemove {
        group: String,
    },
    MemberAdd {
        group: String,
        person: String,
    },
    MemberRemove {
        group: String,
        person: String,
    },
    ServiceAdd {
        name: String,
    },
    AccountLink {
        account: String,
        person: String,
    },
    PolicyApply {
        text: String,
    },
    ReleaseClose {
        release: String,
        reason: String,
    },
}

#[derive(Serialize)]
struct Asking<'a> {
    change: &'a Change,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

pub(super) async fn change(context: &Context, change: Change, args: AdminArgs) -> anyhow::Result<ExitCode> {
    let client = context.client().await?;
    let from = prompt::From::stdin(args.code_stdin);
    let asking = Asking { change: &change, reason: args.reason.as_deref() };
    let view: View = code::fresh(&client, from, || async { client.post(&["admin"], &asking).await }).await?;
    let mut view = code::confirm(&client, view, from).await?;
    if args.wait {
        let id = view.id.clone();
        view = match wait::until_decided(&client, view).await? {
            wait::Waited::Decided(view) => *view,
            wait::Waited::Interrupted => return Ok(wait::left_pending(&id)),
        };
    }
    if context.json() {
        output::json(&view)?;
    }
    if let Some(ended) = wait::ended(&view) {
        return Err(ended.into());
    }
    if !context.json() {
        if view.stage == Stage::Granted {
            output::note("done");
        } else {
            output::note(&format!("asked, not done yet · {}", review::progress(&view)));
            output::line(&words::visible(&view.id));
            output::note("hint: another administrator runs `countersign approve ID`");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn exposed<S: Serializer>(secret: &secrecy::SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    #[test]
    fn a_change_has_this_form_and_hides_its_password() {
        let change = Change::PersonAdd {
            name: "bob".into(),
            password: SecretString::from("pw"),
            groups: vec!["local:dba".into()],
        };
        let body = serde_json::to_string(&Asking { change: &change, reason: None }).unwrap();
        assert_eq!(body, r#"{"change":{"kind":"person_add","name":"bob","password":"pw","groups":["local:dba"]}}"#);
        assert!(!format!("{change:?}").contains("pw"));
        let change = Change::MemberAdd { group: "local:dba".into(), person: "bob".into() };
        assert_eq!(
            serde_json::to_string(&change).unwrap(),
            r#"{"kind":"member_add","group":"local:dba","person":"bob"}"#
        );
    }
}
