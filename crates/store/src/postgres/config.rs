//! Where the server is, and what must hold before a password goes there.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::StoreError;

/// A PostgreSQL database. Beyond this machine it is reached over TLS alone, with the name and the chain of its certificate verified.
#[derive(Clone)]
pub struct PostgresConfig {
    pub(super) places: Vec<Place>,
    /// Without hosts and without the mode of TLS: these are in `places`. Holds the password.
    pub(super) session: Box<Config>,
    pub(super) tls: Option<MakeRustlsConnect>,
}

/// One server of those that may hold the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Socket(PathBuf),
    /// This machine, in the clear.
    Loopback(IpAddr, u16),
    Tls(String, u16),
}

/// What may stand after `?`. Nothing that weakens a session: `options` could switch off what makes a commit durable.
const KEYS: &[&str] = &["host", "port", "application_name"];

impl PostgresConfig {
    /// `url` is `postgresql://user@host:port/database`; a Unix socket's folder is a host with its slashes as `%2F`. Several hosts, with commas between
    /// them, are tried in turn until one takes writes. `ca_file` holds the certificates (PEM) of the authority that signed the server's; without it those
    /// of the system count.
    pub fn new(url: &str, password: Option<SecretString>, ca_file: Option<&Path>) -> Result<Self, StoreError> {
        let rest = url.strip_prefix("postgresql://").or_else(|| url.strip_prefix("postgres://"));
        let rest = rest.ok_or_else(|| refused("write it as postgresql://user@host:5432/database"))?;
        let user = rest.split(['/', '?']).next().and_then(|authority| authority.rsplit_once('@')).map(|(user, _)| user);
        // Nothing below may quote the address before this is known.
        if user.is_some_and(|user| user.contains(':')) || rest.matches('@').count() > 1 {
            return Err(refused(
                "it must hold no password, because it is printed; put the password into a file of its own",
            ));
        }
        let (wanted, url) = without_sslmode(url)?;
        let mut session: Config = url.parse().map_err(|error: tokio_postgres::Error| {
            let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            refused(&format!("{why}; write it as postgresql://user@host:5432/database"))
        })?;
        if session.get_user().is_none_or(str::is_empty) || session.get_dbname().is_none_or(str::is_empty) {
            return Err(refused("name the user and the database: postgresql://user@host:5432/database"));
        }
        let places = places(&session, wanted, ca_file.is_some())?;
        let encrypted = places.iter().any(|place| matches!(place, Place::Tls(..)));
        if ca_file.is_some() && !encrypted {
            return Err(refused("a Unix socket has no TLS, so leave the authority's file out"));
        }
        let tls = encrypted.then(|| tls(ca_file)).transpose()?;
        if let Some(password) = password {
            session.password(password.expose_secret());
        }
        if session.get_application_name().is_none() {
            session.application_name("countersign");
        }
        Ok(Self { places, session: Box::new(session), tls })
    }

    /// The same, in the session's mode for this place.
    pub(super) fn session_at(&self, place: &Place) -> Config {
        let mut session = (*self.session).clone();
        session.ssl_mode(if matches!(place, Place::Tls(..)) { SslMode::Require } else { SslMode::Disable });
        session
    }
}

impl fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresConfig")
            .field("places", &self.places)
            .field("user", &self.session.get_user())
            .field("database", &self.session.get_dbname())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "{}", path.display()),
            Self::Loopback(ip, port) => write!(f, "{}", std::net::SocketAddr::new(*ip, *port)),
            Self::Tls(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

/// What the address says of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// Nothing: TLS beyond this machine.
    Fitting,
    Plain,
    Verified,
}

/// Takes `sslmode` out, and refuses all other keys that are not known to be harmless.
fn without_sslmode(url: &str) -> Result<(Wanted, String), StoreError> {
    let Some((base, query)) = url.split_once('?') else {
        return Ok((Wanted::Fitting, url.to_owned()));
    };
    let (mut wanted, mut kept) = (Wanted::Fitting, Vec::new());
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some(("sslmode", "verify-full")) => wanted = Wanted::Verified,
            Some(("sslmode", "disable")) => wanted = Wanted::Plain,
            Some(("sslmode", _)) => {
                return Err(refused(
                    "this sslmode would talk to whoever answers; leave it out (or write sslmode=verify-full), and name the authority's file if the \
                    server's certificate is from one of your own",
                ));
            }
            Some(("password" | "passfile", _)) => {
                return Err(refused(
                    "it must hold no password, because it is printed; put the password into a file of its own",
                ));
            }
            Some((key, _)) if KEYS.contains(&key) => kept.push(pair),
            _ => {
                let key = pair.split('=').next().unwrap_or_default();
                return Err(refused(&format!("{key:?} can't be set here; only {} and sslmode can", KEYS.join(", "))));
            }
        }
    }
    let url = if kept.is_empty() { base.to_owned() } else { format!("{base}?{}", kept.join("&")) };
    Ok((wanted, url))
}

fn places(session: &Config, wanted: Wanted, own_authority: bool) -> Result<Vec<Place>, StoreError> {
    let (hosts, ports) = (session.get_hosts(), session.get_ports());
    if hosts.is_empty() {
        return Err(refused("name the host: postgresql://user@host:5432/database"));
    }
    let place = |(index, host): (usize, &Host)| {
        // One port for all, or one for each.
        let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
        let name = match host {
            Host::Unix(folder) if wanted == Wanted::Verified => {
                return Err(refused(&format!(
                    "{} is a Unix socket, which has no TLS; leave sslmode out",
                    folder.display()
                )));
            }
            Host::Unix(folder) => return Ok(Place::Socket(folder.join(format!(".s.PGSQL.{port}")))),
            Host::Tcp(name) => name,
        };
        match loopback(name) {
            Some(ip) if wanted == Wanted::Plain || (wanted == Wanted::Fitting && !own_authority) => {
                Ok(Place::Loopback(ip, port))
            }
            None if wanted == Wanted::Plain => Err(refused(&format!(
                "sslmode=disable would send all approvals to {name} in the clear; leave it out, only this machine can do without TLS"
            ))),
            _ => Ok(Place::Tls(name.clone(), port)),
        }
    };
    hosts.iter().enumerate().map(place).collect()
}

/// The address of this machine. "localhost" is not looked up: what a name server says must not decide whether a password is encrypted.
fn loopback(host: &str) -> Option<IpAddr> {
    match host.parse::<IpAddr>() {
        Ok(ip) => ip.to_canonical().is_loopback().then_some(ip),
        Err(_) => host.eq_ignore_ascii_case("localhost").then_some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
    }
}

fn tls(ca_file: Option<&Path>) -> Result<MakeRustlsConnect, StoreError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| StoreError::Unfit(error.to_string()))?;
    let config = if let Some(path) = ca_file {
        let unusable = |why: &dyn fmt::Display| {
            StoreError::Address(format!("{} holds no certificate of an authority in PEM: {why}", path.display()))
        };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unusable(&error))? {
            let certificate = certificate.map_err(|error| unusable(&error))?;
            roots.add(certificate).map_err(|error| unusable(&error))?;
        }
        if roots.is_empty() {
            return Err(unusable(&"it has none"));
        }
        builder.with_root_certificates(roots)
    } else {
        builder.with_platform_verifier().map_err(|error| StoreError::Unfit(error.to_string()))?
    };
    Ok(MakeRustlsConnect::new(config.with_no_client_auth()))
}

fn refused(why: &str) -> StoreError {
    StoreError::Address(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<Vec<Place>, StoreError> {
        PostgresConfig::new(url, None, None).map(|config| config.places)
    }

    fn why(url: &str) -> String {
        read(url).unwrap_err().to_string()
    }

    #[test]
    fn beyond_this_machine_there_is_tls_whatever_the_address_says() {
        let far = |port| Ok(vec![Place::Tls("db.example".to_owned(), port)]);
        assert_eq!(read("postgresql://me@db.example/cs"), far(5432));
        assert_eq!(read("postgres://me@db.example:6000/cs?sslmode=verify-full"), far(6000));
        for mode in ["prefer", "allow", "require", "verify-ca", "nonsense", "", "VERIFY-FULL"] {
            for host in ["db.example", "127.0.0.1"] {
                assert!(why(&format!("postgresql://me@{host}/cs?sslmode={mode}")).contains("verify-full"), "{mode}");
            }
        }
        for host in ["db.example", "192.0.2.1", "localhost.example", "[2001:db8::1]"] {
            assert!(why(&format!("postgresql://me@{host}/cs?sslmode=disable")).contains("in the clear"), "{host}");
        }
        assert!(why("postgresql://me@127.0.0.1,db.example/cs?sslmode=disable").contains("in the clear"));
    }

    #[test]
    fn this_machine_needs_none_and_may_have_it() {
        let near = |ip: &str, port| Ok(vec![Place::Loopback(ip.parse().unwrap(), port)]);
        assert_eq!(read("postgresql://me@localhost:6000/cs"), near("127.0.0.1", 6000));
        assert_eq!(read("postgresql://me@[::1]/cs?sslmode=disable"), near("::1", 5432));
        assert_eq!(
            read("postgresql://me@127.0.0.1/cs?sslmode=verify-full"),
            Ok(vec![Place::Tls("127.0.0.1".to_owned(), 5432)])
        );
        let socket = Ok(vec![Place::Socket("/run/postgresql/.s.PGSQL.5433".into())]);
        assert_eq!(read("postgresql://me@%2Frun%2Fpostgresql:5433/cs"), socket);
        assert_eq!(read("postgresql://me@/cs?host=/run/postgresql&port=5433"), socket);
        assert!(why("postgresql://me@%2Frun/cs?sslmode=verify-full").contains("Unix socket"));
    }

    #[test]
    fn a_password_in_the_address_is_refused_and_never_repeated() {
        for url in [
            "postgresql://me:hunter2@db.example/cs",
            "postgresql://me:hunter2@x@db.example/cs",
            "postgresql://me:hunter2@db.example:notaport/cs",
            "postgresql://me@db.example/cs?password=hunter2",
            "postgresql://me@db.example/cs?user=x:hunter2@y",
            "host=db.example password=hunter2",
            "postgresql://db.example/cs:hunter2@",
        ] {
            let why = why(url);
            assert!(!why.contains("hunter2"), "{why}");
        }
        assert!(why("postgresql://me:hunter2@db.example/cs").contains("password"));
        let config = PostgresConfig::new("postgresql://me@db.example/cs", Some("hunter2".into()), None).unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
        assert!(format!("{config:?}").contains("db.example"));
    }

    #[test]
    fn what_could_change_a_session_is_refused() {
        for key in
            ["options=-csynchronous_commit%3Doff", "%6fptions=x", "target_session_attrs=any", "hostaddr=1.2.3.4", "x"]
        {
            assert!(why(&format!("postgresql://me@db.example/cs?{key}")).contains("can't be set here"), "{key}");
        }
        for half in
            ["postgresql://db.example/cs", "postgresql://me@db.example", "postgresql://me@/cs", "mysql://me@x/y"]
        {
            assert!(why(half).contains("postgresql://user@host"), "{half}");
        }
    }
}
