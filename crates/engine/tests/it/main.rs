//! The engine as doors use it, on a real database in a temporary folder.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod admin;
mod attacks;
mod flow;
mod guesses;
mod log;
mod properties;
mod support;
