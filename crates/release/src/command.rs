//! The signed grant: a JWT that says that exactly this operation was approved, for whom, until when. Whoever enforces a command verifies it offline
//! against the grant key.

use countersign_core::digest::Digest;
use countersign_core::ids::ReleaseId;
use countersign_core::request::Request;
use countersign_core::time::Micros;
use countersign_keys::jwt::JwtSigner;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::ReleaseError;

/// The token's `typ`, so that no other token of ours can be taken for a grant.
pub const TYP: &str = "countersign-grant+jwt";
/// The token's `aud`.
pub const AUDIENCE: &str = "countersign-guard";

/// What a signed grant says. `exp`, `nbf` and `iat` are whole seconds since the epoch (RFC 7519).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GrantClaims {
    pub iss: String,
    pub aud: String,
    /// The account that asked.
    pub sub: String,
    /// The release: this token's own id, and the one use of the grant that it stands for.
    pub jti: String,
    pub iat: i64,
    pub nbf: i64,
    pub exp: i64,
    /// The request.
    pub req: String,
    /// The request digest, hexadecimal.
    pub dig: String,
    /// The operation as it was approved.
    pub act: String,
    pub tgt: String,
    pub par: countersign_core::canonical::Value,
}

/// A signed grant that is ready to be let go.
#[derive(Debug)]
pub struct CommandGrant {
    pub token: SecretString,
    /// SHA-256 of the token's bytes: what the ledger holds.
    pub fingerprint: Digest,
}

impl CommandGrant {
    /// Signs the grant of a granted request for one use. It ends when the grant does.
    pub fn sign(
        signer: &JwtSigner,
        issuer: &str,
        request: &Request,
        release: ReleaseId,
        begin: Micros,
        end: Micros,
        now: Micros,
    ) -> Result<Self, ReleaseError> {
        let claims = GrantClaims {
            iss: issuer.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: request.account_name.to_string(),
            jti: release.to_string(),
            iat: now.as_secs(),
            nbf: begin.as_secs(),
            exp: end.as_secs(),
            req: request.id.to_string(),
            dig: request.digest.to_string(),
            act: request.operation.action.to_string(),
            tgt: request.operation.target.clone(),
            par: request.operation.parameters.clone(),
        };
        let token = signer.sign(TYP, &claims)?;
        let fingerprint = Digest::sha256(token.expose_secret().as_bytes());
        Ok(Self { token, fingerprint })
    }
}
