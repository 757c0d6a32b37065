//! What the entries of a receipt tell together, after each of them has been verified alone. Entries that contradict each other are refused: an
//! answer to another operation, a requester who approved himself, a grant without the answers that it needed.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use countersign_core::canonical::Value;
use countersign_core::digest::Digest;
use countersign_core::entry::EntryKind;
use countersign_core::operation::OPERATION_FIELD;
use countersign_ledger::{Verified, VerifiedEntry};
use serde_json::json;

use crate::client::{review, words};
use crate::exit::Failure;

const ERASED: &str = "(withheld)";

/// Lines for people, and the same for scripts.
#[derive(Debug, Default)]
pub(super) struct Story {
    pub(super) proved: Vec<String>,
    pub(super) not_proved: Vec<String>,
    pub(super) operation: serde_json::Value,
    pub(super) approvals: Vec<serde_json::Value>,
    pub(super) releases: Vec<serde_json::Value>,
}

impl Story {
    pub(super) fn read(verified: &Verified) -> Result<Self, Failure> {
        let mut story = Self::default();
        let mut asked: Option<&VerifiedEntry> = None;
        for entry in &verified.entries {
            match entry.kind() {
                Some(EntryKind::RequestAsked) if asked.is_some() => {
                    return Err(contradiction("the request is asked twice"));
                }
                Some(EntryKind::RequestAsked) => {
                    asked = Some(entry);
                    story.asked(entry)?;
                }
                Some(EntryKind::RequestRefused) => story.refused(entry),
                Some(kind) => {
                    let asked = asked.ok_or_else(|| contradiction("the receipt does not hold what was asked"))?;
                    story.entry(kind, entry, asked, verified)?;
                }
                None => story.proved.push(format!(
                    "{}  an entry of type {}, which a newer version knows",
                    at(entry),
                    words::visible(&entry.entry.kind)
                )),
            }
        }
        if verified.entries.iter().any(|entry| !entry.closed.is_empty()) {
            story
                .not_proved
                .push("what was withheld or erased: the log holds it, the receipt does not show it".to_owned());
        }
        if verified.of_kind(EntryKind::RequestAnswered).next().is_some() {
            story
                .not_proved
                .push("that a code was typed by its owner, having seen this request: the server attests it".to_owned());
        }
        if !verified.gapless {
            story.not_proved.push("that no entry of this request is left out".to_owned());
        }
        story.not_proved.push("what came after the last entry shown here".to_owned());
        Ok(story)
    }

    fn asked(&mut self, entry: &VerifiedEntry) -> Result<(), Failure> {
        let digest = operation_digest(entry)?;
        let signed = entry.opened.get(OPERATION_FIELD);
        // The parts stand in the entry once more, one by one; a reader of either must read the same.
        for field in ["action", "target", "door", "reason"] {
            let apart = entry.opened.get(field);
            if let (Some(signed), Some(apart)) = (signed.and_then(|signed| signed.get(field)), apart)
                && signed != apart
            {
                return Err(contradiction(&format!("{field} is not what the digest covers")));
            }
        }
        let requester = who(entry, "requester");
        self.proved.push(format!("{}  asked by {requester} (account {})", at(entry), who(entry, "account")));
        match signed {
            Some(signed) => {
                let text = |name| signed.get(name).and_then(Value::as_str).unwrap_or_default();
                let null = Value::Null;
                let parameters = signed.get("parameters").unwrap_or(&null);
                self.indented(review::operation(text("action"), text("target"), parameters));
                match signed.get("reason").and_then(Value::as_str) {
                    Some(reason) => self.indented([format!("reason   {}", words::quote(reason.as_bytes()))]),
                    None => self.indented(["reason   none given".to_owned()]),
                }
                for (name, value) in signed.get("context").unwrap_or(&null).members() {
                    self.indented([format!(
                        "context  {} = {}, as the requester's client says",
                        words::quote(name.as_bytes()),
                        words::value(value)
                    )]);
                }
                let argv = review::argv(parameters).map(|argv| words::command(&argv));
                self.operation = json!({
                    "requester": entry.text("requester"), "account": entry.text("account"), "action": text("action"), "target": text("target"),
                    "command": argv, "parameters": parameters, "reason": signed.get("reason"), "digest": digest.to_string(),
                });
            }
            None => self.indented([format!("the operation is withheld; its digest is {digest}")]),
        }
        match entry.entry.policy {
            Some(policy) => self.indented([format!("policy   {policy}")]),
            None => self.indented(["policy   none named".to_owned()]),
        }
        let demands = entry.opened.get("demands").map(|demands| demands.items().map(demand).collect::<Vec<_>>());
        match demands.as_deref() {
            None => self.indented(["demands  (withheld)".to_owned()]),
            Some([]) => self.indented(["demands  none".to_owned()]),
            Some(demands) => self.indented([format!("demands  {}", demands.join(", "))]),
        }
        Ok(())
    }

    fn refused(&mut self, entry: &VerifiedEntry) {
        self.proved.push(format!(
            "{}  asked by {}, and refused by policy: {}",
            at(entry),
            who(entry, "account"),
            who(entry, "why")
        ));
        self.indented([format!("action   {}", who(entry, "action")), format!("target   {}", who(entry, "target"))]);
    }

    fn entry(
        &mut self,
        kind: EntryKind,
        entry: &VerifiedEntry,
        asked: &VerifiedEntry,
        verified: &Verified,
    ) -> Result<(), Failure> {
        let at = at(entry);
        let line = match kind {
            EntryKind::RequestAnswered => {
                self.answered(entry, asked)?;
                return Ok(());
            }
            EntryKind::RequestRejected => {
                format!("an answer of {} did not count: {}", who(entry, "person"), who(entry, "why"))
            }
            EntryKind::RequestGranted => {
                sufficient(verified, entry, asked)?;
                let uses = entry.entry.clear.get("uses").and_then(Value::as_i64).unwrap_or(0);
                let sole = entry.entry.clear.get("sole_administrator").and_then(Value::as_bool).unwrap_or(false);
                let (from, until) = (who(entry, "not_before"), who(entry, "expires_at"));
                let alone =
                    if sole { "; the service had one administrator, whose changes nobody countersigns" } else { "" };
                format!("granted: {uses} use(s), from {from} until {until}{alone}")
            }
            EntryKind::RequestDenied => format!("denied by {}: {}", who(entry, "person"), who(entry, "why")),
            EntryKind::RequestExpired => "expired: nobody answered in time".to_owned(),
            EntryKind::RequestCancelled => format!("cancelled by {}", who(entry, "by")),
            EntryKind::GrantUsed => "the grant covered the same operation again".to_owned(),
            EntryKind::GrantRevoked => format!("the grant was revoked by {}", who(entry, "person")),
            EntryKind::GrantEnded => "the grant ended".to_owned(),
            EntryKind::ReleaseIntended => format!("release {} begun by {}", who(entry, "release"), who(entry, "by")),
            EntryKind::ReleaseDone => {
                self.done(entry);
                return Ok(());
            }
            EntryKind::ReleaseRefused => format!("a release was refused: {}", who(entry, "why")),
            EntryKind::ReleaseFailed => format!("release {} failed, and nothing was let go", who(entry, "release")),
            EntryKind::ReleaseInDoubt => {
                self.not_proved
                    .push(format!("whether release {} happened: its holder fell silent", who(entry, "release")));
                format!("release {} is in doubt", who(entry, "release"))
            }
            EntryKind::ReleaseClosed => {
                format!(
                    "release {} was closed by {}: {}",
                    who(entry, "release"),
                    who(entry, "person"),
                    who(entry, "why")
                )
            }
            EntryKind::AdminApplied => "the change took effect".to_owned(),
            other => format!("{other}"),
        };
        self.proved.push(format!("{at}  {line}"));
        Ok(())
    }

    fn answered(&mut self, entry: &VerifiedEntry, asked: &VerifiedEntry) -> Result<(), Failure> {
        let own = entry.text("role") == Some("confirm");
        let about =
            entry.entry.clear.get("digest").and_then(Value::as_str).and_then(|digest| digest.parse::<Digest>().ok());
        if about != Some(operation_digest(asked)?) {
            return Err(contradiction("an answer is to another operation"));
        }
        let (person, requester) = (entry.text("person"), asked.text("requester"));
        if !own && person.is_some() && person == requester {
            return Err(contradiction("the requester approved his own request"));
        }
        let factor = who(entry, "factor");
        let mut line = if own {
            format!("{}  confirmed by the requester, {}, with {factor}", at(entry), who(entry, "person"))
        } else {
            let groups: Vec<&str> =
                entry.value("groups").into_iter().flat_map(Value::items).filter_map(Value::as_str).collect();
            let of =
                if groups.is_empty() { String::new() } else { format!(" for {}", words::visible(&groups.join(", "))) };
            format!("{}  approved by {}{of}, with {factor}", at(entry), who(entry, "person"))
        };
        line.push_str(", attested by the server");
        if let Some(relay) = entry.text("relayed_by") {
            let _infallible = write!(
                line,
                "; the code was presented by {}, its owner did not see the request here",
                words::visible(relay)
            );
        }
        self.approvals.push(json!({
            "person": person, "factor": entry.text("factor"), "own": own, "at": entry.entry.at.to_string(),
            "groups": entry.value("groups"), "relayed_by": entry.text("relayed_by"), "attested_by": "server",
        }));
        self.proved.push(line);
        Ok(())
    }

    fn done(&mut self, entry: &VerifiedEntry) {
        let by = entry.text("reported_by").unwrap_or_default();
        let outcome = who(entry, "outcome");
        if by == "server" {
            self.proved.push(format!("{}  release {} done by the server: {outcome}", at(entry), who(entry, "release")));
        } else {
            self.proved.push(format!("{}  release {} reported as ended: {outcome}", at(entry), who(entry, "release")));
            self.not_proved.push(format!(
                "that it ran, and how it ended ({outcome}): the exit status was reported by the requester's client, not proved"
            ));
        }
        self.releases.push(json!({
            "release": entry.text("release"), "outcome": entry.text("outcome"), "reported_by": by, "at": entry.entry.at.to_string(),
        }));
    }

    fn indented(&mut self, lines: impl IntoIterator<Item = String>) {
        self.proved.extend(lines.into_iter().map(|line| format!("    {line}")));
    }
}

/// The digest that people answered, which is the log's own commitment to the operation.
fn operation_digest(asked: &VerifiedEntry) -> Result<Digest, Failure> {
    let committed = asked.entry.commitments.get(OPERATION_FIELD).copied();
    let named = asked.entry.clear.get("digest").and_then(Value::as_str).and_then(|digest| digest.parse().ok());
    committed
        .filter(|committed| named == Some(*committed))
        .ok_or_else(|| contradiction("the request's digest is not the operation's"))
}

/// A grant needs the answers that were demanded, of different people. What is withheld cannot be judged.
fn sufficient(verified: &Verified, granted: &VerifiedEntry, asked: &VerifiedEntry) -> Result<(), Failure> {
    let answers: Vec<_> =
        verified.of_kind(EntryKind::RequestAnswered).filter(|answer| answer.index < granted.index).collect();
    if answers.iter().any(|answer| !answer.closed.is_empty()) {
        return Ok(());
    }
    let Some(demands) = asked.opened.get("demands") else { return Ok(()) };
    let approvals = || answers.iter().filter(|answer| answer.text("role") != Some("confirm"));
    let mut wanted = 0;
    for demand in demands.items() {
        match demand.get("demand").and_then(Value::as_str) {
            Some("fresh") if !answers.iter().any(|answer| answer.text("role") == Some("confirm")) => {
                return Err(contradiction("it was granted without the requester's own factor"));
            }
            Some("quorum") => {
                let k = demand.get("k").and_then(Value::as_u64).unwrap_or(u64::MAX);
                let of = demand.get("of");
                let people: BTreeSet<_> = approvals()
                    .filter(|answer| {
                        answer.value("groups").is_some_and(|groups| groups.items().any(|group| Some(group) == of))
                    })
                    .filter_map(|answer| answer.text("person"))
                    .collect();
                if u64::try_from(people.len()).unwrap_or(0) < k {
                    return Err(contradiction("it was granted without the people that were demanded"));
                }
                wanted += k;
            }
            _ => {}
        }
    }
    let people: BTreeSet<_> = approvals().filter_map(|answer| answer.text("person")).collect();
    if u64::try_from(people.len()).unwrap_or(0) < wanted {
        return Err(contradiction("one person counts twice"));
    }
    Ok(())
}

fn demand(demand: &Value) -> String {
    let text = |name| demand.get(name).and_then(Value::as_str).unwrap_or(ERASED);
    let factors: Vec<&str> =
        demand.get("factors").into_iter().flat_map(Value::items).filter_map(Value::as_str).collect();
    let with = if factors.is_empty() { String::new() } else { format!(" with {}", factors.join(" or ")) };
    words::visible(&match text("demand") {
        "fresh" => format!("the requester's own factor{with}"),
        "quorum" => format!(
            "{} of {}{with}, not the requester",
            demand.get("k").and_then(Value::as_i64).unwrap_or(0),
            text("of")
        ),
        "reason" => format!("a reason like {}", text("pattern")),
        "notify" => format!("notice to {}", text("whom")),
        other => other.to_owned(),
    })
}

/// A field as people may read it.
fn who(entry: &VerifiedEntry, field: &str) -> String {
    match entry.value(field) {
        Some(Value::Null) => "nobody in particular".to_owned(),
        Some(Value::String(text)) => words::visible(text),
        Some(value) => words::value(value),
        None if entry.is_closed(field) => ERASED.to_owned(),
        None => "nothing said".to_owned(),
    }
}

fn at(entry: &VerifiedEntry) -> String {
    entry.entry.at.to_string()
}

fn contradiction(what: &str) -> Failure {
    Failure::new(format!("the receipt contradicts itself: {what}"))
        .hint("do not believe it, and ask where it comes from")
}

#[cfg(test)]
mod tests;
