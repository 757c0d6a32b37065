//! The store from outside: what is committed stands, what races has one winner, what is asked is answered.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests fail where they stand, and wait for what they set going"
)]

mod ledger;
mod loads;
mod opening;
mod order;
mod postgres;
mod races;
mod sinks;
mod support;
mod tls;
