//! `[database]`: where the data lies, if not in a SQLite file of its own.

use std::fmt;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use countersign_store::{PostgresConfig, Store, StoreConfig, StoreError};
use secrecy::SecretString;
use toml::Spanned;
use zeroize::Zeroizing;

use super::file;
use super::problem::{Problem, Text};
use crate::exit::Failure;

/// Where the password comes from if no file is named.
pub(in crate::server) const PASSWORD: &str = "COUNTERSIGN_DATABASE_PASSWORD";
/// Far more than any password, far less than what a wrong path could hold.
const PASSWORD_LIMIT: u64 = 4_096;

/// Where the data lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) enum Database {
    Sqlite(PathBuf),
    Postgres(Postgres),
}

/// A PostgreSQL database. Its address holds no password: that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) struct Postgres {
    pub(in crate::server) url: String,
    pub(in crate::server) password_file: Option<PathBuf>,
    pub(in crate::server) ca_file: Option<PathBuf>,
    /// Where the address stands.
    at: (PathBuf, usize),
}

impl Database {
    /// Opens it, and creates what is missing in it.
    pub(in crate::server) async fn open(&self) -> Result<Store, Unopened<'_>> {
        let config = self.config()?;
        Store::open(&config).await.map_err(|error| Unopened::Store(error, self))
    }

    /// What the store is opened with.
    pub(in crate::server) fn config(&self) -> Result<StoreConfig, Unopened<'_>> {
        Ok(match self {
            Self::Sqlite(path) => StoreConfig::Sqlite { path: path.clone() },
            Self::Postgres(postgres) => StoreConfig::Postgres(postgres.config()?),
        })
    }

    /// The file, where it is one.
    pub(in crate::server) fn file(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(path) => Some(path),
            Self::Postgres(_) => None,
        }
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => path.display().fmt(f),
            Self::Postgres(postgres) => f.write_str(&postgres.url),
        }
    }
}

/// Why a database was not opened.
#[derive(Debug)]
pub(in crate::server) enum Unopened<'a> {
    Store(StoreError, &'a Database),
    /// The password could not be had, or the address can't be used any more.
    Setting(Problem),
}

impl Postgres {
    fn config(&self) -> Result<PostgresConfig, Unopened<'_>> {
        let problem = |key: &str, what: String| {
            Unopened::Setting(Problem { at: Some(self.at.clone()), key: format!("database.{key}"), what })
        };
        let given = variable().map_err(|what| problem("url", what))?;
        let password = match (&self.password_file, given) {
            (Some(_), Some(_)) => {
                let what = format!("a password is in the environment too, as {PASSWORD}; leave one of them out");
                return Err(problem("password_file", what));
            }
            (Some(file), None) => Some(read_password(file).map_err(|what| problem("password_file", what))?),
            (None, given) => given,
        };
        PostgresConfig::new(&self.url, password, self.ca_file.as_deref()).map_err(|error| problem("url", words(error)))
    }

    /// For a message about what the server at this address answered, or that it did not.
    pub(in crate::server) fn said(&self, error: &StoreError) -> Failure {
        let key = "database.url".to_owned();
        Failure::new(Problem { at: Some(self.at.clone()), key, what: error.to_string() }.to_string())
    }
}

/// Reads the two sections that can say where the data lies.
pub(super) fn database(
    at: &Text<'_>,
    section: Option<Spanned<file::Database>>,
    sqlite: Option<PathBuf>,
    folder: &Path,
    default: PathBuf,
    problems: &mut Vec<Problem>,
) -> Database {
    let Some(section) = section else {
        return Database::Sqlite(sqlite.map_or(default, |path| folder.join(path)));
    };
    if sqlite.is_some() {
        problems.push(at.problem(
            "database",
            &section.span(),
            "`store.sqlite` names a file as well; leave one of the two out, the data lies in one place",
        ));
    }
    let file::Database { url, password_file, ca_file } = section.into_inner();
    let ca_file = ca_file.map(|path| (folder.join(path.get_ref()), path.span()));
    match PostgresConfig::new(url.get_ref(), None, None) {
        Err(error @ StoreError::Address(_)) => problems.push(at.problem("database.url", &url.span(), words(error))),
        plain => {
            let (key, span, judged) = match &ca_file {
                Some((path, span)) => {
                    ("database.ca_file", span.clone(), PostgresConfig::new(url.get_ref(), None, Some(path)))
                }
                None => ("database.url", url.span(), plain),
            };
            if let Err(error) = judged {
                problems.push(at.problem(key, &span, words(error)));
            }
        }
    }
    let password_file = password_file.map(|path| {
        let file = folder.join(path.get_ref());
        if file.exists()
            && let Err(what) = trusted(&file)
        {
            problems.push(at.problem("database.password_file", &path.span(), what));
        }
        file
    });
    Database::Postgres(Postgres {
        at: at.place(&url.span()),
        url: url.into_inner(),
        password_file,
        ca_file: ca_file.map(|(path, _)| path),
    })
}

/// The setting is named beside it, so the text begins with what is wrong.
fn words(error: StoreError) -> String {
    match error {
        StoreError::Address(why) => why,
        other => other.to_string(),
    }
}

fn read_password(path: &Path) -> Result<SecretString, String> {
    let file = trusted(path)?;
    let mut content = Zeroizing::new(Vec::new());
    file.take(PASSWORD_LIMIT + 1)
        .read_to_end(&mut content)
        .map_err(|error| format!("{} can't be read: {error}", path.display()))?;
    let text = std::str::from_utf8(&content).map_err(|_| format!("{} is not text", path.display()))?;
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() || line.contains('\n') || content.len() as u64 > PASSWORD_LIMIT {
        return Err(format!("{} does not hold a password as its one line", path.display()));
    }
    Ok(line.into())
}

/// Opens a file that only its owner can read.
fn trusted(path: &Path) -> Result<File, String> {
    let shown = path.display();
    let cannot = |error: std::io::Error| format!("{shown} can't be read: {error}");
    let named = fs::symlink_metadata(path).map_err(cannot)?;
    // Before the open, because opening a named pipe waits for a writer.
    if !named.is_file() {
        return Err(format!("{shown} is not a regular file; name the file itself"));
    }
    let file = File::open(path).map_err(cannot)?;
    let opened = file.metadata().map_err(cannot)?;
    if (opened.dev(), opened.ino()) != (named.dev(), named.ino()) {
        return Err(format!("{shown} was replaced while it was looked at; try again"));
    }
    if opened.mode() & 0o077 != 0 {
        return Err(format!("{shown} can be read by other users; run `chmod 600 {shown}`"));
    }
    Ok(file)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a secret store may hand the password over this way; it would be seen on a command line"
)]
fn variable() -> Result<Option<SecretString>, String> {
    match std::env::var_os(PASSWORD).filter(|value| !value.is_empty()) {
        None => Ok(None),
        Some(value) => {
            let text = Zeroizing::new(value.into_encoded_bytes());
            let text = std::str::from_utf8(&text).map_err(|_| format!("{PASSWORD} does not hold text"))?;
            Ok(Some(text.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use secrecy::ExposeSecret as _;

    use super::super::{Config, Overrides};
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        let file = Path::new("/etc/countersign/countersign.toml");
        Config::parse(file, text, &Overrides::default()).map_err(|problems| problems.to_string())
    }

    #[test]
    fn without_the_section_it_is_a_file_and_with_it_a_server() {
        assert!(matches!(parse("").unwrap().database, Database::Sqlite(path) if path.ends_with("countersign.db")));
        let text = "[database]\nurl = 'postgresql://cs@127.0.0.1/cs'\npassword_file = 'db.password'\n";
        let Database::Postgres(postgres) = parse(text).unwrap().database else { panic!("a server") };
        assert_eq!(postgres.url, "postgresql://cs@127.0.0.1/cs");
        assert_eq!(postgres.password_file.as_deref(), Some(Path::new("/etc/countersign/db.password")));
        let error = StoreError::Away { why: "nobody listens".to_owned() };
        let said = postgres.said(&error).to_string();
        assert!(said.starts_with("/etc/countersign/countersign.toml:2: `database.url`: "), "{said}");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line_and_no_password_is_repeated() {
        for (text, line, key, part) in [
            ("[database]\nurl = 'postgresql://cs:hunter2@db.example/cs'\n", 2, "database.url", "password"),
            ("[database]\nurl = 'postgresql://cs@db.example/cs?sslmode=prefer'\n", 2, "database.url", "verify-full"),
            ("[database]\nurl = 'mysql://cs@db.example/cs'\n", 2, "database.url", "postgresql://"),
            (
                "[database]\nurl = 'postgresql://cs@db.example/cs'\nca_file = 'none.pem'\n",
                3,
                "database.ca_file",
                "none.pem",
            ),
            ("[database]\nurl = 'postgresql://cs@localhost/cs'\npassword = 'hunter2'\n", 3, "database.password", ""),
            ("[store]\nsqlite = 'a.db'\n[database]\nurl = 'postgresql://cs@localhost/cs'\n", 3, "database", "sqlite"),
            ("[database]\n", 1, "", "url"),
        ] {
            let said = parse(text).unwrap_err();
            let begins = format!("/etc/countersign/countersign.toml:{line}: ");
            assert!(said.starts_with(&begins) && said.contains(key) && said.contains(part), "{text}: {said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
    }

    #[test]
    fn a_password_file_is_for_its_owner_alone() {
        let base = tempfile::tempdir().unwrap();
        let file = base.path().join("password");
        let write = |text: &str, mode| {
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        };
        write("hunter2\n", 0o600);
        assert_eq!(read_password(&file).unwrap().expose_secret(), "hunter2");
        write(" two words ", 0o400);
        assert_eq!(read_password(&file).unwrap().expose_secret(), " two words ");
        for text in ["", "\n", "one\ntwo\n", &"x".repeat(5_000)] {
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
            write(text, 0o600);
            let why = read_password(&file).unwrap_err();
            assert!(why.contains("one line") && !why.contains("two"), "{why}");
        }
        write("hunter2\n", 0o640);
        assert!(read_password(&file).unwrap_err().contains("chmod 600"));
        let link = base.path().join("link");
        symlink(&file, &link).unwrap();
        assert!(read_password(&link).unwrap_err().contains("regular file"));
    }
}
