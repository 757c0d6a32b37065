use std::io;
use std::path::PathBuf;

/// What can go wrong with keys. No variant ever carries key bytes, plaintext, a password, a code or a token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    #[error("the operating system gave no random bytes; check that getrandom(2) is permitted in this sandbox")]
    Random,
    #[error("the cryptographic library failed to {0}; check the memory limits of this process and try again")]
    Crypto(&'static str),

    #[error(
        "the sealed value has an unknown shape; use the version of the program that wrote it, or restore the row from a backup"
    )]
    SealedShape,
    #[error("no data key with id {0} is loaded; load the key row with that id, retired ones included")]
    UnknownDataKey(u32),
    #[error("the sealed value does not open; it was altered, moved from another row, or sealed under another key")]
    SealBroken,
    #[error("data key id 0 is reserved for the master key; number data keys from 1")]
    ReservedDataKey,
    #[error("data key id {0} is already loaded with other bytes; give the new key an id of its own")]
    DataKeyTaken(u32),

    #[error(
        "this is not the master key that the database was set up with; provide the key that was in use, it cannot be recovered"
    )]
    WrongMasterKey,
    #[error(
        "the master key has an unknown format; give 32 random bytes as hex (64 digits), as base64, or raw (in a file or command output)"
    )]
    MasterKeyFormat,
    #[error(
        "the master key is a placeholder or a passphrase, not random bytes; make one with `openssl rand -base64 32`"
    )]
    MasterKeyWeak,
    #[error("{} can be read by other users; run `chmod 600` on it", .0.display())]
    MasterKeyMode(PathBuf),
    #[error("{} is a symbolic link; name the file that it points to", .0.display())]
    MasterKeyLink(PathBuf),
    #[error("{} is not a regular file; name a file, or hand the key over by an environment variable or a command", .0.display())]
    MasterKeyNotFile(PathBuf),
    #[error("{} was replaced while it was being opened; check who can write to its folder", .0.display())]
    MasterKeyMoved(PathBuf),
    #[error("{} exists and is never overwritten; use the key in it, or move it away first", .0.display())]
    MasterKeyExists(PathBuf),
    #[error("cannot {doing} {}; check the path and its permissions", .path.display())]
    MasterKeyIo {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },

    #[error("the password is empty or longer than 1024 bytes; choose another one")]
    PasswordLength,
    #[error("the password hash is not an argon2id string that this service accepts; set the password again")]
    PasswordFormat,
    #[error("argon2id with m={m_kib} KiB, t={t}, p={p} is too weak or too costly; use m=19456, t=2, p=1 or stronger")]
    PasswordParams { m_kib: u32, t: u32, p: u32 },

    #[error(
        "the TOTP secret is shorter than 128 bits, longer than 1024 bits, or all zero; enrol again with a new secret"
    )]
    TotpSecret,
    #[error(
        "TOTP codes have 6 or 8 digits, a step of 30 seconds, and SHA1, SHA256 or SHA512; enrol again with such settings"
    )]
    TotpParams,
    #[error("the issuer or account name is empty, too long or holds a colon; choose another name")]
    TotpLabel,
    #[error("the text is not an otpauth://totp/ URL with one secret; copy it again from the enrolment page")]
    TotpUrl,
    #[error(
        "the stored TOTP secret has an unknown shape; use the version of the program that wrote it, or enrol again"
    )]
    TotpPayload,

    #[error("a token kind is 1 to 16 lower-case letters and digits; choose another kind")]
    TokenKind,
    #[error("the value is not a token of this service; check that it was copied whole")]
    TokenShape,

    #[error("the bytes are not an Ed25519 private key in PKCS#8; generate a new signing key or restore the row")]
    SigningKeyFormat,
    #[error("the bytes are not an Ed25519 public key; give its 32 bytes")]
    PublicKeyFormat,
    #[error("the signature does not verify; the content was altered or another key signed it")]
    BadSignature,

    #[error("the key must have 32 bytes; restore the row that held it")]
    KeyLength,

    #[error("the claims cannot be written as a JSON object; report this as a bug")]
    JwtClaims,
    #[error("the token is not a signed JWT of the expected kind; ask for a new one")]
    JwtShape,
    #[error("the token is not signed with EdDSA; ask for a new one")]
    JwtAlgorithm,
    #[error("the token names no signing key that is known here; ask for a new one, or update the keys")]
    JwtUnknownKey,
    #[error("the signature of the token does not verify; ask for a new one")]
    JwtSignature,
    #[error("the token was issued by somebody else; ask this service for one")]
    JwtIssuer,
    #[error("the token is meant for another audience; ask for one that names this service")]
    JwtAudience,
    #[error("the token has expired; ask for a new one")]
    JwtExpired,
    #[error("the token is not valid yet; check the clocks of both machines")]
    JwtNotYetValid,
}
