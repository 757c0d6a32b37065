//! An authenticated actor.

use std::ops::Deref;

use serde::{Deserialize, Serialize};

use crate::identity::{AccountKind, PersonRef};
use crate::ids::{AccountId, SessionId, TokenId};
use crate::names::{AccountName, Factor};
use crate::time::Micros;

/// Who acts: made by [`Principal::attested`] in `factors` alone, never from a string of the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal(PrincipalParts);

/// What an attested principal is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrincipalParts {
    pub account: AccountId,
    pub name: AccountName,
    pub kind: AccountKind,
    /// The one human being behind the account, if any.
    pub person: Option<PersonRef>,
    pub via: Via,
    /// The last proof in this session: what, and when.
    pub fresh: Option<(Factor, Micros)>,
    /// The address that the call came from, as text: what throttles count by.
    pub source: String,
}

/// How the caller proved to be this principal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Via {
    Session(SessionId),
    /// A program's token: it may ask within `scopes`, and never answers.
    Token {
        id: TokenId,
        scopes: Vec<String>,
    },
    /// The password itself, in this call.
    Password,
    /// The server acting on its own behalf, for example to propose a changed policy file.
    Server,
}

impl Principal {
    /// The only constructor. Called where a credential has just been verified (`factors`); `cargo xtask tidy` refuses it elsewhere.
    pub fn attested(parts: PrincipalParts) -> Self {
        Self(parts)
    }

    /// Whether this caller may fill slots at all: a human being in person, not a program that acts for one.
    pub fn answers_in_person(&self) -> Option<&PersonRef> {
        match (&self.0.via, self.0.kind, &self.0.person) {
            (Via::Session(_) | Via::Password, AccountKind::Person, Some(person)) => Some(person),
            _ => None,
        }
    }

    /// Whether a token's scopes, if it is one, cover the action. Sessions cover everything; policy decides.
    pub fn covers(&self, action: &str) -> bool {
        match &self.0.via {
            Via::Token { scopes, .. } => scopes.iter().any(|scope| scope_covers(scope, action)),
            Via::Session(_) | Via::Password | Via::Server => true,
        }
    }
}

impl Deref for Principal {
    type Target = PrincipalParts;

    fn deref(&self) -> &PrincipalParts {
        &self.0
    }
}

/// `*`, an exact action, or `prefix.*`. The dot belongs to the prefix: `command.*` does not cover `commander.run`.
fn scope_covers(scope: &str, action: &str) -> bool {
    match scope.strip_suffix('*') {
        Some("") => true,
        Some(prefix) if prefix.ends_with('.') => action.starts_with(prefix),
        Some(_) => false,
        None => scope == action,
    }
}

#[cfg(test)]
mod tests {
    use super::scope_covers;

    #[test]
    fn a_scope_covers_whole_words_only() {
        assert!(
            scope_covers("*", "command.run")
                && scope_covers("command.*", "command.run")
                && scope_covers("command.run", "command.run")
        );
        assert!(
            !scope_covers("command.*", "commander.run")
                && !scope_covers("command*", "command.run")
                && !scope_covers("command", "command.run")
        );
        assert!(!scope_covers("", "command.run"));
    }
}
