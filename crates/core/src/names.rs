//! Names that people type: realms, groups, accounts, actions, factors. Parsed once, at the edge; afterwards they are types.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The realm of the accounts and groups that Countersign keeps itself.
pub const LOCAL_REALM: &str = "local";

/// The group whose members administer. It exists from the first start.
pub const ADMINISTRATORS: &str = "administrators";

const NAME_LIMIT: usize = 128;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("a name must not be empty")]
    Empty,
    #[error("a name has at most {NAME_LIMIT} characters")]
    TooLong,
    #[error("a name may hold letters, digits, and . _ - @ + only; {0:?} is not among them")]
    Character(char),
    #[error("write a group as realm:group, for example local:security")]
    Realm,
    #[error("there is no factor {0:?}; use one of: totp, password")]
    Factor(String),
    #[error("an action is words joined by dots, for example command.run")]
    Action,
}

/// Checks one part of a name. Control characters, blanks, quotes and look-alike tricks have no place in what an approver reads.
pub fn check_name(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.chars().count() > NAME_LIMIT {
        return Err(NameError::TooLong);
    }
    match name.chars().find(|c| !(c.is_ascii_alphanumeric() || "._-@+".contains(*c))) {
        Some(character) => Err(NameError::Character(character)),
        None => Ok(()),
    }
}

macro_rules! realm_names {
    ($($(#[$doc:meta])* $name:ident)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name { realm: String, name: String }

        impl $name {
            pub fn new(realm: &str, name: &str) -> Result<Self, NameError> {
                check_name(realm)?;
                check_name(name)?;
                Ok(Self { realm: realm.to_owned(), name: name.to_owned() })
            }

            pub fn realm(&self) -> &str {
                &self.realm
            }

            /// The name without its realm.
            pub fn name(&self) -> &str {
                &self.name
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}:{}", self.realm, self.name)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.to_string()
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }
    )+};
}

realm_names! {
    /// A group: always with its realm, because equal names of two realms are two groups (`local:security` and `ldap:security`).
    GroupName
    /// An account: a login name within its realm.
    AccountName
}

impl GroupName {
    /// `local:administrators`.
    pub fn administrators() -> Self {
        Self { realm: LOCAL_REALM.to_owned(), name: ADMINISTRATORS.to_owned() }
    }
}

impl FromStr for GroupName {
    type Err = NameError;

    /// Demands the realm: a rule that says only `security` could mean the wrong one.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let (realm, name) = text.split_once(':').ok_or(NameError::Realm)?;
        Self::new(realm, name)
    }
}

impl FromStr for AccountName {
    type Err = NameError;

    /// `alice` is `local:alice`: what people type at a login is a bare name.
    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.split_once(':') {
            Some((realm, name)) => Self::new(realm, name),
            None => Self::new(LOCAL_REALM, text),
        }
    }
}

/// A dotted action name, for example `command.run`. `admin.*` is Countersign's own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Action(String);

impl Action {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is an action of Countersign's own, which nobody asks for by name.
    pub fn is_reserved(&self) -> bool {
        self.is_administration() || self.0 == "login"
    }

    /// Whether this is one of the operations that change Countersign itself.
    pub fn is_administration(&self) -> bool {
        self.0.starts_with("admin.")
    }
}

impl FromStr for Action {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let word =
            |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        if text.len() <= NAME_LIMIT && text.split('.').all(word) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::Action)
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Action> for String {
    fn from(action: Action) -> Self {
        action.0
    }
}

impl TryFrom<String> for Action {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

/// What kind of proof somebody gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Factor {
    /// A one-time code of RFC 6238. Attested by the server: the code itself says nothing about the request.
    Totp,
    /// Something known. Opens a session; never fills a slot.
    Password,
}

impl Factor {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Totp => "totp",
            Self::Password => "password",
        }
    }
}

impl fmt::Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Factor {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text {
            "totp" => Ok(Self::Totp),
            "password" => Ok(Self::Password),
            other => Err(NameError::Factor(other.chars().take(32).collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_needs_its_realm_and_an_account_does_not() {
        assert_eq!("security".parse::<GroupName>(), Err(NameError::Realm));
        assert_eq!("local:security".parse::<GroupName>().map(|g| g.to_string()), Ok("local:security".to_owned()));
        assert_eq!("alice".parse::<AccountName>().map(|a| a.to_string()), Ok("local:alice".to_owned()));
    }

    #[test]
    fn names_hold_nothing_that_could_mislead_an_approver() {
        for bad in ["", "al ice", "alice\u{202e}", "al\nice", "a:b:c", "аlice", "alice\0"] {
            assert!(bad.parse::<AccountName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn actions_are_dotted_words() {
        assert!("command.run".parse::<Action>().is_ok());
        for bad in ["", ".", "a..b", "command.run ", "command.*", "a/b"] {
            assert!(bad.parse::<Action>().is_err(), "{bad:?}");
        }
    }
}
