//! What becomes of a person's words when he is erased: pure functions over what is stored. The log's entries hold commitments only and stay as they
//! are; what goes is the clear text, and the salts without which nothing can be guessed back from a commitment.

use crate::canonical::Value;
use crate::digest::{Digest, Salt};
use crate::grant::GrantState;
use crate::identity::PersonRef;
use crate::ids::{AccountId, PersonId};
use crate::names::AccountName;
use crate::operation::Operation;
use crate::release::{Release, ReleaseState};
use crate::request::{Request, Stage};

/// What stands where a text was.
pub const ERASED: &str = "erased";

/// Names that begin like this are nobody's: no person or account is given one.
const PSEUDONYM: &str = "erased-";

/// The name that is left of somebody: made of the random end of the id, so nothing leads back from it.
pub fn pseudonym(person: PersonId) -> String {
    from_id(&person.to_string())
}

/// The same for an account, in its realm.
pub fn account_pseudonym(account: AccountId, name: &AccountName) -> AccountName {
    // Twelve hexadecimal digits fit into any name, so the old one is kept only if this is not so.
    AccountName::new(name.realm(), &from_id(&account.to_string())).unwrap_or_else(|_| name.clone())
}

/// Whether a name is one that erasure gives.
pub fn is_pseudonym(name: &str) -> bool {
    name.starts_with(PSEUDONYM)
}

fn from_id(id: &str) -> String {
    let random = id.rsplit('-').next().unwrap_or(id);
    format!("{PSEUDONYM}{random}")
}

/// The person whom an administrative operation is about, by name. What others ask for is about nobody that we could know of.
pub fn person_named(operation: &Operation) -> Option<&str> {
    match operation.action.as_str() {
        "admin.password.set" | "admin.factor.reset" | "admin.throttle.clear" => Some(operation.target.as_str()),
        action if action.starts_with("admin.person.") => Some(operation.target.as_str()),
        "admin.member.add" | "admin.member.remove" | "admin.account.link" => {
            operation.parameters.get("person").and_then(Value::as_str)
        }
        _ => None,
    }
}

impl Request {
    /// What was asked, why, and what else was said about it goes; ids, times, demands and what became of it stay.
    #[must_use]
    pub fn without_words(mut self) -> Self {
        let operation = self.operation;
        self.operation = Operation {
            door: operation.door,
            action: operation.action,
            target: ERASED.to_owned(),
            parameters: Value::Null,
            context: Value::Null,
        };
        self.sealed = None;
        self.reason = self.reason.map(|_| ERASED.to_owned());
        // Together with a guess they would tell whether it is right.
        self.salt = Salt::from_bytes([0; 16]);
        self.fingerprint = Digest::from_bytes([0; 32]);
        if let Stage::Refused { why, .. } = &mut self.stage {
            *why = why.take().map(|_| ERASED.to_owned());
        }
        self.erased = true;
        self
    }

    /// This person bears his pseudonym wherever the request names him.
    #[must_use]
    pub fn renamed(mut self, person: PersonId) -> Self {
        if rename(self.person.as_mut(), person) {
            self.account_name = account_pseudonym(self.account, &self.account_name);
            if let Stage::Cancelled { by, .. } = &mut self.stage {
                // Nobody else cancels.
                *by = self.account_name.clone();
            }
        }
        match &mut self.stage {
            Stage::Asked => {}
            Stage::Challenged { approvals, .. }
            | Stage::Granted { approvals, .. }
            | Stage::Refused { approvals, .. }
            | Stage::Expired { approvals, .. }
            | Stage::Cancelled { approvals, .. } => {
                for approval in approvals {
                    rename(Some(&mut approval.evidence.person), person);
                    rename(approval.evidence.relayed_by.as_mut(), person);
                }
            }
        }
        match &mut self.stage {
            Stage::Refused { by, .. } => {
                rename(Some(by), person);
            }
            Stage::Granted { grant, .. } => {
                if let GrantState::Revoked { by, .. } = &mut grant.state {
                    rename(Some(by), person);
                }
            }
            Stage::Asked | Stage::Challenged { .. } | Stage::Expired { .. } | Stage::Cancelled { .. } => {}
        }
        self
    }
}

impl Release {
    /// What its holder and whoever closed it said goes; that it happened stays.
    #[must_use]
    pub fn without_words(mut self) -> Self {
        match &mut self.state {
            ReleaseState::Done { result, .. } => ERASED.clone_into(&mut result.outcome),
            ReleaseState::Closed { reason, .. } => ERASED.clone_into(reason),
            ReleaseState::Failed { why, .. } => ERASED.clone_into(why),
            ReleaseState::Intended { .. } | ReleaseState::InDoubt { .. } => {}
        }
        self
    }

    /// This person bears his pseudonym where the release names him.
    #[must_use]
    pub fn renamed(mut self, person: PersonId) -> Self {
        if let ReleaseState::Closed { by, .. } = &mut self.state {
            rename(Some(by), person);
        }
        self
    }
}

fn rename(named: Option<&mut PersonRef>, person: PersonId) -> bool {
    match named {
        Some(named) if named.id == person => {
            named.name = pseudonym(person);
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::check_name;
    use crate::time::Micros;

    fn id(n: u8) -> PersonId {
        PersonId::new(Micros::from_secs(1_700_000_000), [n; 10])
    }

    fn operation(action: &str, target: &str, parameters: &str) -> Operation {
        Operation {
            door: "api".into(),
            action: action.parse().unwrap(),
            target: target.into(),
            parameters: Value::parse(parameters.as_bytes()).unwrap(),
            context: Value::Null,
        }
    }

    #[test]
    fn a_pseudonym_is_a_name_of_its_own_and_tells_no_time() {
        let (one, two) = (pseudonym(id(1)), pseudonym(id(2)));
        assert_ne!(one, two);
        assert!(check_name(&one).is_ok() && is_pseudonym(&one) && !is_pseudonym("bob"));
        // The first half of such an id is the moment at which it was made, which two people may share.
        let later = pseudonym(PersonId::new(Micros::from_secs(1_800_000_000), [1; 10]));
        assert_eq!(one, later);
        let ldap: AccountName = "ldap:bob.smith".parse().unwrap();
        let account = account_pseudonym(AccountId::new(Micros::from_secs(1), [7; 10]), &ldap);
        assert_eq!((account.realm(), is_pseudonym(account.name())), ("ldap", true));
    }

    #[test]
    fn administration_names_whom_it_is_about_and_nothing_else_does() {
        let named =
            |action, target, parameters| person_named(&operation(action, target, parameters)).map(str::to_owned);
        assert_eq!(named("admin.person.add", "bob", "{}").as_deref(), Some("bob"));
        assert_eq!(named("admin.factor.reset", "bob", "{}").as_deref(), Some("bob"));
        assert_eq!(named("admin.member.add", "local:dba", r#"{"person":"bob"}"#).as_deref(), Some("bob"));
        assert_eq!(named("admin.account.link", "ldap:b", r#"{"person":"bob"}"#).as_deref(), Some("bob"));
        assert_eq!(named("admin.group.add", "local:dba", "{}"), None);
        assert_eq!(named("command.run", "bob", r#"{"person":"bob"}"#), None);
    }
}
