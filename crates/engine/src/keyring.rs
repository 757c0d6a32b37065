//! The keys of a running service: what seals, what signs checkpoints and grants, what finds the same operation again.

use std::sync::{Arc, PoisonError, RwLock};

use countersign_core::digest::Digest;
use countersign_core::entry::EntryDraft;
use countersign_core::sealed::Sealed;
use countersign_keys::fingerprint::FingerprintKey;
use countersign_keys::jwt::JwtSigner;
use countersign_keys::master::MasterKey;
use countersign_keys::seal::{DataKey, SealContext, Sealer};
use countersign_keys::signing::SigningKey;
use countersign_keys::{KeysError, Random};
use countersign_ledger::{SignError, Signer, VerifierKey, log_origin};
use countersign_store::{
    CurrentEpoch, DataKeys, EntryRow, MetaGet, SigningKey as SigningKeyRow, SigningKeys, Store, seal,
};
use secrecy::{ExposeSecret, SecretSlice};

use crate::EngineError;

pub(crate) const META_NAME: &str = "name";
pub(crate) const META_MASTER_CHECK: &str = "master_check";
pub(crate) const PURPOSE_LOG: &str = "log";
pub(crate) const PURPOSE_GRANT: &str = "grant";
pub(crate) const PURPOSE_MATCH: &str = "match";
pub(crate) const ED25519: &str = "ed25519";
pub(crate) const HMAC_SHA256: &str = "hmac-sha256";

/// All keys that are in use.
pub struct Keyring {
    name: String,
    epoch: u64,
    sealer: Arc<Sealer>,
    log: LogKey,
    grant: JwtSigner,
    matching: FingerprintKey,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring").field("name", &self.name).field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

/// The keys of the moment. Another epoch has other ones.
#[derive(Debug)]
pub(crate) struct Keys(RwLock<Arc<Keyring>>);

impl Keys {
    pub(crate) fn new(keyring: Keyring) -> Self {
        Self(RwLock::new(Arc::new(keyring)))
    }

    pub(crate) fn get(&self) -> Arc<Keyring> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn replace(&self, keyring: Keyring) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keyring);
    }
}

/// The log's private key in the form in which `ledger` asks for signatures.
pub(crate) struct LogKey {
    key: SigningKey,
    verifier: VerifierKey,
    kid: String,
}

impl LogKey {
    pub(crate) fn new(name: &str, epoch: u64, key: SigningKey) -> Result<Self, EngineError> {
        let origin = log_origin(name, epoch).map_err(EngineError::internal)?;
        let verifier =
            VerifierKey::from_ed25519(&origin, key.verifying_key().as_bytes()).map_err(EngineError::internal)?;
        Ok(Self { key, kid: verifier.kid(), verifier })
    }

    pub(crate) fn kid(&self) -> &str {
        &self.kid
    }

    pub(crate) fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }
}

impl Signer for LogKey {
    fn verifier_key(&self) -> &VerifierKey {
        &self.verifier
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        self.key.sign(message).map(|signature| signature.to_vec()).map_err(|error| SignError(error.to_string()))
    }
}

impl Keyring {
    /// Opens what the database holds. A wrong master key is told by the check value, before anything is misread.
    pub async fn open(store: &Store, master: &MasterKey) -> Result<Self, EngineError> {
        let check = store.load(MetaGet(META_MASTER_CHECK.to_owned())).await?;
        let check =
            check.ok_or_else(|| EngineError::Invalid("this database is empty; run `countersign init` first".into()))?;
        master.verify_check_value(&check).map_err(|_| {
            EngineError::Invalid(
                "the master key does not fit this database; give the one that it was created with (see `master_key` in the configuration)".into(),
            )
        })?;
        let name = store.load(MetaGet(META_NAME.to_owned())).await?.unwrap_or_default();
        let name = String::from_utf8(name).map_err(EngineError::internal)?;
        let epoch = store.load(CurrentEpoch).await?.ok_or_else(|| missing("log"))?;
        let sealer = Arc::new(open_sealer(store, master).await?);
        Self::assemble(name, epoch, sealer, &store.load(SigningKeys).await?)
    }

    /// The keys after a new epoch was begun: what seals stays.
    pub(crate) async fn of_epoch(&self, store: &Store, epoch: u64) -> Result<Self, EngineError> {
        Self::assemble(self.name.clone(), epoch, Arc::clone(&self.sealer), &store.load(SigningKeys).await?)
    }

    fn assemble(name: String, epoch: u64, sealer: Arc<Sealer>, rows: &[SigningKeyRow]) -> Result<Self, EngineError> {
        let private = |purpose: &str, epoch: Option<u64>| {
            let row = rows
                .iter()
                .find(|row| {
                    row.purpose == purpose && row.retired_at.is_none() && epoch.is_none_or(|epoch| row.epoch == epoch)
                })
                .ok_or_else(|| missing("signing key"))?;
            let context = SealContext {
                table: seal::SIGNING_KEY_PRIVATE.table,
                column: seal::SIGNING_KEY_PRIVATE.column,
                row: &row.kid,
            };
            sealer.open(&context, &row.private).map_err(EngineError::internal)
        };
        let bytes = private(PURPOSE_LOG, Some(epoch))?;
        let key = SigningKey::from_pkcs8(bytes.expose_secret()).map_err(EngineError::internal)?;
        let bytes = private(PURPOSE_GRANT, None)?;
        let grant = SigningKey::from_pkcs8(bytes.expose_secret()).map_err(EngineError::internal)?;
        let bytes = private(PURPOSE_MATCH, None)?;
        let matching = FingerprintKey::from_bytes(bytes.expose_secret()).map_err(EngineError::internal)?;
        let grant = JwtSigner::new(&grant).map_err(EngineError::internal)?;
        let log = LogKey::new(&name, epoch, key)?;
        Ok(Self { name, epoch, sealer, log, grant, matching })
    }

    /// The log's name without its epoch; also the issuer of grants.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The epoch that this service writes to.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The public half of the log's key.
    pub fn log_key(&self) -> &VerifierKey {
        &self.log.verifier
    }

    pub(crate) fn log_signer(&self) -> &impl Signer {
        &self.log
    }

    pub(crate) const fn grant_signer(&self) -> &JwtSigner {
        &self.grant
    }

    /// Finds the same operation again.
    pub(crate) fn fingerprint(&self, canonical: &[u8]) -> Digest {
        Digest::from_bytes(self.matching.fingerprint(canonical))
    }

    pub(crate) fn encode(&self, draft: &EntryDraft) -> Result<EntryRow, EngineError> {
        encode(draft, self.epoch, &self.log.kid)
    }

    pub(crate) fn seal(
        &self,
        random: &dyn Random,
        column: seal::SealedColumn,
        row: &str,
        plain: &[u8],
    ) -> Result<Sealed, KeysError> {
        self.sealer.seal(random, &SealContext { table: column.table, column: column.column, row }, plain)
    }

    pub(crate) fn open_sealed(
        &self,
        column: seal::SealedColumn,
        row: &str,
        sealed: &Sealed,
    ) -> Result<SecretSlice<u8>, KeysError> {
        self.sealer.open(&SealContext { table: column.table, column: column.column, row }, sealed)
    }
}

pub(crate) fn encode(draft: &EntryDraft, epoch: u64, kid: &str) -> Result<EntryRow, EngineError> {
    let encoded =
        countersign_ledger::encode(draft, epoch, kid).map_err(|error| EngineError::Invalid(error.to_string()))?;
    Ok(EntryRow { id: draft.id, at: draft.at, request: draft.request, person: draft.person, epoch, encoded })
}

async fn open_sealer(store: &Store, master: &MasterKey) -> Result<Sealer, EngineError> {
    let rows = store.load(DataKeys).await?;
    let mut current = None;
    let mut older = Vec::new();
    for row in rows {
        let key = DataKey::unwrap(row.id, &Sealed::from_bytes(row.wrapped), master).map_err(EngineError::internal)?;
        if row.state == "current" { current = Some(key) } else { older.push(key) }
    }
    let current = current.ok_or_else(|| missing("data key"))?;
    Sealer::new(current, older).map_err(EngineError::internal)
}

fn missing(what: &str) -> EngineError {
    EngineError::Internal(format!("the database holds no {what}; it was not set up to its end, or it is damaged"))
}
