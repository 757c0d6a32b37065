//! The `otpauth://totp/` URL in which authenticator apps take a secret, usually as a QR code.

use std::collections::BTreeSet;

use secrecy::SecretString;
use totp_rs::Totp;

use crate::KeysError;
use crate::totp::{STEP_SECS, TotpAlgorithm, TotpParams, TotpSecret};

const MAX_LABEL_LEN: usize = 128;
const MAX_URL_LEN: usize = 2048;

/// An `otpauth://totp/` URL, taken apart.
#[derive(Debug)]
pub struct OtpauthUrl {
    pub secret: TotpSecret,
    pub issuer: Option<String>,
    pub account: String,
}

impl OtpauthUrl {
    /// Takes what an enrolment page of ours or of another service shows, if its parameters are ones that we accept. No parameter may come
    /// twice: two readers could choose differently.
    pub fn parse(url: &str) -> Result<Self, KeysError> {
        if url.len() > MAX_URL_LEN || !url.bytes().all(|byte| byte.is_ascii_graphic()) || has_odd_parameters(url) {
            return Err(KeysError::TotpUrl);
        }
        let totp = Totp::from_url(url).map_err(|_| KeysError::TotpUrl)?;
        if totp.step() != STEP_SECS {
            return Err(KeysError::TotpParams);
        }
        check_label(totp.account_name())?;
        totp.issuer().map_or(Ok(()), check_label)?;
        let algorithm = match totp.algorithm() {
            totp_rs::Algorithm::SHA1 => TotpAlgorithm::Sha1,
            totp_rs::Algorithm::SHA256 => TotpAlgorithm::Sha256,
            totp_rs::Algorithm::SHA512 => TotpAlgorithm::Sha512,
            _ => return Err(KeysError::TotpParams),
        };
        let params = TotpParams { algorithm, digits: totp.digits() };
        Ok(Self {
            secret: TotpSecret::from_bytes(totp.secret().as_bytes(), params)?,
            issuer: totp.issuer().map(str::to_owned),
            account: totp.account_name().to_owned(),
        })
    }
}

impl TotpSecret {
    /// The URL that authenticator apps scan. Neither name may be empty, exceed 128 bytes, or hold a colon or a control character.
    pub fn otpauth_url(&self, issuer: &str, account: &str) -> Result<SecretString, KeysError> {
        check_label(issuer)?;
        check_label(account)?;
        self.builder()
            .with_step_duration(STEP_SECS)
            .with_issuer(Some(issuer))
            .with_account_name(account)
            .build()
            .and_then(|totp| totp.to_url())
            .map(SecretString::from)
            .map_err(|_| KeysError::TotpLabel)
    }
}

/// Names that are repeated, or spelt in a way that only becomes a known name after decoding.
fn has_odd_parameters(url: &str) -> bool {
    let (_, query) = url.split_once('?').unwrap_or_default();
    let mut seen = BTreeSet::new();
    query.contains('#')
        || query.split('&').any(|pair| {
            let (name, _) = pair.split_once('=').unwrap_or((pair, ""));
            let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
            !plain || !seen.insert(name.to_ascii_lowercase())
        })
}

fn check_label(label: &str) -> Result<(), KeysError> {
    let fits = (1..=MAX_LABEL_LEN).contains(&label.len());
    if fits && !label.contains(|c: char| c == ':' || c.is_control()) { Ok(()) } else { Err(KeysError::TotpLabel) }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::testing::SeededRandom;

    #[test]
    fn a_url_comes_back() {
        for algorithm in [TotpAlgorithm::Sha1, TotpAlgorithm::Sha256, TotpAlgorithm::Sha512] {
            for (issuer, account) in [("Acme", "alice"), ("Acme & Söhne", "a b/c?d#e%20+f@example.org")] {
                let params = TotpParams { algorithm, digits: 8 };
                let made = TotpSecret::generate_with(&SeededRandom::new(43), params).unwrap();
                let url = made.otpauth_url(issuer, account).unwrap();
                let back = OtpauthUrl::parse(url.expose_secret()).unwrap();
                assert_eq!((back.issuer.as_deref(), back.account.as_str()), (Some(issuer), account));
                assert_eq!(back.secret.params(), params);
                assert_eq!(back.secret.hotp(7).expose_secret(), made.hotp(7).expose_secret());
            }
        }
    }

    #[test]
    fn the_url_is_as_short_as_apps_allow() {
        let secret = TotpSecret::from_bytes(b"12345678901234567890", TotpParams::default()).unwrap();
        assert_eq!(secret.to_base32().expose_secret(), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        assert_eq!(
            secret.otpauth_url("Acme", "alice").unwrap().expose_secret(),
            "otpauth://totp/Acme:alice?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Acme"
        );
        for (issuer, account) in
            [("", "a"), ("a", ""), ("a:b", "c"), ("a", "b:c"), ("a", "b\n"), ("a", &"b".repeat(129))]
        {
            assert!(matches!(secret.otpauth_url(issuer, account), Err(KeysError::TotpLabel)), "{issuer:?} {account:?}");
        }
    }

    #[test]
    fn the_url_of_another_service_is_understood() {
        let url = "otpauth://totp/Acme:alice?algorithm=SHA1&digits=6&issuer=Acme&period=30&secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
        let parsed = OtpauthUrl::parse(url).unwrap();
        assert_eq!(parsed.secret.hotp(0).expose_secret(), "755224");
    }

    #[test]
    fn ambiguous_or_foreign_urls_are_refused() {
        const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
        let urls = [
            String::new(),
            SECRET.to_owned(),
            format!("https://totp/a?secret={SECRET}"),
            format!("otpauth://hotp/a?secret={SECRET}&counter=0"),
            "otpauth://totp/a".to_owned(),
            "otpauth://totp/a?secret=".to_owned(),
            "otpauth://totp/a?secret=GEZDGNBV".to_owned(),
            "otpauth://totp/a?secret=not-base32-at-all-000000000000000".to_owned(),
            format!("otpauth://totp/a?secret={SECRET}&secret={SECRET}"),
            format!("otpauth://totp/a?secret={SECRET}&Secret={SECRET}"),
            format!("otpauth://totp/a?secret={SECRET}&sec%72et={SECRET}"),
            format!("otpauth://totp/a?sec\tret={SECRET}"),
            format!("otpauth://totp/a?secret={SECRET}\n"),
            format!("otpauth://totp/a?secret={SECRET}#x"),
            format!("otpauth://totp/?secret={SECRET}"),
            format!("otpauth://totp/a?secret={SECRET}&digits=7"),
            format!("otpauth://totp/a?secret={SECRET}&digits=10"),
            format!("otpauth://totp/a?secret={SECRET}&period=60"),
            format!("otpauth://totp/a?secret={SECRET}&period=0"),
            format!("otpauth://totp/a?secret={SECRET}&algorithm=MD5"),
            format!("otpauth://totp/Acme:a?secret={SECRET}&issuer=Evil"),
            format!("otpauth://totp/a?secret={SECRET}&x={}", "y".repeat(MAX_URL_LEN)),
        ];
        for url in &urls {
            let error = OtpauthUrl::parse(url).unwrap_err().to_string();
            assert!(!error.contains("GEZDGNBV"), "{error}");
        }
    }
}
