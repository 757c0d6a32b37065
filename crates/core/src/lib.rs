//! The nouns of Countersign and the rules between them: who asks for what, what must be answered, what a right may become.
//!
//! Everything here is a pure function of its arguments. There is no clock, no randomness, no network and no database: time arrives as
//! [`time::Micros`], random bytes arrive as a seed in [`decide::Ctx`], and what must be written leaves as [`changes::Changes`], which is data.

pub mod canonical;
pub mod changes;
pub mod decide;
pub mod decision;
pub mod demand;
pub mod digest;
pub mod entry;
pub mod erasure;
pub mod evidence;
pub mod grant;
pub mod identity;
pub mod ids;
pub mod names;
pub mod operation;
pub mod people;
pub mod principal;
pub mod quorum;
pub mod release;
pub mod request;
pub mod sealed;
pub mod throttle;
pub mod time;
