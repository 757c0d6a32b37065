//! The engine as doors use it, on a real database in a temporary folder.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod admin;
mod attacks;
mod attacks_by_many;
mod clocks;
mod erasure;
mod flow;
mod guesses;
mod lists;
mod log;
mod properties;
mod replicas;
mod restore;
mod sinks;
mod support;
mod waiting;
