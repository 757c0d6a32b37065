//! Rows to write.

use std::path::PathBuf;
use std::time::Duration;

use countersign_core::canonical::Value;
use countersign_core::changes::Write;
use countersign_core::demand::{Bounds, Demand};
use countersign_core::digest::{Digest, Salt};
use countersign_core::evidence::RecordedEvidence;
use countersign_core::grant::{Grant, GrantState};
use countersign_core::identity::{
    Account, AccountKind, Authenticator, AuthenticatorState, Membership, Person, Session, Token,
};
use countersign_core::ids::{AccountId, AuthenticatorId, GrantId, PersonId, RequestId, SessionId, TokenId};
use countersign_core::names::{AccountName, Factor, GroupName};
use countersign_core::operation::Operation;
use countersign_core::request::{Approval, Request, Stage};
use countersign_core::sealed::Sealed;
use countersign_core::time::Micros;
use countersign_store::{Commit, Load, PostgresConfig, Reader, Row, Store, StoreConfig, StoreError, Value as Cell};
use countersign_testing_postgres::Cluster;
use rusqlite::types::ValueRef;

pub(crate) const NOW: Micros = Micros::from_secs(1_700_000_000);

/// Names functions that are tests on each engine: `sqlite::name` and `postgres::name`.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(crate::support::Db::sqlite()).await;
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(crate::support::Db::postgres()).await;
            })+
        }
    };
}
pub(crate) use on_both;

/// An empty database, which stays when its stores are closed.
pub(crate) struct Db {
    pub(crate) config: StoreConfig,
    /// The name of a database of the shared server.
    name: Option<String>,
    /// Where the file lies until the test is over.
    _folder: Option<tempfile::TempDir>,
}

impl Db {
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = StoreConfig::Sqlite { path: folder.path().join("countersign.db") };
        Self { config, name: None, _folder: Some(folder) }
    }

    pub(crate) fn postgres() -> Self {
        let url = Cluster::shared().database();
        let name = url.rsplit('/').next().unwrap().to_owned();
        Self { config: at(&url), name: Some(name), _folder: None }
    }

    pub(crate) async fn open(&self) -> Store {
        Store::open(&self.config).await.unwrap()
    }

    /// The file of an SQLite database.
    pub(crate) fn path(&self) -> PathBuf {
        match &self.config {
            StoreConfig::Sqlite { path } => path.clone(),
            _ => panic!("it is no file"),
        }
    }

    /// Runs a statement behind the store's back, with the engine's own program or library; the rows as text, in lines.
    pub(crate) fn sql(&self, sql: &str) -> String {
        if let Some(name) = &self.name {
            return Cluster::shared().psql(name, sql);
        }
        let connection = rusqlite::Connection::open(self.path()).unwrap();
        let mut statement = connection.prepare(sql).unwrap();
        let width = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        let mut lines = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            let text = |at| match row.get_ref(at).unwrap() {
                ValueRef::Null => String::new(),
                ValueRef::Integer(int) => int.to_string(),
                ValueRef::Text(text) => String::from_utf8(text.to_vec()).unwrap(),
                other => format!("{other:?}"),
            };
            lines.push((0..width).map(text).collect::<Vec<_>>().join("|"));
        }
        lines.join("\n")
    }
}

/// The first column of each row, as text.
pub(crate) struct Asked(pub(crate) &'static str);

impl Load for Asked {
    type Out = Vec<String>;

    async fn load(self, reader: &mut Reader<'_>) -> Result<Vec<String>, StoreError> {
        let rows = reader.query(self.0, &[]).await?;
        let first = |row: &Row| match row.values() {
            [Cell::Text(text), ..] => text.clone(),
            other => format!("{other:?}"),
        };
        Ok(rows.iter().map(first).collect())
    }
}

/// A database of a server, without a password.
pub(crate) fn at(url: &str) -> StoreConfig {
    StoreConfig::Postgres(PostgresConfig::new(url, None, None).unwrap())
}

pub(crate) fn group(name: &str) -> GroupName {
    GroupName::new("local", name).unwrap()
}

pub(crate) fn person(n: u8) -> Person {
    Person { id: PersonId::new(NOW, [n; 10]), name: format!("person-{n}"), active: true, created_at: NOW, version: 1 }
}

pub(crate) fn account(n: u8, of: Option<&Person>) -> Account {
    Account {
        id: AccountId::new(NOW, [n; 10]),
        name: AccountName::new("local", &format!("account-{n}")).unwrap(),
        kind: AccountKind::Person,
        person: of.map(|person| person.id),
        active: true,
        password: Some(Sealed::from_bytes(vec![1, n])),
        created_at: NOW,
        version: 1,
    }
}

pub(crate) fn authenticator(n: u8, of: &Person, state: AuthenticatorState) -> Authenticator {
    Authenticator {
        id: AuthenticatorId::new(NOW, [n; 10]),
        person: of.id,
        factor: Factor::Totp,
        secret: Sealed::from_bytes(vec![2, n]),
        state,
        last_step: 0,
        enrolled_at: NOW,
        countersigned: true,
    }
}

pub(crate) fn session(n: u8, of: &Account) -> Session {
    Session {
        id: SessionId::new(NOW, [n; 10]),
        hash: Digest::sha256(&[n]),
        account: of.id,
        created_at: NOW,
        last_used_at: NOW,
        expires_at: NOW.plus(Duration::from_hours(1)),
        fresh_at: NOW,
        fresh_factor: Factor::Password,
        source: "192.0.2.1".to_owned(),
    }
}

pub(crate) fn token(n: u8, of: &Account) -> Token {
    Token {
        id: TokenId::new(NOW, [n; 10]),
        hash: Digest::sha256(&[n, n]),
        name: "ci".to_owned(),
        owner: of.id,
        scopes: vec!["command.*".to_owned()],
        created_at: NOW,
        expires_at: NOW.plus(Duration::from_hours(1)),
        revoked_at: None,
    }
}

pub(crate) fn request(n: u8, by: &Account, groups: &[GroupName]) -> Request {
    Request {
        id: RequestId::new(NOW, [n; 10]),
        version: 1,
        operation: Operation {
            door: "api".to_owned(),
            action: "command.run".parse().unwrap(),
            target: "db1".to_owned(),
            parameters: Value::object([("argv", Value::array(["rm", "-rf", "/tmp/ä\u{1F512}"]))]),
            context: Value::Null,
        },
        sealed: Some(Sealed::from_bytes(vec![3, n])),
        account: by.id,
        account_name: by.name.clone(),
        person: None,
        reason: Some("because".to_owned()),
        asked_at: NOW,
        deadline: NOW.plus(Duration::from_mins(10)),
        salt: Salt::from_bytes([n; 16]),
        digest: Digest::sha256(&[1, n]),
        fingerprint: Digest::sha256(b"same words"),
        policy: Digest::sha256(b"policy"),
        demands: groups.iter().map(|of| Demand::Quorum { k: 1, of: of.clone(), factors: vec![Factor::Totp] }).collect(),
        bounds: Bounds::DEFAULT,
        relayed: false,
        last_entry_at: NOW,
        entries: 1,
        erased: false,
        stage: Stage::Challenged { challenges: Vec::new(), approvals: Vec::new() },
    }
}

/// The next version of a request, granted.
pub(crate) fn granted(mut request: Request, uses_left: u32) -> Request {
    request.version += 1;
    let state = if uses_left == 0 { GrantState::Spent } else { GrantState::Live { uses_left } };
    request.stage = Stage::Granted {
        approvals: Vec::new(),
        grant: Grant {
            id: GrantId::new(NOW, [1; 10]),
            granted_at: NOW,
            not_before: NOW,
            expires_at: NOW.plus(Duration::from_mins(5)),
            uses: 1,
            state,
        },
    };
    request
}

/// The next version of a request, with one more answer.
pub(crate) fn answered(mut request: Request, by: &Person, with: &Authenticator) -> Request {
    request.version += 1;
    let evidence = evidence(by, with, 1);
    if let Stage::Challenged { approvals, .. } = &mut request.stage {
        approvals.push(Approval { evidence, own: false });
    }
    request
}

pub(crate) fn evidence(by: &Person, with: &Authenticator, step: i64) -> RecordedEvidence {
    RecordedEvidence {
        person: by.reference(),
        factor: Factor::Totp,
        authenticator: with.id,
        step,
        at: NOW,
        digest: Digest::sha256(&[1]),
        relayed_by: None,
    }
}

pub(crate) fn membership(group: &GroupName, person: &Person) -> Membership {
    Membership { group: group.clone(), person: person.id, since: NOW, countersigned: true }
}

/// Commits what must not fail.
pub(crate) async fn write(store: &Store, writes: Vec<Write>) {
    store.commit(Commit::from(writes)).await.unwrap();
}
