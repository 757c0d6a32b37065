//! What the tests share: the built program as real processes, with servers on loopback, and clocks, authenticators and readers of other people.

mod demo;
mod http;
mod job;
mod program;
mod server;
mod tools;

use std::time::{Duration, Instant};

pub(crate) use demo::Demo;
pub(crate) use http::{Api, Reply, raw, raw_patiently};
pub(crate) use job::{Job, Out};
pub(crate) use program::{Cs, cs, other_program};
pub(crate) use server::{PASSWORD, Server, administrator, running, terminate};
pub(crate) use tools::{code_of, has_tool, secret_of, two_codes_of, wrong_code_of};

/// No test hangs: whatever takes longer is killed, and fails.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Asks again and again until there is an answer.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(30));
    }
}
