//! Random bytes as an argument, so that tests can be repeated and nothing else in the workspace reaches for a global generator.

use std::fmt::Debug;

use crate::KeysError;

/// A source of bytes that nobody can predict. Implementations fill all of `out` or fail; there is no partial success.
pub trait Random: Send + Sync + Debug {
    fn fill(&self, out: &mut [u8]) -> Result<(), KeysError>;
}

/// The generator of aws-lc, seeded by the operating system and safe across `fork`.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, out: &mut [u8]) -> Result<(), KeysError> {
        aws_lc_rs::rand::fill(out).map_err(|_| KeysError::Random)
    }
}

/// `N` random bytes for values that are not secret in themselves: nonces, salts, identifiers. Keys are filled in place instead.
pub fn bytes<const N: usize>(random: &dyn Random) -> Result<[u8; N], KeysError> {
    let mut out = [0; N];
    random.fill(&mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_draws_differ_and_every_byte_position_is_filled() {
        let draws: Vec<[u8; 32]> = (0..64).map(|_| bytes(&SystemRandom).unwrap()).collect();
        for position in 0..32 {
            let seen: std::collections::BTreeSet<u8> =
                draws.iter().filter_map(|draw| draw.get(position).copied()).collect();
            assert!(seen.len() > 8, "position {position} took only {} values in 64 draws", seen.len());
        }
    }

    #[test]
    fn no_bytes_are_a_valid_request() {
        let empty: [u8; 0] = bytes(&SystemRandom).unwrap();
        assert!(empty.is_empty());
    }
}
