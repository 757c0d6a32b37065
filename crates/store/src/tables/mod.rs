//! One file for each table or small family of tables: its statements, how a row is written and read, and the questions asked of it.

pub(crate) mod accounts;
pub(crate) mod authenticators;
pub(crate) mod changes;
pub(crate) mod directory;
pub(crate) mod entries;
pub(crate) mod erasures;
pub(crate) mod evidence;
pub(crate) mod groups;
pub(crate) mod idempotency;
pub(crate) mod inbox;
pub(crate) mod keys;
pub(crate) mod leases;
pub(crate) mod log;
pub(crate) mod meta;
pub(crate) mod outbox;
pub(crate) mod persons;
pub(crate) mod policies;
pub(crate) mod releases;
pub(crate) mod requests;
pub(crate) mod sessions;
pub(crate) mod sinks;
pub(crate) mod throttles;
pub(crate) mod timers;
pub(crate) mod tokens;

/// The tables in the order in which a commit writes them. What others refer to comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Table {
    Meta,
    Erasures,
    DataKeys,
    SigningKeys,
    Leases,
    /// Entries lie in the log of an epoch that is open.
    Epochs,
    Persons,
    Accounts,
    Groups,
    Memberships,
    Authenticators,
    Throttles,
    Sessions,
    Tokens,
    Policies,
    Requests,
    Inbox,
    Evidence,
    Releases,
    Timers,
    Outbox,
    Idempotency,
    Entries,
    Log,
    Checkpoints,
    SinkPositions,
    Several,
    /// Last, because its one row is locked until the commit is done.
    Changes,
}

/// Every statement of every table.
#[cfg(test)]
pub(crate) const STATEMENTS: &[&[&str]] = &[
    accounts::ALL,
    authenticators::ALL,
    changes::ALL,
    directory::ALL,
    entries::ALL,
    erasures::ALL,
    evidence::ALL,
    groups::ALL,
    idempotency::ALL,
    inbox::ALL,
    keys::ALL,
    leases::ALL,
    log::ALL,
    meta::ALL,
    outbox::ALL,
    persons::ALL,
    policies::ALL,
    releases::ALL,
    requests::ALL,
    sessions::ALL,
    sinks::ALL,
    throttles::ALL,
    timers::ALL,
    tokens::ALL,
];

/// Names the statements of a file and lists them, so that the test that prepares each on every engine misses none.
macro_rules! statements {
    ($($name:ident = $sql:expr;)+) => {
        $(const $name: &str = $sql;)+
        #[cfg(test)]
        pub(crate) const ALL: &[&str] = &[$($name),+];
    };
}
pub(crate) use statements;

/// A question whose answer is one expression.
macro_rules! load {
    ($name:ty => $out:ty, |$query:pat_param, $reader:ident| $body:expr) => {
        impl crate::reader::Load for $name {
            type Out = $out;

            async fn load(self, $reader: &mut crate::reader::Reader<'_>) -> Result<$out, crate::error::StoreError> {
                let $query = self;
                $body
            }
        }
    };
    (heavy $name:ty => $out:ty, |$query:pat_param, $reader:ident| $body:expr) => {
        impl crate::reader::Load for $name {
            type Out = $out;
            const HEAVY: bool = true;

            async fn load(self, $reader: &mut crate::reader::Reader<'_>) -> Result<$out, crate::error::StoreError> {
                let $query = self;
                $body
            }
        }
    };
}
pub(crate) use load;

/// A count as the engines keep it. What does not fit is refused, never cut.
pub(crate) fn signed(count: u64) -> Result<i64, crate::error::StoreError> {
    i64::try_from(count).map_err(|_| crate::error::StoreError::Sql(format!("{count} is too large for the database")))
}

#[cfg(test)]
mod tests {
    use crate::sql::for_sqlite;
    use crate::sqlite;

    /// Questions for everything there is; they say so by being `HEAVY`, or page by the primary key.
    const WHOLE: &[&str] =
        &["persons p ORDER", "accounts a ORDER", "groups ORDER", "memberships m ORDER", "tokens t ORDER"];
    const SMALL: &[&str] = &["data_keys", "signing_keys", "leases SET until_at = 0 WHERE until_at", "PRAGMA"];

    fn statements() -> impl Iterator<Item = &'static str> {
        super::STATEMENTS.iter().flat_map(|table| table.iter().copied())
    }

    #[test]
    fn each_statement_prepares() {
        let folder = tempfile::tempdir().unwrap();
        let mut opened = sqlite::open(&folder.path().join("db"), 0).unwrap();
        for sql in statements() {
            let statement = opened.writer.inner().prepare(&for_sqlite(sql));
            assert!(statement.is_ok(), "{sql}: {:?}", statement.err());
        }
        assert!(statements().count() > 80);
    }

    #[tokio::test]
    async fn each_statement_prepares_on_postgresql_with_the_types_of_our_values() {
        let url = countersign_testing_postgres::Cluster::shared().database();
        let config = crate::PostgresConfig::new(&url, None, None).unwrap();
        let wrong = crate::postgres::unfit_statements(&config, statements()).await.unwrap();
        assert_eq!(wrong, [""; 0]);
    }

    #[test]
    fn what_is_stored_costs_nothing_that_is_not_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let mut opened = sqlite::open(&folder.path().join("db"), 0).unwrap();
        for sql in statements().filter(|sql| !WHOLE.iter().chain(SMALL).any(|known| sql.contains(known))) {
            let mut explain =
                opened.writer.inner().prepare(&format!("EXPLAIN QUERY PLAN {}", for_sqlite(sql))).unwrap();
            for parameter in 1..=explain.parameter_count() {
                explain.raw_bind_parameter(parameter, 1).unwrap();
            }
            let mut rows = explain.raw_query();
            while let Some(row) = rows.next().unwrap() {
                let step: String = row.get(3).unwrap();
                let walks_all = step.starts_with("SCAN") && !sql.contains("LIMIT") && !sql.contains("active = 1");
                assert!(!walks_all, "{sql}: {step}");
                // Sorting is for what one index has narrowed down already, never for a page of a long list.
                assert!(!(step.contains("TEMP B-TREE") && sql.contains("LIMIT $")), "{sql}: {step}");
            }
        }
    }

    #[test]
    fn columns_keep_to_the_types_that_both_engines_have() {
        let folder = tempfile::tempdir().unwrap();
        let mut opened = sqlite::open(&folder.path().join("db"), 0).unwrap();
        let sql = "SELECT m.name, c.name, c.type FROM sqlite_master m JOIN pragma_table_info(m.name) c \
            WHERE m.type = 'table' AND m.name <> 'refinery_schema_history'";
        let mut statement = opened.writer.inner().prepare(sql).unwrap();
        let mut rows = statement.query([]).unwrap();
        let mut count = 0;
        while let Some(row) = rows.next().unwrap() {
            let (table, column, kind): (String, String, String) =
                (row.get(0).unwrap(), row.get(1).unwrap(), row.get(2).unwrap());
            assert!(["TEXT", "BIGINT", "BYTEA"].contains(&kind.as_str()), "{table}.{column} is {kind}");
            count += 1;
        }
        assert!(count > 100);
    }
}
