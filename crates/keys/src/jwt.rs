//! JSON Web Tokens of this service: signed with Ed25519 (`EdDSA`), checked against a time that the caller gives.
//!
//! The token says which key signed it, never which algorithm is believed, and its `typ` must be the one expected, so that a grant cannot
//! be shown where a session is asked for (RFC 8725 sections 3.1 and 3.11).

use std::fmt;
use std::time::Duration;

use countersign_core::time::Micros;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::KeysError;
use crate::signing::{SigningKey, VerifyingKey};

/// More than any token of ours; longer ones are refused before they are decoded.
const MAX_LEN: usize = 16 * 1024;

/// Signs tokens with one key.
pub struct JwtSigner {
    key: EncodingKey,
    kid: String,
}

impl JwtSigner {
    pub fn new(key: &SigningKey) -> Result<Self, KeysError> {
        Ok(Self { key: EncodingKey::from_ed_der(key.to_pkcs8()?.expose_secret()), kid: key.kid().to_owned() })
    }

    /// `claims` must serialize to an object; it should hold `iss`, `aud` and `exp`, or [`verify`] will refuse the token.
    pub fn sign<C: Serialize>(&self, typ: &str, claims: &C) -> Result<SecretString, KeysError> {
        let claims = serde_json::to_value(claims).map_err(|_| KeysError::JwtClaims)?;
        if !claims.is_object() {
            return Err(KeysError::JwtClaims);
        }
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(typ.to_owned());
        header.kid = Some(self.kid.clone());
        let token = jsonwebtoken::encode(&header, &claims, &self.key).map_err(|_| KeysError::Crypto("sign a token"))?;
        Ok(token.into())
    }
}

impl fmt::Debug for JwtSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JwtSigner({}, [REDACTED])", self.kid)
    }
}

/// What a token must say to be believed. `leeway` widens its time on both ends, for tokens of machines whose clock is not ours.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    pub typ: &'a str,
    pub issuer: &'a str,
    /// One of the token's audiences, if it has several.
    pub audience: &'a str,
    pub leeway: Duration,
}

/// Claims that were verified, with the name of the key that signed them.
#[derive(Debug, Clone)]
pub struct VerifiedJwt<C> {
    pub kid: String,
    pub claims: C,
}

/// Checks shape, `typ`, `kid`, signature, `iss`, `aud`, `exp` and `nbf`, in this order. `exp` is required, in whole seconds, and a token
/// is expired at that second; `nbf` counts if it is there. `key_of` gives the public key for a `kid`, or none for an unknown one.
pub fn verify<C: DeserializeOwned>(
    token: &str,
    now: Micros,
    expected: &Expected<'_>,
    key_of: impl FnOnce(&str) -> Option<VerifyingKey>,
) -> Result<VerifiedJwt<C>, KeysError> {
    if token.len() > MAX_LEN {
        return Err(KeysError::JwtShape);
    }
    let header = jsonwebtoken::decode_header(token).map_err(|error| refusal(&error))?;
    if header.alg != Algorithm::EdDSA {
        return Err(KeysError::JwtAlgorithm);
    }
    // `crit` names extensions that must be understood (RFC 7515 section 4.1.11); there is none that is. `zip` and `enc` belong to JWE.
    if header.typ.as_deref() != Some(expected.typ)
        || header.crit.is_some()
        || header.zip.is_some()
        || header.enc.is_some()
    {
        return Err(KeysError::JwtShape);
    }
    let kid = header.kid.ok_or(KeysError::JwtUnknownKey)?;
    let key = key_of(&kid).ok_or(KeysError::JwtUnknownKey)?;
    let claims = signed_claims(token, &key)?;
    // Read twice from the same tree, so that both see the same members.
    let registered = Registered::deserialize(&claims).map_err(|_| KeysError::JwtShape)?;
    registered.check(now, expected)?;
    let claims = serde_json::from_value(claims).map_err(|_| KeysError::JwtShape)?;
    Ok(VerifiedJwt { kid, claims })
}

#[derive(Deserialize)]
struct Registered {
    iss: String,
    aud: Audience,
    exp: i64,
    nbf: Option<i64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Registered {
    fn check(&self, now: Micros, expected: &Expected<'_>) -> Result<(), KeysError> {
        if self.iss != expected.issuer {
            return Err(KeysError::JwtIssuer);
        }
        let meant = match &self.aud {
            Audience::One(audience) => audience == expected.audience,
            Audience::Many(audiences) => audiences.iter().any(|audience| audience == expected.audience),
        };
        if !meant {
            return Err(KeysError::JwtAudience);
        }
        if now.minus(expected.leeway) >= Micros::from_secs(self.exp) {
            return Err(KeysError::JwtExpired);
        }
        if self.nbf.is_some_and(|nbf| now.plus(expected.leeway) < Micros::from_secs(nbf)) {
            return Err(KeysError::JwtNotYetValid);
        }
        Ok(())
    }
}

/// The library verifies the signature only. Its own checks of the claims read the wall clock, and let an absent `iss` or `aud` pass.
fn signed_claims(token: &str, key: &VerifyingKey) -> Result<Value, KeysError> {
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    let key = DecodingKey::from_ed_der(key.as_bytes());
    jsonwebtoken::decode(token, &key, &validation).map(|data| data.claims).map_err(|error| refusal(&error))
}

fn refusal(error: &jsonwebtoken::errors::Error) -> KeysError {
    match error.kind() {
        ErrorKind::InvalidSignature => KeysError::JwtSignature,
        ErrorKind::InvalidAlgorithm => KeysError::JwtAlgorithm,
        _ => KeysError::JwtShape,
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;

    use super::*;
    use crate::testing::SeededRandom;

    const TYP: &str = "countersign-grant+jwt";
    const NOW: Micros = Micros::from_secs(1_000_000);
    const EXPECTED: Expected<'static> =
        Expected { typ: TYP, issuer: "https://cs.example", audience: "guard", leeway: Duration::ZERO };

    fn key() -> SigningKey {
        SigningKey::generate(&SeededRandom::new(31)).unwrap()
    }

    fn known(kid: &str) -> Option<VerifyingKey> {
        (kid == key().kid()).then(|| *key().verifying_key())
    }

    fn claims() -> Value {
        json!({"iss": "https://cs.example", "aud": "guard", "exp": 1_000_060, "nbf": 999_990, "sub": "alice"})
    }

    fn with(name: &str, value: Value) -> Value {
        let mut claims = claims();
        claims.as_object_mut().unwrap().insert(name.to_owned(), value);
        claims
    }

    fn without(name: &str) -> Value {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(name);
        claims
    }

    fn signed(claims: &Value) -> String {
        JwtSigner::new(&key()).unwrap().sign(TYP, claims).unwrap().expose_secret().to_owned()
    }

    fn check(token: &str) -> Result<VerifiedJwt<Value>, KeysError> {
        verify(token, NOW, &EXPECTED, known)
    }

    /// A token with a header of the attacker's choice over a genuine payload, signed with the genuine key.
    fn forged(header: &Value, payload: &str) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(payload));
        let signature = key().sign(message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn header() -> Value {
        json!({"typ": TYP, "alg": "EdDSA", "kid": key().kid()})
    }

    #[test]
    fn claims_come_back_with_the_key_id() {
        #[derive(Deserialize)]
        struct Grant {
            sub: String,
        }
        let verified: VerifiedJwt<Grant> = verify(&signed(&claims()), NOW, &EXPECTED, known).unwrap();
        assert_eq!(verified.claims.sub, "alice");
        assert_eq!(verified.kid, key().kid());
        assert!(check(&forged(&header(), &claims().to_string())).is_ok());
    }

    /// Signed by PyJWT 2.15 with the key of RFC 8032 test 1.
    #[test]
    fn a_token_of_another_implementation_verifies() {
        let token = "eyJhbGciOiJFZERTQSIsImtpZCI6InB5IiwidHlwIjoiY291bnRlcnNpZ24tZ3JhbnQrand0In0.eyJpc3MiOiJodHRwczovL2NzLmV4YW1wbGUiLCJhdWQiOiJndWFyZCIsImV4cCI6MTAwMDA2MCwibmJmIjo5OTk5OTAsInN1YiI6ImFsaWNlIn0.AvOre1E6uT8Ui_9UTWfkPx3QoeE6VSUNAv4GI0NNT8VGxCEIgCGmHvh5_rPJdTaS4Y27F7iKLvN5m02HVA0UAA";
        let public = [
            0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07, 0x3a, 0x0e, 0xe1,
            0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a,
        ];
        let key_of = |kid: &str| (kid == "py").then(|| VerifyingKey::from_bytes(&public).unwrap());
        let verified: VerifiedJwt<Value> = verify(token, NOW, &EXPECTED, key_of).unwrap();
        assert_eq!(verified.claims, claims());
    }

    #[test]
    fn other_algorithms_are_refused() {
        for alg in ["none", "None", "HS256", "RS256", "ES256", "Ed25519", "eddsa", ""] {
            let mut header = header();
            header["alg"] = alg.into();
            let token = forged(&header, &claims().to_string());
            assert!(matches!(check(&token), Err(KeysError::JwtAlgorithm | KeysError::JwtShape)), "{alg}");
        }
        let unsigned = signed(&claims());
        let unsigned = unsigned.rsplit_once('.').unwrap().0;
        assert!(check(&format!("{unsigned}.")).is_err());
        assert!(check(unsigned).is_err());
    }

    /// The classic confusion: an HMAC keyed with the public key.
    #[test]
    fn a_mac_under_the_public_key_is_no_signature() {
        let mut header = Header::new(Algorithm::HS256);
        header.typ = Some(TYP.to_owned());
        header.kid = Some(key().kid().to_owned());
        let token =
            jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_secret(key().verifying_key().as_bytes()))
                .unwrap();
        assert!(matches!(check(&token), Err(KeysError::JwtAlgorithm)));
    }

    #[test]
    fn the_header_must_be_ours() {
        for (name, value) in [
            ("typ", json!("JWT")),
            ("typ", json!("countersign-session+jwt")),
            ("typ", Value::Null),
            ("crit", json!(["b64"])),
            ("crit", json!([])),
            ("zip", json!("DEF")),
            ("enc", json!("A256GCM")),
        ] {
            let mut header = header();
            header[name] = value.clone();
            assert!(
                matches!(check(&forged(&header, &claims().to_string())), Err(KeysError::JwtShape)),
                "{name} {value}"
            );
        }
        for kid in [Value::Null, json!("other"), json!("")] {
            let mut header = header();
            header["kid"] = kid.clone();
            assert!(matches!(check(&forged(&header, &claims().to_string())), Err(KeysError::JwtUnknownKey)), "{kid}");
        }
    }

    #[test]
    fn a_changed_byte_or_another_key_is_noticed() {
        let token = signed(&claims());
        let at = token.find('.').unwrap() + 5;
        let mut altered = token.clone().into_bytes();
        let byte = altered.get_mut(at).unwrap();
        *byte = if *byte == b'A' { b'B' } else { b'A' };
        assert!(check(&String::from_utf8(altered).unwrap()).is_err());

        let other = SigningKey::generate(&SeededRandom::new(32)).unwrap();
        let wrong_key = |_: &str| Some(*other.verifying_key());
        assert!(matches!(verify::<Value>(&token, NOW, &EXPECTED, wrong_key), Err(KeysError::JwtSignature)));
    }

    #[test]
    fn time_is_the_given_one() {
        let token = signed(&claims());
        let at = |micros| verify::<Value>(&token, Micros::from_micros(micros), &EXPECTED, known);
        assert!(matches!(at(999_989_999_999), Err(KeysError::JwtNotYetValid)));
        assert!(at(999_990_000_000).is_ok());
        assert!(at(1_000_059_999_999).is_ok());
        assert!(matches!(at(1_000_060_000_000), Err(KeysError::JwtExpired)));
        assert!(matches!(at(i64::MAX), Err(KeysError::JwtExpired)));

        let lenient = Expected { leeway: Duration::from_secs(5), ..EXPECTED };
        let at = |secs| verify::<Value>(&token, Micros::from_secs(secs), &lenient, known);
        assert!(at(999_984).is_err() && at(999_985).is_ok() && at(1_000_064).is_ok() && at(1_000_065).is_err());
    }

    #[test]
    fn registered_claims_are_required_and_typed() {
        for (claims, want) in [
            (without("iss"), KeysError::JwtShape),
            (without("aud"), KeysError::JwtShape),
            (without("exp"), KeysError::JwtShape),
            (with("exp", json!(1_000_060.5)), KeysError::JwtShape),
            (with("exp", json!("1000060")), KeysError::JwtShape),
            (with("exp", json!(u64::MAX)), KeysError::JwtShape),
            (with("nbf", json!("0")), KeysError::JwtShape),
            (with("iss", json!("https://cs.example/")), KeysError::JwtIssuer),
            (with("iss", json!(["https://cs.example"])), KeysError::JwtShape),
            (with("aud", json!("Guard")), KeysError::JwtAudience),
            (with("aud", json!([])), KeysError::JwtAudience),
            (with("aud", json!(["api", "sts"])), KeysError::JwtAudience),
            (with("aud", json!(null)), KeysError::JwtShape),
        ] {
            let error = check(&signed(&claims)).unwrap_err();
            assert_eq!(error.to_string(), want.to_string(), "{claims}");
        }
        assert!(check(&signed(&with("aud", json!(["api", "guard"])))).is_ok());
        assert!(check(&signed(&without("nbf"))).is_ok());
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let token = signed(&claims());
        for bad in [
            String::new(),
            ".".to_owned(),
            "..".to_owned(),
            format!("{token}."),
            format!("{token}="),
            format!(" {token}"),
            "a.b.c".to_owned(),
        ] {
            assert!(check(&bad).is_err(), "{bad}");
        }
        assert!(matches!(check(&signed(&with("pad", json!("x".repeat(MAX_LEN))))), Err(KeysError::JwtShape)));
        assert!(check(&forged(&header(), "[]")).is_err());
    }

    #[test]
    fn only_objects_are_signed_and_debug_is_silent() {
        let signer = JwtSigner::new(&key()).unwrap();
        assert!(matches!(signer.sign(TYP, &"text"), Err(KeysError::JwtClaims)));
        assert_eq!(format!("{signer:?}"), format!("JwtSigner({}, [REDACTED])", key().kid()));
    }
}
