//! What is wrong with a policy, with the line and the rule that it is wrong in.

use std::fmt;

use countersign_core::names::NameError;

/// One thing that keeps a policy from being loaded. Displays as `policy.toml:12: rule prod-db: ...`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct PolicyError {
    pub place: Place,
    pub problem: Problem,
}

/// Something that may be meant, and that its author should know of. Displays like a [`PolicyError`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    pub place: Place,
    pub message: String,
}

/// Where in which policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub file: String,
    /// From 1.
    pub line: u32,
    /// The rule's id, or `#3` for the third one when it has none.
    pub rule: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    #[error("the file is longer than {0} bytes; split what it says into fewer, wider rules")]
    TooLong(usize),
    #[error("more than {0} rules; say more with patterns and groups")]
    TooManyRules(usize),
    #[error("not TOML: {0}")]
    Syntax(String),
    #[error("write `version = 1` at the top of the file")]
    NoVersion,
    #[error("this program reads version 1 of the rules, not {0}")]
    Version(i64),
    #[error("there is no key `{key}` here; use one of: {known}")]
    UnknownKey { key: String, known: String },
    #[error("`{0}` is missing")]
    Missing(&'static str),
    #[error("`{key}` must be {want}, not {got}")]
    Kind { key: String, want: &'static str, got: &'static str },
    #[error("`{0}` holds a character that cannot be seen; take it out")]
    Hidden(String),
    #[error("`{0}` is an empty list, which matches nothing and demands nothing; leave it out or name something")]
    EmptyList(String),
    #[error("another rule has this id; each rule needs its own, and the first stands on line {0}")]
    DuplicateId(u32),
    #[error("`{key}`: {source}")]
    Name { key: String, source: NameError },
    #[error("there is no effect {0:?}; use one of: allow, deny, require")]
    Effect(String),
    #[error("{0:?} is no action pattern; write an action such as command.run, all below it as command.*, or * alone")]
    Action(String),
    #[error("{0:?} names nobody; write person:alice, account:local:ci, a group such as local:dba, or *")]
    Who(String),
    #[error("{0:?} is no path; write parameter names joined by dots, numbers for list items, such as argv.0")]
    Path(String),
    #[error("`{0}` cannot look at any item in an allow rule, because one good item would let all others pass")]
    AnyItemAllows(String),
    #[error("{0:?} is no duration; write a number with s, m, h or d, such as 30m")]
    Duration(String),
    #[error("`{key}` is {got}; it must be {least} at least and {most} at most")]
    DurationRange { key: String, got: String, least: &'static str, most: &'static str },
    #[error("`{key}` is {got}; it must be {least} at least and {most} at most")]
    Range { key: String, got: String, least: i64, most: i64 },
    #[error("this rule demands {got} people together; {most} is the most that makes sense")]
    TooManyPeople { got: u64, most: u32 },
    #[error("{got:?} is no factor that counts in `{key}`; use totp")]
    Factor { key: String, got: String },
    #[error("password is no factor that counts in `{0}`, because it only opens a session; use totp")]
    Password(String),
    #[error("the entries for {0} share no factor; give them one in common")]
    NoCommonFactor(String),
    #[error("`reason` is no pattern that this program reads: {0}")]
    Regex(String),
    #[error("`reason` fits an empty text too, so nobody would have to give one; ask for something, such as .{{10,}}")]
    EmptyReason,
    #[error("`confirm = false` demands nothing; leave it out")]
    ConfirmFalse,
    #[error("{0:?} is no way to treat relayed codes; use one of: allow, refuse")]
    Relayed(String),
    #[error("`{key}` does not belong in a rule with effect {effect}; move it to a rule with effect require")]
    NotInEffect { key: String, effect: &'static str },
    #[error("a rule with effect require must demand something; add reason, confirm, quorum or notify")]
    NoDemand,
    #[error("no rule can allow {0}, because its built-in rules decide; deny it, or require more")]
    AllowBuiltIn(&'static str),
    #[error("a rule on login can deny or demand confirm, nothing else; move `{0}` to a rule without login")]
    LoginDemand(String),
    #[error("this denies {0} to everybody, so that nobody could ever repair the policy; say with `by` whom it denies")]
    LockOut(&'static str),
    #[error("{0:?} is no expectation; use one of: allow, deny, require, skip")]
    Expectation(String),
    #[error("{0:?} is nobody who could ask in a test; write person:alice or account:local:ci")]
    TestWho(String),
    #[error("a date cannot stand in `params`; write it as a text")]
    Date,
    #[error("test {name:?} failed: expected {expected}, got {got}")]
    Test { name: String, expected: String, got: String },
    #[error("there is no group {0}; create it first, or name another one")]
    NoGroup(String),
    #[error("{0}")]
    Supply(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)?;
        self.rule.as_ref().map_or(Ok(()), |rule| write!(f, ": rule {rule}"))
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}
