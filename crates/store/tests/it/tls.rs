//! The way to a server on another machine: encrypted, to the right server, or not at all. Certificates are made by openssl.

use std::path::{Path, PathBuf};
use std::process::Command;

use countersign_store::{ListGroups, PostgresConfig, Store, StoreConfig, StoreError};
use countersign_testing_postgres::Cluster;

/// A certificate and its key, in a folder of the test.
struct Authority {
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let authority = Self { folder: tempfile::tempdir().unwrap() };
        openssl(
            &authority.folder,
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout ca.key -out ca.pem -subj /CN=ca",
        );
        authority
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A server's certificate for a name, and its key.
    fn sign(&self, name: &str) -> (Vec<u8>, Vec<u8>) {
        openssl(
            &self.folder,
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout s.key -out s.csr -subj /CN=server",
        );
        std::fs::write(self.folder.path().join("s.ext"), format!("subjectAltName={name}\n")).unwrap();
        openssl(
            &self.folder,
            "x509 -req -in s.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile s.ext -out s.pem",
        );
        let read = |name: &str| std::fs::read(self.folder.path().join(name)).unwrap();
        (read("s.pem"), read("s.key"))
    }
}

fn openssl(folder: &tempfile::TempDir, args: &str) {
    let Ok(output) = Command::new("openssl").args(args.split(' ')).current_dir(folder).output() else {
        panic!("openssl is missing; `cargo xtask test` installs it");
    };
    assert!(output.status.success(), "{args}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A server that takes TCP connections over TLS alone.
fn server(certificate: &[u8], key: &[u8]) -> Cluster {
    let cluster = Cluster::start_with(&[], &["hostssl all all 127.0.0.1/32 trust", "host all all 127.0.0.1/32 reject"]);
    let certificate = cluster.file("server.pem", certificate);
    let key = cluster.file("server.key", key);
    for (name, value) in [("ssl_cert_file", certificate), ("ssl_key_file", key)] {
        cluster.psql("postgres", &format!("ALTER SYSTEM SET {name} = '{}'", value.display()));
    }
    cluster.psql("postgres", "ALTER SYSTEM SET ssl = on");
    cluster.restart();
    cluster
}

async fn open(url: &str, ca: Option<&Path>) -> Result<Store, StoreError> {
    Store::open(&StoreConfig::Postgres(PostgresConfig::new(url, None, ca)?)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_right_server_with_the_right_authority_is_talked_to() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (certificate, key) = authority.sign("IP:127.0.0.1");
    let cluster = server(&certificate, &key);
    let name = cluster.create("TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'");
    let url = cluster.tcp_url("countersign", &name);
    let store = open(&url, Some(&authority.path())).await.unwrap();
    assert_eq!(store.load(ListGroups).await.unwrap(), []);
    let encrypted = "SELECT count(*) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE a.client_addr IS NOT NULL AND NOT s.ssl";
    assert_eq!(cluster.psql(&name, encrypted), "0");
    for (ca, url) in [
        (Some(stranger.path()), url.clone()),
        // The authorities of the system.
        (None, format!("{url}?sslmode=verify-full")),
        // The right server under a name that its certificate does not have.
        (Some(authority.path()), url.replace("127.0.0.1", "localhost")),
    ] {
        let error = open(&url, ca.as_deref()).await.unwrap_err();
        assert!(matches!(&error, StoreError::Away { why } if why.contains("certificate")), "{url}: {error}");
    }
    let error = open(&format!("{url}?sslmode=disable"), None).await.unwrap_err();
    assert!(matches!(error, StoreError::Away { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_gets_nothing_in_the_clear_instead() {
    let authority = Authority::new();
    let cluster = Cluster::shared();
    let url = cluster.tcp_url("countersign", "postgres");
    let error = open(&url, Some(&authority.path())).await.unwrap_err();
    assert!(matches!(&error, StoreError::Away { why } if why.contains("does not support TLS")), "{error}");
}

#[tokio::test]
async fn an_authority_that_is_none_is_refused_when_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    for text in ["", "a letter to my aunt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        std::fs::write(&file, text).unwrap();
        let error = PostgresConfig::new("postgresql://me@db.example/cs", None, Some(&file)).unwrap_err();
        assert!(error.to_string().contains("ca.pem"), "{error}");
    }
    assert!(PostgresConfig::new("postgresql://me@db.example/cs", None, Some(&folder.path().join("none"))).is_err());
    let socket = PostgresConfig::new("postgresql://me@%2Frun/cs", None, Some(&file)).unwrap_err();
    assert!(socket.to_string().contains("Unix socket"), "{socket}");
}
