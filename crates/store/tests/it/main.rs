//! The store from outside: what is committed stands, what races has one winner, what is asked is answered.

#![expect(clippy::unwrap_used, reason = "tests")]

mod ledger;
mod loads;
mod opening;
mod order;
mod races;
mod support;
