//! What an error of the server, or of the way to it, means for what was to be written.

use tokio_postgres::error::{Severity, SqlState};

use crate::error::DbError;

/// An error of a statement before COMMIT was sent: whatever it is, nothing was written.
pub(crate) fn db_error(error: &tokio_postgres::Error) -> DbError {
    let Some(told) = error.as_db_error() else {
        return DbError::Away(why(error));
    };
    let code = told.code();
    let away = || DbError::Away(format!("{} (SQLSTATE {})", told.message(), code.code()));
    if *code == SqlState::UNIQUE_VIOLATION {
        // Not the detail: it repeats the values.
        let table = told.table().unwrap_or("row");
        return DbError::Duplicate(format!("{table}.{}", told.constraint().unwrap_or("key")));
    }
    match code.code() {
        "23503" => DbError::Dangling,
        "40001" | "40P01" => DbError::Contended,
        "25006" => away(),
        "53100" => DbError::Full,
        "55P03" => DbError::Busy,
        // No room for another connection or for memory, a read-only server, a cancelled statement, a server that stops or starts, an error of its disk.
        other => match other.get(..2).unwrap_or_default() {
            "08" | "28" | "53" | "57" | "58" | "XX" => away(),
            _ => DbError::Sql(format!("{} (SQLSTATE {other})", told.message())),
        },
    }
}

/// Whether the server itself said that the transaction does not stand. Anything else after COMMIT was sent may mean either.
pub(super) fn refused(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|told| told.parsed_severity() == Some(Severity::Error))
}

/// An error with what is beneath it, and no values.
pub(super) fn why(error: &tokio_postgres::Error) -> String {
    if let Some(told) = error.as_db_error() {
        return format!("{} (SQLSTATE {})", told.message(), told.code().code());
    }
    let mut out = error.to_string();
    let mut at = std::error::Error::source(error);
    while let Some(error) = at {
        let text = error.to_string();
        if !out.contains(&text) {
            out.push_str(": ");
            out.push_str(&text);
        }
        at = error.source();
    }
    out
}
