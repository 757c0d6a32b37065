//! Time, as the engine is given it.

use std::fmt::Debug;

use countersign_core::time::Micros;

/// What time it is. The binary reads the system's clock; tests set theirs.
pub trait Clock: Send + Sync + Debug {
    fn now(&self) -> Micros;
}
