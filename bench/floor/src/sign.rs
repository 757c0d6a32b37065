//! Bare loops of aws-lc-rs on one core: what a signature costs before anything is built around it.

use std::time::Instant;

use anyhow::{Result, ensure};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ED25519, Ed25519KeyPair, KeyPair, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey,
};
use serde_json::json;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long, value_enum)]
    alg: Algorithm,
    /// Signatures to make, and then to verify
    #[arg(long, default_value_t = 2000)]
    count: u32,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Algorithm {
    Ed25519,
    Rsa2048,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    ensure!(args.count > 0, "a mean needs at least one signature");
    let cost = match args.alg {
        Algorithm::Ed25519 => ed25519(args.count)?,
        Algorithm::Rsa2048 => rsa2048(args.count)?,
    };
    let alg = clap::ValueEnum::to_possible_value(&args.alg);
    println!(
        "{}",
        json!({
            "bench": "sign",
            "alg": alg.map(|value| value.get_name().to_owned()),
            "count": args.count,
            "sign_micros": cost.sign,
            "verify_micros": cost.verify,
        })
    );
    Ok(())
}

/// Mean microseconds of one operation.
struct Cost {
    sign: f64,
    verify: f64,
}

fn ed25519(count: u32) -> Result<Cost> {
    let key = Ed25519KeyPair::generate()?;
    let public = UnparsedPublicKey::new(&ED25519, key.public_key().as_ref());
    measure(
        count,
        |message| Ok(key.sign(message).as_ref().to_vec()),
        |message, signature| Ok(public.verify(message, signature)?),
    )
}

fn rsa2048(count: u32) -> Result<Cost> {
    let key = RsaKeyPair::generate(KeySize::Rsa2048)?;
    let random = SystemRandom::new();
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key().as_ref());
    measure(
        count,
        |message| {
            let mut signature = vec![0; key.public_modulus_len()];
            key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)?;
            Ok(signature)
        },
        |message, signature| Ok(public.verify(message, signature)?),
    )
}

fn measure(
    count: u32,
    sign: impl Fn(&[u8]) -> Result<Vec<u8>>,
    verify: impl Fn(&[u8], &[u8]) -> Result<()>,
) -> Result<Cost> {
    // The first operations build tables and fill caches.
    for number in 0..count.div_ceil(10) {
        let message = message(number);
        verify(&message, &sign(&message)?)?;
    }
    let start = Instant::now();
    let mut signatures = Vec::new();
    for number in 0..count {
        signatures.push(sign(&message(number))?);
    }
    let signed = start.elapsed();
    let start = Instant::now();
    for (number, signature) in (0..count).zip(&signatures) {
        verify(&message(number), signature)?;
    }
    let verified = start.elapsed();
    let mean = |took: std::time::Duration| took.as_secs_f64() * 1e6 / f64::from(count);
    Ok(Cost { sign: mean(signed), verify: mean(verified) })
}

/// As long as a small signed request, and never the same twice.
fn message(number: u32) -> [u8; 256] {
    let mut message = [0x5a; 256];
    message[..4].copy_from_slice(&number.to_le_bytes());
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_algorithms_sign_what_they_verify() {
        for cost in [ed25519(3).unwrap(), rsa2048(3).unwrap()] {
            assert!(cost.sign > 0.0 && cost.verify > 0.0);
        }
    }

    #[test]
    fn a_wrong_signature_stops_the_measurement() {
        let key = Ed25519KeyPair::generate().unwrap();
        let public = UnparsedPublicKey::new(&ED25519, key.public_key().as_ref());
        let result = measure(
            3,
            |_| Ok(key.sign(b"another message").as_ref().to_vec()),
            |message, signature| Ok(public.verify(message, signature)?),
        );
        assert!(result.is_err());
    }
}
