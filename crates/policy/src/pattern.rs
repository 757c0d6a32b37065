//! Patterns of a rule: texts with wildcards, actions, and who asks.

use std::fmt;

use countersign_core::names::{AccountName, Action, GroupName, check_name};

use crate::decide::Query;
use crate::error::Problem;

/// The one action outside `admin.*` that `*` does not cover.
pub(crate) const LOGIN: &str = "login";

/// The action that changes the policy itself.
pub(crate) const POLICY_APPLY: &str = "admin.policy.apply";

/// A text in which `*` is any run of characters and `?` one character. There is no escape. The whole text must fit, and case counts.
///
/// Bytes that are not UTF-8 are matched too, each as one character that no pattern can name: otherwise one bad byte in an argument would take it
/// out of the sight of a deny rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob {
    text: String,
    tokens: Vec<Token>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Any,
    One,
    Exactly(char),
}

/// What a rule says about the action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ActionPattern {
    Exactly(String),
    /// With its last dot: `command.` covers `command.run`, not `commander.run`.
    Below(String),
    /// All but `admin.*` and `login`, which only a rule that names them reaches.
    Any,
}

/// What a rule says about who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Person(String),
    Account(AccountName),
    Group(GroupName),
    Anyone,
}

impl Glob {
    pub(crate) fn new(text: &str) -> Self {
        let token = |c| match c {
            '*' => Token::Any,
            '?' => Token::One,
            other => Token::Exactly(other),
        };
        Self { text: text.to_owned(), tokens: text.chars().map(token).collect() }
    }

    pub(crate) fn fits(&self, bytes: &[u8]) -> bool {
        // A bad byte becomes None, which equals no character.
        let text: Vec<Option<char>> = bytes
            .utf8_chunks()
            .flat_map(|chunk| chunk.valid().chars().map(Some).chain(chunk.invalid().iter().map(|_| None)))
            .collect();
        let (mut at, mut token) = (0, 0);
        // Where to go on when what follows the last star does not fit: one character further. No other way back is ever needed.
        let mut retry = None;
        while at < text.len() {
            let fits = match (self.tokens.get(token), text.get(at)) {
                (Some(Token::Any), _) => {
                    retry = Some((at, token + 1));
                    token += 1;
                    continue;
                }
                (Some(Token::One), Some(_)) => true,
                (Some(Token::Exactly(want)), Some(got)) => *got == Some(*want),
                _ => false,
            };
            if fits {
                (at, token) = (at + 1, token + 1);
            } else if let Some((from, after)) = retry {
                retry = Some((from + 1, after));
                (at, token) = (from + 1, after);
            } else {
                return false;
            }
        }
        self.tokens.iter().skip(token).all(|token| *token == Token::Any)
    }
}

impl ActionPattern {
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        let wrong = || Problem::Action(shortened(text));
        if text == "*" {
            return Ok(Self::Any);
        }
        if let Some(prefix) = text.strip_suffix('*') {
            let word = prefix.strip_suffix('.').ok_or_else(wrong)?;
            word.parse::<Action>().map_err(|_| wrong())?;
            return Ok(Self::Below(prefix.to_owned()));
        }
        text.parse::<Action>().map(|action| Self::Exactly(action.as_str().to_owned())).map_err(|_| wrong())
    }

    pub(crate) fn fits(&self, action: &Action) -> bool {
        match self {
            Self::Exactly(text) => text == action.as_str(),
            Self::Below(prefix) => action.as_str().starts_with(prefix),
            Self::Any => !action.is_administration() && action.as_str() != LOGIN,
        }
    }

    /// Whether it covers an action of Countersign's own administration.
    pub(crate) fn names_administration(&self) -> bool {
        match self {
            Self::Exactly(text) | Self::Below(text) => text.starts_with("admin."),
            Self::Any => false,
        }
    }

    pub(crate) fn names_login(&self) -> bool {
        matches!(self, Self::Exactly(text) if text == LOGIN)
    }

    pub(crate) fn covers_policy_apply(&self) -> bool {
        match self {
            Self::Exactly(text) => text == POLICY_APPLY,
            Self::Below(prefix) => POLICY_APPLY.starts_with(prefix),
            Self::Any => false,
        }
    }
}

impl Who {
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        let wrong = || Problem::Who(shortened(text));
        if text == "*" {
            return Ok(Self::Anyone);
        }
        match text.split_once(':').ok_or_else(wrong)? {
            ("person", name) => {
                check_name(name).map_err(|_| wrong())?;
                Ok(Self::Person(name.to_owned()))
            }
            // Without its realm an account could be meant that another realm has too.
            ("account", name) if name.contains(':') => name.parse().map(Self::Account).map_err(|_| wrong()),
            ("account", _) => Err(wrong()),
            _ => text.parse().map(Self::Group).map_err(|_| wrong()),
        }
    }

    pub(crate) fn fits(&self, query: &Query<'_>) -> bool {
        match self {
            Self::Person(name) => query.person == Some(name),
            Self::Account(name) => query.account == name,
            Self::Group(name) => query.groups.contains(name),
            Self::Anyone => true,
        }
    }
}

/// As much of a wrong text as an error message needs, and nothing that a terminal would obey.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().take(64).map(|c| if misleads(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Whether the character could show whoever agrees to a rule something else than what it says: controls, and what turns the direction of writing.
pub(crate) fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for ActionPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(text) => f.write_str(text),
            Self::Below(prefix) => write!(f, "{prefix}*"),
            Self::Any => f.write_str("*"),
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Person(name) => write!(f, "person:{name}"),
            Self::Account(name) => write!(f, "account:{name}"),
            Self::Group(name) => write!(f, "{name}"),
            Self::Anyone => f.write_str("*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition itself, by recursion.
    fn slow(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), _) => (0..=text.len()).any(|from| slow(rest, &text[from..])),
            (Some(('?', rest)), Some((_, tail))) => slow(rest, tail),
            (Some((want, rest)), Some((got, tail))) => want == got && slow(rest, tail),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn a_glob_fits_as_its_definition_says(pattern in "[ab*?ü]{0,7}", text in "[abü]{0,9}") {
            let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
            prop_assert_eq!(Glob::new(&pattern).fits(text.as_bytes()), slow(&p, &t));
        }
    }

    #[test]
    fn a_bad_byte_does_not_hide_a_text() {
        assert!(Glob::new("*prod*").fits(b"x\xffprod\xfe"));
        assert!(Glob::new("prod?").fits(b"prod\xff"));
        assert!(!Glob::new("prod\u{fffd}").fits(b"prod\xff"));
    }

    #[test]
    fn many_stars_take_no_long_time() {
        let glob = Glob::new(&"*a".repeat(200));
        assert!(!glob.fits(&[b"a".repeat(4_000), b"b".to_vec()].concat()));
    }

    #[test]
    fn a_star_does_not_reach_administration_or_login() {
        let fits = |pattern: &str, action: &str| {
            ActionPattern::parse(pattern).expect("a pattern").fits(&action.parse().expect("an action"))
        };
        assert!(fits("*", "command.run") && fits("*", "admin") && fits("*", "administrate.all"));
        assert!(!fits("*", "admin.policy.apply") && !fits("*", "login"));
        assert!(fits("admin.*", "admin.policy.apply") && fits("admin.policy.*", "admin.policy.apply"));
        assert!(!fits("command.*", "command") && !fits("command.*", "commander.run"));
    }

    #[test]
    fn who_needs_its_kind_and_its_realm() {
        for bad in
            ["alice", "person:", "person:*", "account:ci", "account:", "security", ":x", "a:b:c", "", "person:a b"]
        {
            assert!(Who::parse(bad).is_err(), "{bad:?}");
        }
        for good in ["*", "person:alice", "account:local:ci", "local:dba", "ldap:dba"] {
            assert_eq!(Who::parse(good).map(|who| who.to_string()), Ok(good.to_owned()));
        }
    }
}
