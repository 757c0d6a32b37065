//! The verbs: ask, answer, deny, cancel, revoke, release, wait, and what time does by itself.

mod answer;
mod ask;
mod close;
mod release;
mod timers;
mod view;
mod wait;
mod watch;

pub use answer::Proof;
pub(crate) use answer::{admitted, answering};
pub use ask::{Ask, Asked, Idempotency};
pub use release::{LEASE, RENEW_EVERY, Released};
pub use view::{May, View, You};
pub(crate) use wait::Wakeups;
pub use watch::Watch;
