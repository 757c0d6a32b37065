//! One-time codes of RFC 6238, judged against an authenticator.

use countersign_core::decide::Checked;
use countersign_core::digest::Digest;
use countersign_core::evidence::{Evidence, EvidenceParts};
use countersign_core::identity::{Authenticator, AuthenticatorState, PersonRef};
use countersign_core::names::Factor;
use countersign_core::time::Micros;
use countersign_keys::totp::TotpSecret;
use secrecy::{ExposeSecret, SecretString};

/// Whose code it is said to be, about which request, and who carried it here.
#[derive(Debug)]
pub struct Claim<'a> {
    pub person: &'a PersonRef,
    pub digest: Digest,
    pub relayed_by: Option<PersonRef>,
}

/// Judges a code against each authenticator of its owner. `authenticators` holds the opened secret beside its row.
///
/// A code whose step is not newer than the last used one was right once and is refused (RFC 6238 section 5.2); it is told apart from a wrong one, because
/// it is no guess. The commit expects the step once more, so that two replicas cannot both accept it.
pub fn check_totp(
    claim: &Claim<'_>,
    authenticators: &[(Authenticator, TotpSecret)],
    code: &SecretString,
    now: Micros,
    strict: bool,
) -> Checked {
    let mut used = false;
    for (row, secret) in authenticators {
        if row.person != claim.person.id || row.factor != Factor::Totp || row.state != AuthenticatorState::Active {
            continue;
        }
        let Some(step) = match_totp(secret, code, now, strict) else { continue };
        if step <= row.last_step {
            used = true;
            continue;
        }
        return Checked::Proved(Evidence::attested(EvidenceParts {
            person: claim.person.clone(),
            factor: Factor::Totp,
            authenticator: row.id,
            step,
            at: now,
            digest: claim.digest,
            relayed_by: claim.relayed_by.clone(),
            enrolled_at: row.enrolled_at,
            countersigned: row.countersigned,
        }));
    }
    if used { Checked::Used } else { Checked::Wrong }
}

/// The step that a code belongs to, if it is one of the secret's current ones.
pub fn match_totp(secret: &TotpSecret, code: &SecretString, now: Micros, strict: bool) -> Option<i64> {
    secret.check(code.expose_secret(), now, strict).and_then(|step| i64::try_from(step).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_core::ids::{AuthenticatorId, PersonId};
    use countersign_core::sealed::Sealed;
    use countersign_keys::testing::SeededRandom;
    use std::time::Duration;

    const NOW: Micros = Micros::from_secs(1_700_000_010);

    fn setup() -> (PersonRef, Authenticator, TotpSecret) {
        let person = PersonRef { id: PersonId::new(NOW, [1; 10]), name: "bob".into() };
        let row = Authenticator {
            id: AuthenticatorId::new(NOW, [2; 10]),
            person: person.id,
            factor: Factor::Totp,
            secret: Sealed::from_bytes(Vec::new()),
            state: AuthenticatorState::Active,
            last_step: 0,
            enrolled_at: NOW,
            countersigned: true,
        };
        (person, row, TotpSecret::generate(&SeededRandom::new(1)).unwrap())
    }

    fn check(
        person: &PersonRef,
        row: &Authenticator,
        secret: &TotpSecret,
        code: &SecretString,
        now: Micros,
    ) -> Checked {
        let claim = Claim { person, digest: Digest::sha256(b"request"), relayed_by: None };
        let copy = TotpSecret::from_payload(secret.to_payload().expose_secret()).unwrap();
        check_totp(&claim, &[(row.clone(), copy)], code, now, false)
    }

    #[test]
    fn a_code_is_good_in_its_step_and_the_next_and_never_ahead() {
        let (bob, row, secret) = setup();
        let code = secret.code_at(NOW);
        assert!(matches!(check(&bob, &row, &secret, &code, NOW), Checked::Proved(_)));
        assert!(matches!(check(&bob, &row, &secret, &code, NOW.plus(Duration::from_secs(30))), Checked::Proved(_)));
        assert!(matches!(check(&bob, &row, &secret, &code, NOW.plus(Duration::from_mins(1))), Checked::Wrong));
        assert!(matches!(check(&bob, &row, &secret, &code, NOW.minus(Duration::from_secs(30))), Checked::Wrong));
    }

    #[test]
    fn a_used_step_is_used_also_when_the_clock_goes_back() {
        let (bob, mut row, secret) = setup();
        row.last_step = NOW.as_secs() / 30;
        let code = secret.code_at(NOW);
        assert!(matches!(check(&bob, &row, &secret, &code, NOW), Checked::Used));
        let back = NOW.minus(Duration::from_secs(90));
        assert!(matches!(check(&bob, &row, &secret, &secret.code_at(back), back), Checked::Used));
    }

    #[test]
    fn another_persons_or_an_inactive_authenticator_proves_nothing() {
        let (bob, row, secret) = setup();
        let code = secret.code_at(NOW);
        let mallory = PersonRef { id: PersonId::new(NOW, [8; 10]), name: "mallory".into() };
        assert!(matches!(check(&mallory, &row, &secret, &code, NOW), Checked::Wrong));
        for state in [AuthenticatorState::Pending, AuthenticatorState::Removed] {
            let row = Authenticator { state, ..row.clone() };
            assert!(matches!(check(&bob, &row, &secret, &code, NOW), Checked::Wrong));
        }
    }
}
