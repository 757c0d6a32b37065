//! For tests only. Nothing in here is fit to protect anything: the random bytes are public and the password hashes are cheap.
//!
//! It is not behind a feature, because a feature that one test turns on would be on for the whole workspace and prove nothing.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::KeysError;
use crate::password::PasswordParams;
use crate::primitives::{framed, sha256};
use crate::random::Random;

/// FOR TESTS ONLY. Bytes from SHA-256 over a seed and a counter: the same seed gives the same bytes in the same order of calls.
#[derive(Debug)]
pub struct SeededRandom {
    seed: u64,
    next_block: AtomicU64,
}

impl SeededRandom {
    pub fn new(seed: u64) -> Self {
        Self { seed, next_block: AtomicU64::new(0) }
    }
}

impl Random for SeededRandom {
    fn fill(&self, out: &mut [u8]) -> Result<(), KeysError> {
        for chunk in out.chunks_mut(32) {
            let block = self.next_block.fetch_add(1, Ordering::Relaxed);
            let digest =
                sha256(&framed("countersign/testing/random", &[&self.seed.to_be_bytes(), &block.to_be_bytes()]));
            for (to, from) in chunk.iter_mut().zip(digest) {
                *to = from;
            }
        }
        Ok(())
    }
}

/// FOR TESTS ONLY. The cheapest parameters that argon2 itself accepts: a hash takes microseconds, and guessing one takes no more.
pub fn cheap_password_params() -> PasswordParams {
    PasswordParams::unchecked(8, 1, 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::bytes;

    #[test]
    fn a_seed_fixes_the_sequence_and_no_block_comes_twice() {
        let one = SeededRandom::new(7);
        let two = SeededRandom::new(7);
        let first: [u8; 80] = bytes(&one).unwrap();
        assert_eq!(first, bytes::<80>(&two).unwrap());
        assert_ne!(first, bytes::<80>(&one).unwrap());
        assert_ne!(first, bytes::<80>(&SeededRandom::new(8)).unwrap());
        assert_ne!(first.get(..32), first.get(32..64));
    }
}
