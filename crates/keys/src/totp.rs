//! Time-based one-time codes (RFC 6238) over HOTP (RFC 4226), with a step of 30 seconds.
//!
//! A code is good in its own step and in the one after it, never before: whoever reads tomorrow's codes off a phone today must wait. What is
//! not decided here is that a code counts once; [`TotpSecret::check`] returns the step for the caller to use up in the database.

use countersign_core::time::Micros;
use secrecy::{ExposeSecret, ExposeSecretMut, SecretSlice, SecretString};
use totp_rs::{Builder, Totp};

use crate::KeysError;
use crate::random::Random;

/// Seconds for which the authenticator shows one code.
pub const STEP_SECS: u64 = 30;

const PAYLOAD_VERSION: u8 = 0x01;
/// RFC 4226 section 4 recommends 160 bits and demands 128.
const GENERATED_LEN: usize = 20;
const MIN_LEN: usize = 16;
const MAX_LEN: usize = 128;

/// The hash under the HMAC. Many authenticator apps ignore anything but SHA-1 without saying so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TotpAlgorithm {
    #[default]
    Sha1,
    Sha256,
    Sha512,
}

/// How codes are made from the secret; the default is what every app understands: SHA-1, 6 digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TotpParams {
    pub algorithm: TotpAlgorithm,
    /// 6 or 8.
    pub digits: u8,
}

impl Default for TotpParams {
    fn default() -> Self {
        Self { algorithm: TotpAlgorithm::Sha1, digits: 6 }
    }
}

/// What an authenticator app and the service share.
#[derive(Debug)]
pub struct TotpSecret {
    secret: SecretSlice<u8>,
    params: TotpParams,
}

impl TotpSecret {
    /// 160 random bits with the default parameters.
    pub fn generate(random: &dyn Random) -> Result<Self, KeysError> {
        Self::generate_with(random, TotpParams::default())
    }

    pub fn generate_with(random: &dyn Random, params: TotpParams) -> Result<Self, KeysError> {
        let mut secret = SecretSlice::from(vec![0; GENERATED_LEN]);
        random.fill(secret.expose_secret_mut())?;
        Self::from_bytes(secret.expose_secret(), params)
    }

    /// 16 to 128 bytes. All-zero bytes are refused because HMAC pads its key with zeros: their codes are those of the empty secret, which
    /// anybody can compute.
    pub fn from_bytes(secret: &[u8], params: TotpParams) -> Result<Self, KeysError> {
        if !matches!(params.digits, 6 | 8) {
            return Err(KeysError::TotpParams);
        }
        if !(MIN_LEN..=MAX_LEN).contains(&secret.len()) || secret.iter().all(|byte| *byte == 0) {
            return Err(KeysError::TotpSecret);
        }
        Ok(Self { secret: secret.to_vec().into(), params })
    }

    pub fn params(&self) -> TotpParams {
        self.params
    }

    /// The secret in base32 without padding, for somebody who types it instead of scanning.
    pub fn to_base32(&self) -> SecretString {
        self.machine().secret().to_base32().into()
    }

    /// The step whose code this is: the one of `now` or, unless `strict`, the one before. If both have the same code it is the later one,
    /// so that using it up leaves none behind. `code` is exactly as many ASCII digits as configured, optionally with one space in the
    /// middle. The answer takes equally long for every wrong code of this shape.
    ///
    /// A code must not count twice: accept the step only if it is later than the last one that this authenticator used.
    #[must_use]
    pub fn check(&self, code: &str, now: Micros, strict: bool) -> Option<u64> {
        let code = self.digits_of(code)?;
        let current = u64::try_from(now.as_secs()).ok()? / STEP_SECS;
        let previous = current.checked_sub(1).filter(|_| !strict);
        let machine = self.machine();
        let at = |step: u64| machine.check(code.expose_secret(), step).is_some();
        // Both are computed before either is looked at.
        let (is_current, is_previous) = (at(current), previous.is_some_and(at));
        if is_current { Some(current) } else { previous.filter(|_| is_previous) }
    }

    /// The code that an authenticator shows at this time. Times before 1970 count as 1970.
    pub fn code_at(&self, now: Micros) -> SecretString {
        self.hotp(u64::try_from(now.as_secs()).unwrap_or(0) / STEP_SECS)
    }

    /// The RFC 4226 code for a counter; for TOTP the counter is the step.
    pub fn hotp(&self, counter: u64) -> SecretString {
        self.machine().generate(counter).to_string().into()
    }

    /// What is sealed and stored: version 1, algorithm (1, 2 or 3 for SHA-1, SHA-256, SHA-512), digits, one byte each, then the secret.
    pub fn to_payload(&self) -> SecretSlice<u8> {
        let secret = self.secret.expose_secret();
        let mut payload = Vec::with_capacity(3 + secret.len());
        payload.extend_from_slice(&[PAYLOAD_VERSION, self.params.algorithm.code(), self.params.digits]);
        payload.extend_from_slice(secret);
        payload.into()
    }

    pub fn from_payload(payload: &[u8]) -> Result<Self, KeysError> {
        let Some((&[PAYLOAD_VERSION, algorithm, digits], secret)) = payload.split_first_chunk() else {
            return Err(KeysError::TotpPayload);
        };
        let algorithm = TotpAlgorithm::from_code(algorithm).ok_or(KeysError::TotpPayload)?;
        Self::from_bytes(secret, TotpParams { algorithm, digits })
    }

    fn digits_of(&self, code: &str) -> Option<SecretString> {
        let length = usize::from(self.params.digits);
        let (left, right) = code.split_once(' ').unwrap_or(("", code));
        let in_the_middle = left.is_empty() && code.len() == length || left.len() == length / 2;
        if !in_the_middle || left.len() + right.len() != length {
            return None;
        }
        let digits = SecretString::from([left, right].concat());
        digits.expose_secret().bytes().all(|byte| byte.is_ascii_digit()).then_some(digits)
    }

    pub(crate) fn builder(&self) -> Builder {
        Builder::new()
            .with_algorithm(self.params.algorithm.into())
            .with_digits(self.params.digits)
            .with_secret(self.secret.expose_secret())
            .with_skew(0)
    }

    /// With a step of one second the library's time is our counter. Its own window is symmetric and would take codes of the future.
    fn machine(&self) -> Totp {
        // Only skips checks that `from_bytes` has made.
        self.builder().with_step_duration(1).build_noncompliant()
    }
}

impl TotpAlgorithm {
    fn code(self) -> u8 {
        match self {
            Self::Sha1 => 1,
            Self::Sha256 => 2,
            Self::Sha512 => 3,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        [Self::Sha1, Self::Sha256, Self::Sha512].into_iter().find(|algorithm| algorithm.code() == code)
    }
}

impl From<TotpAlgorithm> for totp_rs::Algorithm {
    fn from(algorithm: TotpAlgorithm) -> Self {
        match algorithm {
            TotpAlgorithm::Sha1 => Self::SHA1,
            TotpAlgorithm::Sha256 => Self::SHA256,
            TotpAlgorithm::Sha512 => Self::SHA512,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::SeededRandom;

    fn secret() -> TotpSecret {
        TotpSecret::generate(&SeededRandom::new(41)).unwrap()
    }

    fn at(step: u64, into: u64) -> Micros {
        Micros::from_secs(i64::try_from(step * STEP_SECS + into).unwrap())
    }

    #[test]
    fn a_code_is_good_in_its_step_and_the_next_never_before() {
        let secret = secret();
        let code = secret.hotp(1000);
        let check = |now, strict| secret.check(code.expose_secret(), now, strict);
        assert_eq!(check(at(999, 29), false), None);
        assert_eq!(check(at(1000, 0), false), Some(1000));
        assert_eq!(check(at(1001, 29), false), Some(1000));
        assert_eq!(check(at(1002, 0), false), None);
        assert_eq!(check(at(1000, 29), true), Some(1000));
        assert_eq!(check(at(1001, 0), true), None);
        assert_eq!(check(at(999, 29), true), None);
    }

    /// Were the earlier step returned, the same six digits could be used again for the later one.
    #[test]
    fn of_two_steps_with_one_code_the_later_counts() {
        const STEP: u64 = 910_738;
        let secret = TotpSecret::from_bytes(b"12345678901234567890", TotpParams::default()).unwrap();
        assert_eq!(secret.hotp(STEP).expose_secret(), "911617");
        assert_eq!(secret.hotp(STEP - 1).expose_secret(), "911617");
        assert_eq!(secret.check("911617", at(STEP, 0), false), Some(STEP));
        assert_eq!(secret.check("911617", at(STEP, 0), true), Some(STEP));
    }

    #[test]
    fn the_edges_of_time_are_harmless() {
        let secret = secret();
        let first = secret.hotp(0);
        assert_eq!(secret.check(first.expose_secret(), at(0, 0), false), Some(0));
        assert_eq!(secret.check(first.expose_secret(), Micros::from_secs(-1), false), None);
        assert_eq!(secret.check(first.expose_secret(), Micros::MAX, false), None);
        assert_eq!(secret.code_at(Micros::from_secs(-1)).expose_secret(), first.expose_secret());
        assert_eq!(secret.hotp(u64::MAX).expose_secret().len(), 6);
    }

    #[test]
    fn only_digits_and_one_middle_space_are_a_code() {
        let secret = TotpSecret::from_bytes(b"12345678901234567890", TotpParams::default()).unwrap();
        assert_eq!(secret.check("755224", at(0, 0), false), Some(0));
        assert_eq!(secret.check("755 224", at(0, 0), false), Some(0));
        for bad in [
            "",
            "75522",
            "7552244",
            " 755224",
            "755224 ",
            "755224\n",
            "7552 24",
            "755  224",
            "755 224 ",
            "7 55 224",
            "755-224",
            "+55224",
            "755\u{a0}224",
            "７５５２２４",
            "755 22",
            "755 2244",
            "٧55224",
        ] {
            assert_eq!(secret.check(bad, at(0, 0), false), None, "{bad:?}");
        }
        let long = TotpParams { digits: 8, ..TotpParams::default() };
        let secret = TotpSecret::from_bytes(b"12345678901234567890", long).unwrap();
        assert_eq!(secret.check("9428 7082", at(1, 29), false), Some(1));
        assert_eq!(secret.check("942 87082", at(1, 29), false), None);
        assert_eq!(secret.check("287082", at(1, 29), false), None);
    }

    #[test]
    fn guessable_secrets_and_odd_parameters_are_refused() {
        for bytes in [&b""[..], &[1; 15], &[0; 20], &[0; 64], &[1; 129]] {
            assert!(matches!(TotpSecret::from_bytes(bytes, TotpParams::default()), Err(KeysError::TotpSecret)));
        }
        for digits in [0, 5, 7, 9, 10] {
            let params = TotpParams { digits, ..TotpParams::default() };
            assert!(matches!(TotpSecret::from_bytes(&[1; 20], params), Err(KeysError::TotpParams)));
        }
        // Why: with HMAC, zeros and nothing at all are one key, whose code at 59 seconds is this one.
        let zeros = Builder::new().with_secret([0; 20]).with_step_duration(1).build_noncompliant();
        assert_eq!(zeros.generate(1).to_string(), "812658");
    }

    #[test]
    fn the_payload_comes_back() {
        for algorithm in [TotpAlgorithm::Sha1, TotpAlgorithm::Sha256, TotpAlgorithm::Sha512] {
            for digits in [6, 8] {
                let params = TotpParams { algorithm, digits };
                let made = TotpSecret::generate_with(&SeededRandom::new(42), params).unwrap();
                let payload = made.to_payload();
                assert_eq!(payload.expose_secret().len(), 23);
                let back = TotpSecret::from_payload(payload.expose_secret()).unwrap();
                assert_eq!(back.params(), params);
                assert_eq!(back.secret.expose_secret(), made.secret.expose_secret());
            }
        }
    }

    #[test]
    fn other_payloads_are_refused() {
        let good = secret().to_payload().expose_secret().to_vec();
        for (at, byte) in [(0, 0), (0, 2), (1, 0), (1, 4), (2, 7)] {
            let mut bad = good.clone();
            *bad.get_mut(at).unwrap() = byte;
            assert!(TotpSecret::from_payload(&bad).is_err(), "{at} {byte}");
        }
        for len in [0, 1, 3, 18] {
            assert!(TotpSecret::from_payload(good.get(..len).unwrap()).is_err(), "{len}");
        }
    }

    #[test]
    fn debug_shows_parameters_only() {
        let shown = format!("{:?}", TotpSecret::from_bytes(&[77; 20], TotpParams::default()).unwrap());
        assert!(shown.contains("REDACTED") && !shown.contains("77"), "{shown}");
    }
}
