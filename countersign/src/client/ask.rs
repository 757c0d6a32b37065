//! `ask`: any operation.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use countersign_core::canonical::Value;

use super::session::Context;
use super::wire::{Asking, View};
use super::{code, output, prompt, review, run, wait, words};
use crate::cli::AskArgs;
use crate::exit::Failure;

pub(super) async fn ask(context: &Context, args: AskArgs) -> anyhow::Result<ExitCode> {
    if args.code_stdin && args.params_json.as_deref() == Some(Path::new("-")) {
        return Err(Failure::new("standard input cannot hold both parameters and a code")
            .hint("put the parameters in a file")
            .into());
    }
    let client_name = concat!("countersign ", env!("CARGO_PKG_VERSION"));
    let asking = Asking {
        action: args.action,
        target: args.target,
        parameters: parameters(&args.params, args.params_json.as_deref())?,
        context: Value::object([("client", Value::from(client_name))]),
        reason: args.reason,
        deadline_secs: args.deadline,
    };
    let client = context.client().await?;
    if args.explain {
        return run::explain(context, &client, &asking).await;
    }
    let key = args.idempotency_key.as_deref();
    let view: View = client.post_once(&["requests"], &asking, key).await?;
    if !context.json() {
        output::note(&words::visible(&view.needs));
    }
    let mut view = code::confirm(&client, view, prompt::From::stdin(args.code_stdin)).await?;
    if args.wait {
        if !context.json() {
            output::line(&words::visible(&view.id));
        }
        let id = view.id.clone();
        view = match wait::until_decided(&client, view).await? {
            wait::Waited::Decided(view) => *view,
            wait::Waited::Interrupted => return Ok(wait::left_pending(&id)),
        };
        return wait::finish(context, &view);
    }
    if context.json() {
        output::json(&view)?;
    } else {
        output::line(&words::visible(&view.id));
        output::notes(review::outcome(&view));
    }
    Ok(ExitCode::SUCCESS)
}

/// Parameters from `KEY=VALUE` pairs, or from a file of plain JSON whose numbers are kept digit by digit.
pub(super) fn parameters(pairs: &[String], file: Option<&Path>) -> anyhow::Result<Value> {
    if let Some(file) = file {
        let value = Value::parse(&read(file)?).with_context(|| format!("{}", file.display()))?;
        return match value {
            Value::Object(_) => Ok(value),
            _ => Err(Failure::new("parameters are a JSON object, like {\"role\": \"admin\"}").into()),
        };
    }
    let mut members = BTreeMap::new();
    for pair in pairs {
        let (key, value) = pair.split_once('=').ok_or_else(|| Failure::new(format!("{pair} is no KEY=VALUE")))?;
        if members.insert(key.to_owned(), Value::from(value)).is_some() {
            return Err(Failure::new(format!("the parameter {key} is given twice")).into());
        }
    }
    Ok(Value::Object(members))
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    if file == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).context("standard input does not read")?;
        return Ok(bytes);
    }
    std::fs::read(file).with_context(|| format!("{} does not read", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_text_and_files_keep_their_numbers() {
        let pairs = ["role=admin".to_owned(), "query=a=b".to_owned(), "empty=".to_owned()];
        assert_eq!(
            parameters(&pairs, None).unwrap().to_canonical_string(),
            r#"{"empty":"","query":"a=b","role":"admin"}"#
        );
        assert!(parameters(&["a=1".to_owned(), "a=2".to_owned()], None).is_err());
        assert!(parameters(&["a".to_owned()], None).is_err());

        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), r#"{"amount": 9007199254740993, "$x": 1}"#).unwrap();
        let value = parameters(&[], Some(file.path())).unwrap();
        assert_eq!(value.to_canonical_string(), r#"{"$$x":1,"amount":{"$int":"9007199254740993"}}"#);
        std::fs::write(file.path(), r#"{"a":1,"a":2}"#).unwrap();
        assert!(parameters(&[], Some(file.path())).is_err());
        std::fs::write(file.path(), "[]").unwrap();
        assert!(parameters(&[], Some(file.path())).is_err());
    }
}
