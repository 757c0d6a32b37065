//! Tests of the built program: real processes, real servers on loopback, other people's tools.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod admin;
mod bad_input;
mod crash;
mod damage;
mod enroll;
mod help;
mod metrics;
mod order;
mod outcomes;
mod qr;
mod races;
mod receipts;
mod replicas;
mod restore;
mod scripts;
mod sinks;
#[path = "../../../xtask/src/soak/server/mod.rs"]
mod soak;
mod startup;
mod story;
mod support;
