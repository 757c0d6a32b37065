//! Local passwords as argon2id PHC strings.
//!
//! Every function that touches a password costs tens of milliseconds of CPU and the configured memory, on the calling thread: call it from
//! a bounded pool, never from an async task.

use std::hint::black_box;

use argon2::password_hash::Error as HashError;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version};
use secrecy::{ExposeSecret, SecretString};

use crate::KeysError;
use crate::random::{self, Random};

/// Hashing runs over the whole password, so its length is work that a stranger could order.
const MAX_PASSWORD_LEN: usize = 1024;
const SALT_LEN: usize = 16;
const MIN_OUTPUT_LEN: usize = 16;
/// The weakest setting that OWASP's password storage cheat sheet lists is 7 MiB with 5 passes; its others are about as much work.
const MIN_M_KIB: u32 = 7168;
const MIN_WORK: u64 = 7168 * 5;
/// Some seconds of work and 1 GiB: a row that was tampered with must not stop the service.
const MAX_M_KIB: u32 = 1 << 20;
const MAX_WORK: u64 = 1 << 22;
const MAX_P: u32 = 16;

/// Cost of argon2id: memory in KiB, passes, lanes. The default is m=19456, t=2, p=1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswordParams {
    m_kib: u32,
    t: u32,
    p: u32,
}

impl PasswordParams {
    /// Refuses what is weaker than the weakest recommendation, and what would take seconds for each login.
    pub fn new(m_kib: u32, t: u32, p: u32) -> Result<Self, KeysError> {
        let params = Self { m_kib, t, p };
        if m_kib < MIN_M_KIB || params.work() < MIN_WORK || !params.bearable() {
            return Err(KeysError::PasswordParams { m_kib, t, p });
        }
        Ok(params)
    }

    pub(crate) const fn unchecked(m_kib: u32, t: u32, p: u32) -> Self {
        Self { m_kib, t, p }
    }

    fn work(self) -> u64 {
        u64::from(self.m_kib) * u64::from(self.t)
    }

    fn bearable(self) -> bool {
        self.m_kib <= MAX_M_KIB && self.work() <= MAX_WORK && (1..=MAX_P).contains(&self.p)
    }

    fn argon2(self) -> Result<Argon2<'static>, KeysError> {
        let params = Params::new(self.m_kib, self.t, self.p, None).map_err(|_| KeysError::PasswordParams {
            m_kib: self.m_kib,
            t: self.t,
            p: self.p,
        })?;
        Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
    }
}

impl Default for PasswordParams {
    fn default() -> Self {
        Self::unchecked(19_456, 2, 1)
    }
}

/// Not a bool, so that neither answer can be taken for the other.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordCheck {
    /// `rehash`: stored with other parameters than today's; hash the password anew while it is at hand.
    Right {
        rehash: bool,
    },
    Wrong,
}

/// Hashes and checks passwords with the parameters of this installation.
#[derive(Debug, Clone, Copy, Default)]
pub struct Passwords {
    params: PasswordParams,
}

impl Passwords {
    pub fn new(params: PasswordParams) -> Self {
        Self { params }
    }

    /// The PHC string to store, `$argon2id$v=19$m=..,t=..,p=..$salt$hash`, with 128 bits of salt and 256 bits of hash.
    pub fn hash(&self, random: &dyn Random, password: &SecretString) -> Result<SecretString, KeysError> {
        let password = password.expose_secret().as_bytes();
        if password.is_empty() || password.len() > MAX_PASSWORD_LEN {
            return Err(KeysError::PasswordLength);
        }
        let salt: [u8; SALT_LEN] = random::bytes(random)?;
        let hash = self.params.argon2()?.hash_password_with_salt(password, &salt);
        Ok(hash.map_err(|_| KeysError::Crypto("hash a password"))?.to_string().into())
    }

    /// An error means that the stored string is unusable or memory ran out, never that the password is wrong.
    pub fn check(&self, password: &SecretString, stored: &str) -> Result<PasswordCheck, KeysError> {
        let (hash, params) = parse(stored)?;
        let password = password.expose_secret().as_bytes();
        if password.len() > MAX_PASSWORD_LEN {
            return Ok(PasswordCheck::Wrong);
        }
        match params.argon2()?.verify_password(password, &hash) {
            Ok(()) => Ok(PasswordCheck::Right { rehash: params != self.params }),
            Err(HashError::PasswordInvalid) => Ok(PasswordCheck::Wrong),
            Err(_) => Err(KeysError::Crypto("hash a password")),
        }
    }

    /// What to call when there is no such user or no password is set: the same work as [`Self::check`], so that the time of an answer does
    /// not tell which names exist. Always [`PasswordCheck::Wrong`].
    pub fn check_unknown(&self, password: &SecretString) -> Result<PasswordCheck, KeysError> {
        let password = password.expose_secret().as_bytes();
        if password.len() <= MAX_PASSWORD_LEN {
            let mut out = [0; 32];
            self.params
                .argon2()?
                .hash_password_into(password, &[0; SALT_LEN], &mut out)
                .map_err(|_| KeysError::Crypto("hash a password"))?;
            black_box(&out);
        }
        Ok(PasswordCheck::Wrong)
    }

    /// Whether a stored string has other parameters than today's; [`Self::check`] says the same on the way.
    pub fn needs_rehash(&self, stored: &str) -> Result<bool, KeysError> {
        parse(stored).map(|(_, params)| params != self.params)
    }
}

/// Takes argon2id in version 1.3 only: the variants i and d and the older version are weaker, and nothing of ours ever wrote them.
fn parse(stored: &str) -> Result<(PasswordHash, PasswordParams), KeysError> {
    let hash = PasswordHash::new(stored).map_err(|_| KeysError::PasswordFormat)?;
    let id = Algorithm::Argon2id.ident();
    let params = Params::try_from(&hash).map_err(|_| KeysError::PasswordFormat)?;
    let long_enough = hash.hash.as_ref().is_some_and(|output| output.len() >= MIN_OUTPUT_LEN);
    let plain = params.keyid().is_empty() && params.data().is_empty();
    let params = PasswordParams::unchecked(params.m_cost(), params.t_cost(), params.p_cost());
    let known = hash.algorithm == id && hash.version == Some(Version::V0x13.into()) && hash.salt.is_some();
    if known && long_enough && plain && params.bearable() { Ok((hash, params)) } else { Err(KeysError::PasswordFormat) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{SeededRandom, cheap_password_params};

    // Written by Debian's reference program: printf hunter42 | argon2 examplesalt1234 -id -k 19456 -t 2 -p 1 -e (and the like).
    const REFERENCE: &str =
        "$argon2id$v=19$m=19456,t=2,p=1$ZXhhbXBsZXNhbHQxMjM0$M8Hk75gfxj+4aGhNNRc95ARqC4M76UifcddUCtoK7eE";
    const REFERENCE_4_LANES: &str =
        "$argon2id$v=19$m=65536,t=3,p=4$ZXhhbXBsZXNhbHQxMjM0$uZ0gyOeRI4HXF22ulwn/Y+xa4t/44OfxkIW/XQA0O6U";
    const REFERENCE_I: &str =
        "$argon2i$v=19$m=19456,t=2,p=1$ZXhhbXBsZXNhbHQxMjM0$VLboVrN3btjdtIBSwlNdpl18Ny53uIhLFv0oehU4cPc";
    const REFERENCE_V10: &str =
        "$argon2id$v=16$m=19456,t=2,p=1$ZXhhbXBsZXNhbHQxMjM0$iLUiLf31DknPUN3AcL1YOShZPXW/E5ix99UnjnpitCw";

    fn secret(text: &str) -> SecretString {
        text.into()
    }

    fn cheap() -> Passwords {
        Passwords::new(cheap_password_params())
    }

    #[test]
    fn hashes_of_the_reference_implementation_verify() {
        let passwords = Passwords::default();
        assert_eq!(passwords.check(&secret("hunter42"), REFERENCE).unwrap(), PasswordCheck::Right { rehash: false });
        assert_eq!(
            passwords.check(&secret("hunter42"), REFERENCE_4_LANES).unwrap(),
            PasswordCheck::Right { rehash: true }
        );
        assert_eq!(passwords.check(&secret("hunter43"), REFERENCE).unwrap(), PasswordCheck::Wrong);
    }

    #[test]
    fn a_hash_verifies_its_password_only() {
        let stored = cheap().hash(&SeededRandom::new(1), &secret("correct horse")).unwrap();
        let stored = stored.expose_secret();
        assert_eq!(cheap().check(&secret("correct horse"), stored).unwrap(), PasswordCheck::Right { rehash: false });
        for wrong in ["", "correct hors", "correct horse ", "Correct horse", "correct horse\0"] {
            assert_eq!(cheap().check(&secret(wrong), stored).unwrap(), PasswordCheck::Wrong, "{wrong:?}");
        }
    }

    #[test]
    fn the_default_writes_the_documented_parameters_and_a_fresh_salt() {
        let random = SeededRandom::new(2);
        let one = Passwords::default().hash(&random, &secret("x")).unwrap();
        let two = Passwords::default().hash(&random, &secret("x")).unwrap();
        assert!(one.expose_secret().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert_ne!(one.expose_secret(), two.expose_secret());
    }

    #[test]
    fn other_parameters_ask_for_a_new_hash() {
        let stored = cheap().hash(&SeededRandom::new(3), &secret("x")).unwrap();
        assert!(!cheap().needs_rehash(stored.expose_secret()).unwrap());
        assert!(Passwords::default().needs_rehash(stored.expose_secret()).unwrap());
        assert_eq!(
            Passwords::default().check(&secret("x"), stored.expose_secret()).unwrap(),
            PasswordCheck::Right { rehash: true }
        );
    }

    #[test]
    fn strings_of_other_kinds_are_refused_not_tried() {
        let bad = [
            REFERENCE_I.to_owned(),
            REFERENCE_V10.to_owned(),
            REFERENCE.replace("$v=19", ""),
            REFERENCE.replace("m=19456", "m=4294967295"),
            REFERENCE.replace("t=2", "t=4000000"),
            REFERENCE.replace("p=1", "p=1,keyid=AAAA"),
            REFERENCE.replace("p=1", "p=255"),
            // Without an output, or with one that can be guessed.
            REFERENCE.chars().take(54).collect(),
            format!("{}AAAAAAAAAAAAAA", REFERENCE.chars().take(54).collect::<String>()),
            "hunter42".to_owned(),
            String::new(),
        ];
        for stored in &bad {
            assert!(
                matches!(Passwords::default().check(&secret("hunter42"), stored), Err(KeysError::PasswordFormat)),
                "{stored}"
            );
        }
    }

    #[test]
    fn unknown_users_get_no_other_answer_than_known_ones() {
        let stored = cheap().hash(&SeededRandom::new(4), &secret("x")).unwrap();
        let long = secret(&"y".repeat(MAX_PASSWORD_LEN + 1));
        for guess in [&secret(""), &secret("guess"), &long] {
            assert_eq!(cheap().check(guess, stored.expose_secret()).unwrap(), cheap().check_unknown(guess).unwrap());
        }
    }

    /// The work must be argon2's own, not a shortcut: with the default parameters it fills 19 MiB twice, which takes milliseconds anywhere.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "this test measures work")]
    fn an_unknown_user_costs_real_work() {
        let passwords = Passwords::default();
        let best_of_3 = |work: &dyn Fn() -> PasswordCheck| {
            let runs = (0..3).map(|_| {
                let start = std::time::Instant::now();
                assert_eq!(work(), PasswordCheck::Wrong);
                start.elapsed()
            });
            runs.min().unwrap()
        };
        let known = best_of_3(&|| passwords.check(&secret("no"), REFERENCE).unwrap());
        let unknown = best_of_3(&|| passwords.check_unknown(&secret("no")).unwrap());
        assert!(unknown * 4 > known && known * 4 > unknown, "unknown {unknown:?}, known {known:?}");
    }

    #[test]
    fn parameters_have_a_floor_and_a_ceiling() {
        for (m, t, p) in [(19_456, 2, 1), (7168, 5, 1), (47_104, 1, 1), (65_536, 3, 4)] {
            assert!(PasswordParams::new(m, t, p).is_ok(), "{m} {t} {p}");
        }
        for (m, t, p) in [
            (19_456, 1, 1),
            (4096, 100, 1),
            (19_456, 0, 1),
            (19_456, 2, 0),
            (1 << 21, 1, 1),
            (1 << 20, 5, 1),
            (19_456, 2, 17),
        ] {
            assert!(PasswordParams::new(m, t, p).is_err(), "{m} {t} {p}");
        }
    }

    #[test]
    fn empty_and_endless_passwords_are_not_stored() {
        for password in [String::new(), "y".repeat(MAX_PASSWORD_LEN + 1)] {
            assert!(matches!(cheap().hash(&SeededRandom::new(5), &password.into()), Err(KeysError::PasswordLength)));
        }
    }
}
