//! What the process says to its caller: exit codes, and how an error is put into words.
//!
//! | code | means |
//! |---|---|
//! | 0 | done; `run` gives the command's own code |
//! | 1 | an error of ours that has no code of its own |
//! | 2 | wrong arguments |
//! | 121 | denied, or revoked before it ran |
//! | 122 | expired |
//! | 123 | cancelled |
//! | 124 | refused by policy |
//! | 125 | the server is unreachable, or did not say how it ended |
//! | 126, 127 | `run`: the command cannot be executed, is not there; nothing was asked |
//! | 128+n | ended by signal n; 130 is an interrupted wait, whose request stays pending |

use std::fmt;
use std::process::ExitCode;

use crate::client::http::ApiError;
use crate::client::{output, words};

pub(crate) const DENIED: u8 = 121;
pub(crate) const EXPIRED: u8 = 122;
pub(crate) const CANCELLED: u8 = 123;
pub(crate) const REFUSED: u8 = 124;
pub(crate) const UNREACHABLE: u8 = 125;
pub(crate) const NOT_EXECUTABLE: u8 = 126;
pub(crate) const NOT_FOUND: u8 = 127;
pub(crate) const INTERRUPTED: u8 = 130;

/// An error with what to try next, and perhaps an exit code of its own.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
    hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into(), hint: None }
    }

    pub(crate) fn code(self, code: u8) -> Self {
        Self { code, ..self }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// The code that an error ends the process with.
pub(crate) fn code_of(error: &anyhow::Error) -> u8 {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return failure.code;
    }
    match error.downcast_ref::<ApiError>() {
        Some(ApiError::Unreachable { .. } | ApiError::Cut { .. }) => UNREACHABLE,
        Some(ApiError::Problem(problem)) => match problem.slug.as_str() {
            "refused-by-policy" => REFUSED,
            "ledger-behind" | "database-away" | "clock-apart" | "unknown-outcome" | "unavailable" | "disk-full" => {
                UNREACHABLE
            }
            _ => 1,
        },
        _ => 1,
    }
}

/// Prints the error and gives the code. Whatever the server or a file said is made harmless for the terminal.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    output::note(&format!("error: {}", words::visible(&format!("{error:#}"))));
    if let Some(hint) = hint_of(error) {
        output::note(&format!("hint: {}", words::visible(&hint)));
    }
    ExitCode::from(code_of(error))
}

fn hint_of(error: &anyhow::Error) -> Option<String> {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return failure.hint.clone();
    }
    error.downcast_ref::<ApiError>().and_then(ApiError::hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::wire::Problem;

    fn problem(slug: &str) -> anyhow::Error {
        ApiError::Problem(Box::new(Problem { slug: slug.to_owned(), ..Problem::default() })).into()
    }

    #[test]
    fn each_end_has_its_code() {
        assert_eq!(code_of(&problem("refused-by-policy")), 124);
        assert_eq!(code_of(&problem("ledger-behind")), 125);
        assert_eq!(code_of(&problem("not-found")), 1);
        assert_eq!(code_of(&ApiError::Unreachable { server: "x".into(), why: "y".into() }.into()), 125);
        assert_eq!(code_of(&ApiError::Cut { server: "x".into(), why: "y".into() }.into()), 125);
        assert_eq!(code_of(&Failure::new("no").code(DENIED).into()), 121);
        assert_eq!(code_of(&anyhow::anyhow!("anything else")), 1);
    }

    #[test]
    fn a_context_does_not_hide_the_code() {
        assert_eq!(code_of(&problem("refused-by-policy").context("while asking")), 124);
        assert_eq!(code_of(&anyhow::Error::from(Failure::new("no").code(EXPIRED)).context("while waiting")), 122);
    }
}
