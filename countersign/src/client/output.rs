//! The only place that writes to the terminal: data on standard output, words on standard error. A reader that went away is no error of ours.

use std::io::{IsTerminal as _, Write as _};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::words;

/// A line of data.
pub(crate) fn line(text: &str) {
    let _closed = writeln!(std::io::stdout().lock(), "{text}");
}

/// A line of words.
pub(crate) fn note(text: &str) {
    let _closed = writeln!(std::io::stderr().lock(), "{text}");
}

/// Lines of data.
pub(crate) fn lines(lines: impl IntoIterator<Item = String>) {
    for text in lines {
        line(&text);
    }
}

/// Lines of words.
pub(crate) fn notes(lines: impl IntoIterator<Item = String>) {
    for text in lines {
        note(&text);
    }
}

/// One JSON document on standard output.
pub(crate) fn json(document: &impl Serialize) -> anyhow::Result<()> {
    line(&serde_json::to_string_pretty(document)?);
    Ok(())
}

/// Rows under headings, aligned, without lines; the cells are made harmless here.
pub(crate) fn table(headings: &[&str], rows: Vec<Vec<String>>) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(headings);
    for row in rows {
        table.add_row(row.iter().map(|cell| words::visible(cell)));
    }
    for row in table.to_string().lines() {
        line(row.strip_prefix(' ').unwrap_or(row).trim_end());
    }
}

/// A line on standard error that is rewritten in place; where that is no terminal, a line for each change.
#[derive(Debug, Default)]
pub(crate) struct LiveLine {
    shown: String,
}

impl LiveLine {
    pub(crate) fn show(&mut self, text: &str) {
        if text == self.shown {
            return;
        }
        text.clone_into(&mut self.shown);
        let mut stderr = std::io::stderr().lock();
        let _closed = if stderr.is_terminal() {
            write!(stderr, "\r{}\x1b[K", cut(text, width()))
        } else {
            writeln!(stderr, "{text}")
        };
        let _closed = stderr.flush();
    }

    /// Leaves the line standing and goes to the next.
    pub(crate) fn end(&mut self) {
        if !self.shown.is_empty() && std::io::stderr().is_terminal() {
            note("");
        }
        self.shown.clear();
    }
}

fn width() -> usize {
    terminal_size::terminal_size_of(std::io::stderr()).map_or(80, |(width, _)| usize::from(width.0))
}

/// A line that wraps could not be rewritten; the last column is left free because some terminals wrap as soon as it is filled.
fn cut(text: &str, width: usize) -> String {
    let room = width.saturating_sub(1);
    if text.chars().count() <= room {
        return text.to_owned();
    }
    text.chars().take(room.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_never_wraps() {
        assert_eq!(cut("asked 14:02", 80), "asked 14:02");
        assert_eq!(cut("abcdef", 6), "abcd…");
        assert_eq!(cut("abcdef", 7), "abcdef");
        assert!(cut("abc", 0).chars().count() <= 1);
    }
}
