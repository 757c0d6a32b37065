//! PostgreSQL below a service, with a wire between the two that can be stopped.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use countersign_testing_postgres::Cluster;

use super::proxy::Proxy;

/// Who owns the database, and needs no password for it here.
const OWNER: &str = "countersign";
/// One INSERT for each row of a table, in the words of PostgreSQL. `quote` alone would write bytes as no one else reads them.
const ROWS: &str = "SELECT 'SELECT ''INSERT INTO \"' || name || '\" (' || (SELECT group_concat('\"' || name || '\"', ', ') FROM pragma_table_info(m.name)) \
                    || ') VALUES ('' || ' || (SELECT group_concat('CASE typeof(\"' || name || '\") WHEN ''blob'' THEN ''''''\\x'' || hex(\"' || name || \
                    '\") || '''''''' ELSE quote(\"' || name || '\") END', ' || '', '' || ') FROM pragma_table_info(m.name)) || ' || '');'' FROM \"' || name \
                    || '\";' FROM sqlite_master AS m WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND name NOT LIKE 'refinery%'";

/// A server of its own, and one database of it.
#[derive(Debug)]
pub(crate) struct Postgres {
    cluster: Cluster,
    database: String,
    proxy: Proxy,
}

impl Postgres {
    pub(crate) fn start() -> Result<Self> {
        let cluster = Cluster::start();
        let database = cluster.create("TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'");
        let proxy = Proxy::start(cluster.port())?;
        Ok(Self { cluster, database, proxy })
    }

    /// Where the service finds it: through the wire.
    pub(crate) fn url(&self) -> String {
        format!("postgresql://{OWNER}@127.0.0.1:{}/{}", self.proxy.port(), self.database)
    }

    pub(crate) fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// SIGKILL for all of its processes, and a start on what they left.
    pub(crate) fn crash(&self) {
        self.cluster.kill9();
        self.cluster.launch();
    }

    /// Takes over the rows of a SQLite database with the same tables.
    pub(super) fn copy(&self, from: &Path) -> Result<()> {
        let selects = sqlite(from, ROWS)?;
        let rows = sqlite(from, &selects)?;
        // Without the checks of references, which would want an order of the tables.
        let script =
            format!("SET session_replication_role = replica;\nBEGIN;\n{}\n{rows}\nCOMMIT;\n", self.truncate()?);
        let mut psql = Command::new("psql")
            .args([&self.cluster.tcp_url(OWNER, &self.database), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("could not start psql")?;
        psql.stdin.take().context("psql reads nothing")?.write_all(script.as_bytes())?;
        let output = psql.wait_with_output()?;
        if !output.status.success() {
            bail!("psql: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// What the migrations themselves have written comes with the copy.
    fn truncate(&self) -> Result<String> {
        let sql = "SELECT string_agg(quote_ident(tablename), ', ') FROM pg_tables WHERE schemaname = 'public' AND tablename NOT LIKE 'refinery%'";
        let tables = self.cluster.psql(&self.database, sql);
        if tables.is_empty() {
            bail!("the service has made no tables");
        }
        Ok(format!("TRUNCATE {tables};"))
    }
}

fn sqlite(database: &Path, sql: &str) -> Result<String> {
    let output =
        Command::new("sqlite3").arg("-batch").arg(database).arg(sql).output().context("could not start sqlite3")?;
    if !output.status.success() {
        bail!("sqlite3: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}
