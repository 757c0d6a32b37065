//! The first start: keys, the first administrator, the first policy, in one commit.

use countersign_core::canonical::Value;
use countersign_core::changes::Write;
use countersign_core::decide::Ctx;
use countersign_core::digest::Digest;
use countersign_core::entry::{EntryDraft, EntryKind};
use countersign_core::identity::{Account, AccountKind, Authenticator, AuthenticatorState, Membership, Person};
use countersign_core::ids::{AccountId, AuthenticatorId, EntryId, PersonId};
use countersign_core::names::{AccountName, Factor, GroupName, LOCAL_REALM};
use countersign_core::sealed::Sealed;
use countersign_core::time::Micros;
use countersign_keys::fingerprint::FingerprintKey;
use countersign_keys::master::MasterKey;
use countersign_keys::seal::{DataKey, SealContext, Sealer};
use countersign_keys::signing::SigningKey;
use countersign_keys::totp::TotpSecret;
use countersign_keys::{Random, random};
use countersign_ledger::{VerifierKey, log_origin};
use countersign_policy::Policy;
use countersign_store::{
    Commit, DataKey as DataKeyRow, MetaExpectation, MetaGet, SigningKey as SigningKeyRow, Store, SystemWrite, seal,
};
use secrecy::{ExposeSecret, SecretString};

use crate::EngineError;
use crate::keyring::{
    ED25519, HMAC_SHA256, META_MASTER_CHECK, META_NAME, PURPOSE_GRANT, PURPOSE_LOG, PURPOSE_MATCH, encode,
};
use crate::policies::join;

pub(crate) const META_KEY_ENTRIES: &str = "key_entries";
const FIRST_EPOCH: u64 = 1;
const FIRST_DATA_KEY: u32 = 1;

/// What a new service begins with.
#[derive(Debug)]
pub struct Bootstrap {
    /// The log's name, a host name of the operator's: `<name>/<epoch>` is its origin.
    pub name: String,
    /// The first one administers; `demo` adds more.
    pub people: Vec<NewPerson>,
    pub policy: String,
}

/// Somebody who exists from the start.
#[derive(Debug)]
pub struct NewPerson {
    pub name: String,
    /// The argon2id string.
    pub password_hash: SecretString,
    pub totp: Option<Enrolled>,
    pub groups: Vec<GroupName>,
}

/// A second factor that exists from the start.
#[derive(Debug)]
pub struct Enrolled {
    pub secret: TotpSecret,
    /// The newest step of which a code was shown already; it proves nothing any more.
    pub last_step: i64,
}

impl From<TotpSecret> for Enrolled {
    /// No code of it was shown yet.
    fn from(secret: TotpSecret) -> Self {
        Self { secret, last_step: 0 }
    }
}

/// Whether a database has been set up.
pub async fn is_bootstrapped(store: &Store) -> Result<bool, EngineError> {
    Ok(store.load(MetaGet(META_MASTER_CHECK.to_owned())).await?.is_some())
}

impl Bootstrap {
    /// Sets the database up, all or nothing. A second time is refused.
    pub async fn run(
        self,
        store: &Store,
        master: &MasterKey,
        random: &dyn Random,
        now: Micros,
    ) -> Result<(), EngineError> {
        let mut setup = Setup::new(&self.name, master, random, now)?;
        let policy =
            Policy::parse(&self.policy, "policy.toml").map_err(|errors| EngineError::Invalid(join(&errors)))?;
        let mut groups: Vec<GroupName> =
            policy.groups_named().into_iter().filter(|group| group.realm() == LOCAL_REALM).collect();
        groups.push(GroupName::administrators());
        groups.extend(self.people.iter().flat_map(|person| person.groups.clone()));
        groups.sort();
        groups.dedup();
        for group in groups {
            setup.writes.push(Write::InsertGroup { group, created_at: now });
        }
        let mut first = None;
        for person in &self.people {
            let id = setup.person(person)?;
            first = first.or(Some((id, person.name.as_str())));
        }
        setup.account("server", AccountKind::Service, None)?;
        let digest = Digest::sha256(self.policy.as_bytes());
        setup.writes.push(Write::InsertPolicy { digest, text: self.policy.clone(), at: now });
        setup.writes.push(Write::ActivatePolicy { digest, from: None, at: now });
        let fields = vec![setup.ctx.field("administrator", first.map_or("", |(_, name)| name))];
        let entry = setup.ctx.entry(EntryKind::Bootstrap, Some(digest), Vec::new(), fields);
        let entry = entry.about(first.map(|(id, _)| id));
        setup.drafts.push(entry);
        setup.commit(store).await
    }
}

/// The entries that published this installation's keys.
pub(crate) async fn key_entries(store: &Store) -> Result<Vec<EntryId>, EngineError> {
    let text = store.load(MetaGet(META_KEY_ENTRIES.to_owned())).await?.unwrap_or_default();
    let text = String::from_utf8(text).map_err(EngineError::internal)?;
    text.split_whitespace().map(|id| id.parse().map_err(EngineError::internal)).collect()
}

struct Setup<'a> {
    random: &'a dyn Random,
    ctx: Ctx,
    sealer: Sealer,
    log_kid: String,
    writes: Vec<Write>,
    system: Vec<SystemWrite>,
    drafts: Vec<EntryDraft>,
}

impl<'a> Setup<'a> {
    fn new(name: &str, master: &MasterKey, random: &'a dyn Random, now: Micros) -> Result<Self, EngineError> {
        let origin = log_origin(name, FIRST_EPOCH).map_err(|error| EngineError::Invalid(error.to_string()))?;
        let seed = random::bytes::<32>(random).map_err(EngineError::internal)?;
        let data_key = DataKey::generate(FIRST_DATA_KEY, random).map_err(EngineError::internal)?;
        let wrapped = data_key.wrap(master, random).map_err(EngineError::internal)?;
        let meta = |key: &str, value: Vec<u8>| SystemWrite::PutMeta {
            key: key.to_owned(),
            value,
            expect: MetaExpectation::Absent,
        };
        let system = vec![
            meta(META_MASTER_CHECK, master.check_value().to_vec()),
            meta(META_NAME, name.as_bytes().to_vec()),
            SystemWrite::InsertDataKey(DataKeyRow {
                id: FIRST_DATA_KEY,
                wrapped: wrapped.as_bytes().to_vec(),
                created_at: now,
                state: "current".to_owned(),
            }),
            SystemWrite::OpenEpoch { epoch: FIRST_EPOCH },
        ];
        let mut setup = Self {
            random,
            ctx: Ctx::new(now, seed),
            sealer: Sealer::new(data_key, []).map_err(EngineError::internal)?,
            log_kid: String::new(),
            writes: Vec::new(),
            system,
            drafts: Vec::new(),
        };
        let log = setup.signing_key(PURPOSE_LOG)?;
        let log = VerifierKey::from_ed25519(&origin, &log).map_err(EngineError::internal)?;
        setup.log_kid = log.kid();
        setup.signing_key(PURPOSE_GRANT)?;
        setup.match_key()?;
        let ids: Vec<_> = setup.drafts.iter().map(|draft| draft.id.to_string()).collect();
        setup.system.push(meta(META_KEY_ENTRIES, ids.join(" ").into_bytes()));
        Ok(setup)
    }

    /// Makes a key pair; its public half becomes an entry of type `key`.
    fn signing_key(&mut self, purpose: &'static str) -> Result<[u8; 32], EngineError> {
        let key = SigningKey::generate(self.random).map_err(EngineError::internal)?;
        let private = key.to_pkcs8().map_err(EngineError::internal)?;
        let kid = key.kid().to_owned();
        let public = key.verifying_key().as_bytes().to_vec();
        self.key_row(&kid, purpose, ED25519, &public, private.expose_secret())?;
        let clear = vec![
            ("purpose", Value::from(purpose)),
            ("algorithm", Value::from(ED25519)),
            ("key", Value::from(kid.as_str())),
            ("public", Value::from(Digest::from_bytes(*key.verifying_key().as_bytes()).to_string())),
        ];
        let draft = self.ctx.entry(EntryKind::Key, None, clear, Vec::new());
        self.drafts.push(draft);
        // So that the log tells them in the order in which they were made.
        self.ctx.now = self.ctx.now.next();
        Ok(*key.verifying_key().as_bytes())
    }

    /// The key that finds the same operation again has no public half, and nobody outside ever hears of it.
    fn match_key(&mut self) -> Result<(), EngineError> {
        let key = FingerprintKey::generate(self.random).map_err(EngineError::internal)?;
        self.key_row("match-1", PURPOSE_MATCH, HMAC_SHA256, &[], key.to_bytes().expose_secret())
    }

    fn key_row(
        &mut self,
        kid: &str,
        purpose: &str,
        algorithm: &str,
        public: &[u8],
        private: &[u8],
    ) -> Result<(), EngineError> {
        let private = self.seal(seal::SIGNING_KEY_PRIVATE, kid, private)?;
        self.system.push(SystemWrite::InsertSigningKey(SigningKeyRow {
            kid: kid.to_owned(),
            purpose: purpose.to_owned(),
            epoch: FIRST_EPOCH,
            algorithm: algorithm.to_owned(),
            public: public.to_vec(),
            private,
            created_at: self.ctx.now,
            retired_at: None,
        }));
        Ok(())
    }

    fn person(&mut self, new: &NewPerson) -> Result<PersonId, EngineError> {
        let now = self.ctx.now;
        let id = PersonId::new(now, self.ctx.tail());
        self.writes.push(Write::InsertPerson(Person {
            id,
            name: new.name.clone(),
            active: true,
            created_at: now,
            version: 1,
        }));
        self.account(&new.name, AccountKind::Person, Some((id, &new.password_hash)))?;
        for group in &new.groups {
            self.writes.push(Write::PutMembership(Membership {
                group: group.clone(),
                person: id,
                since: now,
                countersigned: true,
            }));
        }
        if let Some(Enrolled { secret, last_step }) = &new.totp {
            let authenticator = AuthenticatorId::new(now, self.ctx.tail());
            let secret =
                self.seal(seal::AUTHENTICATOR_SECRET, &authenticator.to_string(), secret.to_payload().expose_secret())?;
            self.writes.push(Write::InsertAuthenticator(Authenticator {
                id: authenticator,
                person: id,
                factor: Factor::Totp,
                secret,
                state: AuthenticatorState::Active,
                last_step: *last_step,
                enrolled_at: now,
                countersigned: true,
            }));
        }
        Ok(id)
    }

    fn account(
        &mut self,
        name: &str,
        kind: AccountKind,
        of: Option<(PersonId, &SecretString)>,
    ) -> Result<(), EngineError> {
        let id = AccountId::new(self.ctx.now, self.ctx.tail());
        let name = AccountName::new(LOCAL_REALM, name).map_err(|error| EngineError::Invalid(error.to_string()))?;
        let password = match of {
            Some((_, hash)) => {
                Some(self.seal(seal::ACCOUNT_PASSWORD, &id.to_string(), hash.expose_secret().as_bytes())?)
            }
            None => None,
        };
        let person = of.map(|(person, _)| person);
        self.writes.push(Write::InsertAccount(Account {
            id,
            name,
            kind,
            person,
            active: true,
            password,
            created_at: self.ctx.now,
            version: 1,
        }));
        Ok(())
    }

    fn seal(&self, column: seal::SealedColumn, row: &str, plain: &[u8]) -> Result<Sealed, EngineError> {
        let context = SealContext { table: column.table, column: column.column, row };
        self.sealer.seal(self.random, &context, plain).map_err(EngineError::internal)
    }

    async fn commit(self, store: &Store) -> Result<(), EngineError> {
        let kid = self.log_kid;
        let entries = self.drafts.iter().map(|draft| encode(draft, FIRST_EPOCH, &kid)).collect::<Result<_, _>>()?;
        store.commit(Commit { writes: self.writes, entries, system: self.system }).await?;
        Ok(())
    }
}
