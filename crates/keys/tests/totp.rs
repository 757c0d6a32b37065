//! Codes against the published vectors and against an independent program.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a helper fails with the line that unwraps; a skipped comparison is said aloud and can be forbidden"
)]

use std::io::ErrorKind;
use std::process::Command;

use countersign_core::time::Micros;
use countersign_keys::random::{Random as _, bytes};
use countersign_keys::testing::SeededRandom;
use countersign_keys::totp::{TotpAlgorithm, TotpParams, TotpSecret};
use secrecy::{ExposeSecret as _, SecretString};

/// RFC 6238 appendix B prints one 20-byte key, but its SHA-256 and SHA-512 rows were made with keys as long as the hash (erratum 2866).
const KEY: &[u8] = b"1234567890123456789012345678901234567890123456789012345678901234";

fn rfc_6238(algorithm: TotpAlgorithm, key_len: usize, codes: [&str; 6]) {
    let times = [59, 1_111_111_109, 1_111_111_111, 1_234_567_890, 2_000_000_000, 20_000_000_000];
    let secret = TotpSecret::from_bytes(KEY.get(..key_len).unwrap(), TotpParams { algorithm, digits: 8 }).unwrap();
    for (secs, code) in times.into_iter().zip(codes) {
        let now = Micros::from_secs(secs);
        assert_eq!(secret.code_at(now).expose_secret(), code, "{algorithm:?} at {secs}");
        assert_eq!(secret.check(code, now, true), Some(u64::try_from(secs).unwrap() / 30), "{algorithm:?} at {secs}");
    }
}

#[test]
fn rfc_6238_sha1() {
    let codes = ["94287082", "07081804", "14050471", "89005924", "69279037", "65353130"];
    rfc_6238(TotpAlgorithm::Sha1, 20, codes);
}

#[test]
fn rfc_6238_sha256() {
    let codes = ["46119246", "68084774", "67062674", "91819424", "90698825", "77737706"];
    rfc_6238(TotpAlgorithm::Sha256, 32, codes);
}

#[test]
fn rfc_6238_sha512() {
    let codes = ["90693936", "25091201", "99943326", "93441116", "38618901", "47863826"];
    rfc_6238(TotpAlgorithm::Sha512, 64, codes);
}

#[test]
fn rfc_4226() {
    let secret = TotpSecret::from_bytes(b"12345678901234567890", TotpParams::default()).unwrap();
    let codes = ["755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"];
    for (counter, code) in (0..).zip(codes) {
        assert_eq!(secret.hotp(counter).expose_secret(), code, "counter {counter}");
    }
}

/// Random secrets of all accepted lengths at random times, one `oathtool` run each for 20 steps in a row.
#[test]
fn oathtool_makes_the_same_codes() {
    match Command::new("oathtool").arg("--version").output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let required = std::env::var_os("COUNTERSIGN_TEST_REQUIRE_TOOLS").is_some_and(|value| value == "1");
            assert!(!required, "oathtool is not installed, and COUNTERSIGN_TEST_REQUIRE_TOOLS=1 asks for it");
            eprintln!("skipped: oathtool is not installed (Debian: apt-get install oathtool)");
            return;
        }
        found => assert!(found.unwrap().status.success()),
    }
    let random = SeededRandom::new(51);
    let algorithms =
        [(TotpAlgorithm::Sha1, "sha1"), (TotpAlgorithm::Sha256, "sha256"), (TotpAlgorithm::Sha512, "sha512")];
    for length in [16, 20, 32, 64, 65, 128] {
        for (algorithm, name) in algorithms {
            for digits in [6, 8] {
                let mut key = vec![0; length];
                random.fill(&mut key).unwrap();
                let now = i64::from(u32::from_be_bytes(bytes(&random).unwrap()));
                let secret = TotpSecret::from_bytes(&key, TotpParams { algorithm, digits }).unwrap();
                let hex = key.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
                let output = Command::new("oathtool")
                    .args([
                        format!("--totp={name}"),
                        format!("-d{digits}"),
                        format!("--now=@{now}"),
                        "-w19".to_owned(),
                        hex,
                    ])
                    .output()
                    .unwrap();
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                let theirs = String::from_utf8(output.stdout).unwrap();
                let ours: Vec<_> = (0..20).map(|step| secret.code_at(Micros::from_secs(now + 30 * step))).collect();
                let ours: Vec<_> = ours.iter().map(SecretString::expose_secret).collect();
                assert_eq!(
                    ours,
                    theirs.lines().collect::<Vec<_>>(),
                    "{name}, {length} bytes, {digits} digits, at {now}"
                );
            }
        }
    }
}
