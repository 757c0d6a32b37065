//! Name and password become a session.

use countersign_core::canonical::Value;
use countersign_core::changes::{Changes, Write};
use countersign_core::decision::Verdict;
use countersign_core::demand::Demand;
use countersign_core::digest::Digest;
use countersign_core::entry::EntryKind;
use countersign_core::identity::Session;
use countersign_core::ids::SessionId;
use countersign_core::names::{AccountName, Factor};
use countersign_core::operation::Operation;
use countersign_core::principal::{Principal, Via};
use countersign_core::throttle::{Admission, Throttle, ThrottleKey};
use countersign_core::time::Micros;
use countersign_factors::{PoolError, by_password};
use countersign_keys::opaque::OpaqueToken;
use countersign_keys::password::PasswordCheck;
use countersign_store::{AccountByName, AccountRow, ThrottleFor, seal};
use secrecy::{ExposeSecret, SecretString};

use super::authenticate::SESSION_KIND;
use crate::commit::decide_again;
use crate::{Engine, EngineError};

/// Strangers' names are counted in this many buckets, and their sources in fewer: what never existed must not fill the disk.
const NAME_BUCKETS: u32 = 4_096;
const SOURCE_BUCKETS: u32 = 256;

/// A session that was opened.
#[derive(Debug)]
pub struct Login {
    /// The bearer value; shown once, stored as a hash.
    pub token: SecretString,
    pub principal: Principal,
    pub expires_at: Micros,
}

impl Engine {
    /// Opens a session. Unknown names cost the same work, count in the same way and get the same text as wrong passwords.
    pub async fn login(
        &self,
        name: &str,
        password: SecretString,
        code: Option<SecretString>,
        source: &str,
    ) -> Result<Login, EngineError> {
        let outcome = self.log_in(name, password, code, source).await;
        self.inner.metrics.login(&outcome);
        outcome
    }

    async fn log_in(
        &self,
        name: &str,
        password: SecretString,
        code: Option<SecretString>,
        source: &str,
    ) -> Result<Login, EngineError> {
        self.require_current()?;
        self.certain_clock().await?;
        let row = match name.parse::<AccountName>() {
            Ok(name) => self.inner.store.load(AccountByName(name)).await?,
            Err(_) => None,
        };
        let key = self.throttle_key(row.as_ref(), name, source);
        // Looked at before the expensive hash, and again with the verdict: a delay costs us nothing.
        admit(&self.inner.store.load(ThrottleFor(key.clone())).await?, self.now())?;
        let right = self.password_is_right(row.as_ref(), password).await?;
        decide_again!(self, self.try_login(row.as_ref(), right, code.as_ref(), &key, name, source))
    }

    async fn try_login(
        &self,
        row: Option<&AccountRow>,
        right: bool,
        code: Option<&SecretString>,
        key: &ThrottleKey,
        name: &str,
        source: &str,
    ) -> Result<Login, EngineError> {
        let throttle = self.inner.store.load(ThrottleFor(key.clone())).await?;
        let now = self.now();
        admit(&throttle, now)?;
        let whose = row.and_then(|row| row.account.person);
        let Some(row) = row.filter(|_| right) else {
            self.commit(Changes { writes: vec![Write::Throttle(throttle.failed(now))], entries: Vec::new() }).await?;
            self.inner.failed_logins.count(name, whose, source, now);
            return Err(EngineError::LoginRefused);
        };
        let principal = by_password(&row.account, row.person.as_ref(), source, now).map_err(|why| {
            tracing::info!(%why, account = %row.account.name, source, "a login was refused");
            EngineError::LoginRefused
        })?;
        let mut writes = vec![Write::Throttle(throttle.passed(now))];
        let factor = self.login_factor(&principal, code, &mut writes).await?;
        let token = OpaqueToken::generate(self.inner.random.as_ref(), SESSION_KIND).map_err(EngineError::internal)?;
        let mut ctx = self.ctx()?;
        let session = Session {
            id: SessionId::new(now, ctx.tail()),
            hash: Digest::from_bytes(token.hash()),
            account: row.account.id,
            created_at: now,
            last_used_at: now,
            expires_at: now.plus(self.inner.config.session_ttl),
            fresh_at: now,
            fresh_factor: factor,
            source: source.to_owned(),
        };
        let fields = vec![
            ctx.field("account", row.account.name.to_string()),
            ctx.field("source", source),
            ctx.field("factor", factor.as_str()),
        ];
        let entry = ctx.entry(EntryKind::LoginSucceeded, None, Vec::new(), fields).about(row.account.person);
        let expires_at = session.expires_at;
        writes.push(Write::InsertSession(session));
        self.commit(Changes { writes, entries: vec![entry] }).await?;
        Ok(Login { token: token.text().clone(), principal, expires_at })
    }

    /// Ends the session at once.
    pub async fn logout(&self, principal: &Principal) -> Result<(), EngineError> {
        let Via::Session(session) = principal.via else {
            return Err(EngineError::Invalid("a token is ended by revoking it".into()));
        };
        let mut ctx = self.ctx()?;
        let fields = vec![ctx.field("account", principal.name.to_string())];
        let who = principal.person.as_ref().map(|person| person.id);
        let entry = ctx.entry(EntryKind::SessionEnded, None, Vec::new(), fields).about(who);
        self.commit(Changes { writes: vec![Write::EndSession { id: session }], entries: vec![entry] }).await
    }

    /// What policy wants of a login beyond the password, and the factor that the session begins with.
    async fn login_factor(
        &self,
        principal: &Principal,
        code: Option<&SecretString>,
        writes: &mut Vec<Write>,
    ) -> Result<Factor, EngineError> {
        let action = "login".parse().map_err(EngineError::internal)?;
        let operation = Operation {
            door: "api".to_owned(),
            action,
            target: "countersign".to_owned(),
            parameters: Value::object::<&str, Value>([]),
            context: Value::Null,
        };
        let demanded = match self.decide(principal, &operation, None).await?.verdict {
            Verdict::Deny { reason } => {
                tracing::info!(%reason, account = %principal.name, "policy denies this login");
                return Err(EngineError::LoginRefused);
            }
            Verdict::Allow { .. } => false,
            Verdict::Require(requirements) => {
                requirements.demands.iter().any(|demand| matches!(demand, Demand::Fresh { .. }))
            }
        };
        match (code, &principal.person) {
            (Some(code), Some(person)) => {
                let proved = self.prove(person, code, &principal.source).await.map_err(|error| match error {
                    // Who is not logged in yet learns nothing but no: a used code would tell that the password was right.
                    EngineError::Invalid(_) => EngineError::LoginRefused,
                    other => other,
                })?;
                writes.extend(proved);
                Ok(Factor::Totp)
            }
            _ if demanded => Err(EngineError::CodeNeeded),
            _ => Ok(Factor::Password),
        }
    }

    async fn password_is_right(&self, row: Option<&AccountRow>, password: SecretString) -> Result<bool, EngineError> {
        let stored = match row.and_then(|row| row.account.password.as_ref().map(|sealed| (row, sealed))) {
            Some((row, sealed)) => {
                let bytes = self
                    .keys()
                    .open_sealed(seal::ACCOUNT_PASSWORD, &row.account.id.to_string(), sealed)
                    .map_err(EngineError::internal)?;
                let text = std::str::from_utf8(bytes.expose_secret()).map_err(EngineError::internal)?;
                Some(SecretString::from(text))
            }
            None => None,
        };
        match self.inner.passwords.check(stored, password).await {
            Ok(PasswordCheck::Right { .. }) => Ok(true),
            Ok(PasswordCheck::Wrong) => Ok(false),
            Err(PoolError::Busy) => Err(EngineError::Busy),
            // A password that no hash could be made of is a wrong one.
            Err(PoolError::Keys(error)) => {
                tracing::info!(%error, "a password could not be checked");
                Ok(false)
            }
            Err(PoolError::Interrupted) => Err(EngineError::internal("the password check was interrupted")),
        }
    }

    fn throttle_key(&self, row: Option<&AccountRow>, name: &str, source: &str) -> ThrottleKey {
        match row {
            Some(row) => ThrottleKey { subject: format!("password:{}", row.account.id), source: source.to_owned() },
            // A keyed hash: nobody outside can look for names that share a bucket.
            None => ThrottleKey {
                subject: format!("password:stranger:{}", self.bucket(name, NAME_BUCKETS)),
                source: format!("bucket:{}", self.bucket(source, SOURCE_BUCKETS)),
            },
        }
    }

    fn bucket(&self, text: &str, buckets: u32) -> u32 {
        let digest = self.keys().fingerprint(format!("countersign/bucket/v1:{text}").as_bytes());
        let [a, b, c, d, ..] = *digest.as_bytes();
        u32::from_be_bytes([a, b, c, d]) % buckets
    }
}

fn admit(throttle: &Throttle, now: Micros) -> Result<(), EngineError> {
    match throttle.admit(now) {
        Admission::Admitted => Ok(()),
        Admission::Wait { until } => Err(EngineError::TooManyAttempts { retry_at: until }),
        Admission::Closed => Err(EngineError::Closed),
    }
}
