//! Every private key byte of the service is made, kept, used and wiped in this crate.
//!
//! Nothing here reads a clock, the environment or the network, and nothing spawns: time comes in as an argument, random bytes come from a
//! [`Random`], and the only file ever touched is the one whose path [`master::MasterKey`] is given. All functions are synchronous;
//! [`password`] is meant to cost tens of milliseconds and belongs on a bounded pool.
//!
//! Types that hold a secret print as redacted in `Debug` and wipe their memory when they are dropped.

mod error;
mod primitives;

pub mod fingerprint;
pub mod jwt;
pub mod master;
pub mod opaque;
pub mod otpauth;
pub mod password;
pub mod random;
pub mod seal;
pub mod signing;
pub mod testing;
pub mod totp;

pub use error::KeysError;
pub use random::{Random, SystemRandom};
