//! A request in words. What it says is what an approver decides by: every value of it is quoted, nothing is left out.

use std::fmt::Write as _;

use countersign_core::canonical::Value;

use super::wire::{Explanation, View};
use super::{surroundings, words};

/// Everything that the request says, one fact to a line.
pub(super) fn lines(view: &View) -> Vec<String> {
    let mut lines = vec![format!("request  {}", words::visible(&view.id)), format!("from     {}", requester(view))];
    lines.extend(operation(&view.action, &view.target, &view.parameters));
    match &view.reason {
        Some(reason) => lines.push(format!("reason   {}", words::quote(reason.as_bytes()))),
        None => lines.push("reason   none given".to_owned()),
    }
    for (name, value) in view.context.members() {
        lines.push(format!("context  {} = {}", words::quote(name.as_bytes()), words::value(value)));
    }
    lines.push(format!("needs    {}", words::visible(view.needs.strip_prefix("needs ").unwrap_or(&view.needs))));
    if !progress(view).is_empty() {
        lines.push(format!("so far   {}", progress(view)));
    }
    let (asked, ends) = (surroundings::clock(view.asked_at), surroundings::clock(view.deadline));
    lines.push(format!("asked    {asked}, answers count until {ends}"));
    lines.push(format!("digest   {}", words::visible(&view.digest)));
    lines.push(format!("policy   {}", words::visible(&view.policy)));
    lines
}

/// What it has come to.
pub(super) fn outcome(view: &View) -> Vec<String> {
    let over =
        view.grant.as_ref().map(|grant| grant.state.as_str()).filter(|state| matches!(*state, "revoked" | "ended"));
    let mut stage = over.unwrap_or(view.stage.as_str()).to_owned();
    if let Some(ended) = &view.ended {
        if let Some(by) = &ended.by {
            let _infallible = write!(stage, " by {}", words::visible(by));
        }
        let _infallible = write!(stage, " at {}", surroundings::clock(ended.at));
        if let Some(why) = &ended.why {
            let _infallible = write!(stage, ": {}", words::quote(why.as_bytes()));
        }
    }
    let mut lines = vec![format!("stage    {stage}")];
    if let Some(grant) = &view.grant {
        let (from, until) = (surroundings::clock(grant.not_before), surroundings::clock(grant.expires_at));
        lines.push(format!(
            "grant    {}, uses left: {}, from {from} until {until}",
            grant.state.as_str(),
            grant.uses_left
        ));
    }
    for release in &view.releases {
        let outcome = release.outcome.as_deref().map(|outcome| format!(": {}", words::visible(outcome)));
        let by = release.reported_by.as_deref().map(|by| format!(" (reported by {})", reporter(by)));
        lines.push(format!(
            "release  {} {} at {}{}{}",
            words::visible(&release.id),
            words::visible(&release.state),
            surroundings::clock(release.begun_at),
            outcome.unwrap_or_default(),
            by.unwrap_or_default()
        ));
    }
    lines
}

fn reporter(by: &str) -> String {
    match by {
        "requesters_client" => "the requester's client, not proved".to_owned(),
        "server" => "the server".to_owned(),
        by => words::visible(by),
    }
}

/// The operation alone. A command stands as a shell would read it; parameters that are no command are listed.
pub(super) fn operation(action: &str, target: &str, parameters: &Value) -> Vec<String> {
    let mut lines = vec![
        format!("action   {}", words::quote(action.as_bytes())),
        format!("target   {}", words::quote(target.as_bytes())),
    ];
    let argv = (action == "command.run").then(|| argv(parameters)).flatten();
    if let Some(argv) = &argv {
        lines.push(format!("command  {}", words::command(argv)));
    }
    for (name, value) in parameters.members().filter(|(name, _)| argv.is_none() || *name != "argv") {
        match name {
            "cwd" if argv.is_some() => lines.push(format!("folder   {}", words::value(value))),
            "user" if argv.is_some() => lines.push(format!("as user  {}", words::value(value))),
            _ => lines.push(format!("with     {} = {}", words::quote(name.as_bytes()), words::value(value))),
        }
    }
    lines
}

/// The operation on one line, for lists.
pub(super) fn short(view: &View) -> String {
    let argv = (view.action == "command.run").then(|| argv(&view.parameters)).flatten();
    match argv {
        Some(argv) => words::command(&argv),
        None => words::visible(&view.action),
    }
}

/// `local:security: bob · local:dba: waiting for carol, dave`.
pub(super) fn progress(view: &View) -> String {
    let mut parts = Vec::new();
    match view.progress.confirm {
        Some(true) => parts.push("own code: given".to_owned()),
        Some(false) => parts.push("own code: missing".to_owned()),
        None => {}
    }
    for slot in &view.progress.slots {
        let who = slot.filled_by.as_deref().map_or_else(|| waiting_for(view, &slot.group), words::visible);
        parts.push(format!("{}: {who}", words::visible(&slot.group)));
    }
    parts.join(" · ")
}

fn waiting_for(view: &View, group: &str) -> String {
    let able = view.can_approve.iter().find(|able| able.group == group);
    let people = able.map(|able| able.people.join(", ")).filter(|people| !people.is_empty());
    people.map_or_else(|| "waiting".to_owned(), |people| format!("waiting for {}", words::visible(&people)))
}

pub(super) fn requester(view: &View) -> String {
    let account = words::visible(&view.requester.account);
    match &view.requester.person {
        Some(person) => format!("{} ({account})", words::visible(person)),
        None => format!("{account}, which belongs to no person"),
    }
}

pub(super) fn explanation(explanation: &Explanation) -> Vec<String> {
    let mut lines = vec![format!("{}: {}", words::visible(&explanation.verdict), words::visible(&explanation.why))];
    if !explanation.needs.is_empty() {
        lines.push(words::visible(&explanation.needs));
    }
    for slot in &explanation.slots {
        let people = if slot.people.is_empty() { "nobody".to_owned() } else { slot.people.join(", ") };
        lines.push(format!("{}: {} can", words::visible(&slot.group), words::visible(&people)));
    }
    for missing in &explanation.missing {
        lines.push(format!("missing: {}", words::visible(missing)));
    }
    for step in &explanation.path {
        let line = step.line.map(|line| format!(" (line {line})")).unwrap_or_default();
        let matched = if step.matched { "matched" } else { "did not match" };
        let why = step.why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
        lines.push(format!("rule {}{line} {matched}{}", words::visible(&step.rule), words::visible(&why)));
    }
    lines
}

/// The arguments, if that is what `argv` is; anything odd is shown as the parameter that it is.
pub(super) fn argv(parameters: &Value) -> Option<Vec<Vec<u8>>> {
    let argv = parameters.get("argv")?.as_array()?;
    let words: Option<Vec<_>> = argv.iter().map(|word| word.as_bytes().map(<[u8]>::to_vec)).collect();
    words.filter(|words| !words.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_it_will_run() {
        let parameters = Value::object([
            ("argv", Value::array([Value::from("rm"), Value::from("a b"), Value::Bytes(vec![0xff])])),
            ("cwd", Value::from("/srv/\u{202e}x")),
            ("user", Value::from("root")),
            ("stdin", Value::from(true)),
        ]);
        assert_eq!(
            operation("command.run", "db1", &parameters),
            [
                "action   command.run",
                "target   db1",
                r"command  rm 'a b' $'\xff'",
                r"folder   $'/srv/\u{202e}x'",
                "with     stdin = true",
                "as user  root",
            ]
        );
    }

    #[test]
    fn parameters_that_only_look_like_a_command_are_listed() {
        let parameters = Value::object([("argv", Value::from("rm -rf /")), ("cwd", Value::from("/"))]);
        assert_eq!(
            operation("command.run", "db1", &parameters)[2..],
            ["with     argv = 'rm -rf /'", "with     cwd = /"]
        );
        assert_eq!(
            operation("sts.credentials", "r", &parameters)[2..],
            ["with     argv = 'rm -rf /'", "with     cwd = /"]
        );
    }
}
