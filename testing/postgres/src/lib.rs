//! Debian's PostgreSQL for tests: clusters of their own in temporary folders, which are gone when the test's process is.

mod cluster;
mod proxy;
mod script;

pub use cluster::Cluster;
pub use proxy::{Proxy, Until};
