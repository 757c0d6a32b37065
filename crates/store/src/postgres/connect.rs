//! Making a session: reaching the server, and refusing one that would not keep what it acknowledges.

use std::fmt::Display;
use std::io;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::tls::{MakeTlsConnect, NoTls, TlsConnect};
use tokio_postgres::{AsyncMessage, Client, SimpleQueryMessage};

use super::config::{Place, PostgresConfig};
use super::connection::PATIENCE;
use super::error::why;
use super::guard::Guarded;
use crate::error::StoreError;

/// What a session needs to be told: names mean our tables, and whatever the server waits for has an end. The keepalives let it notice that we are gone, so
/// that the locks of an unfinished commit go with us.
const SETTINGS: &str = "SET search_path = public, pg_temp; SET statement_timeout = '30s'; SET lock_timeout = '1500ms'; \
    SET idle_in_transaction_session_timeout = '10s'; SET client_min_messages = warning; SET TimeZone = 'UTC'; \
    SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3; SET tcp_user_timeout = 20000;";
/// `remote_apply` is more than `on`, all else is less.
const DURABLE: &str = "SELECT set_config('synchronous_commit', \
    CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false)";
/// The provider of the collation is a column since version 15 only.
const FACTS: &str = "SELECT current_setting('server_version_num'), current_setting('fsync'), current_setting('full_page_writes'), \
    CASE WHEN pg_is_in_recovery() THEN 'on' ELSE current_setting('transaction_read_only') END, \
    pg_encoding_to_char(encoding), datcollate, coalesce(to_jsonb(pg_database) ->> 'datlocprovider', 'c') \
    FROM pg_database WHERE datname = current_database()";

const OLDEST: u32 = 130_000;

/// Where the messages go that the server sends unasked.
pub(crate) type Notified = Box<dyn Fn() + Send>;

/// A session, and the task that moves its bytes. The session ends when the client is dropped.
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(super) driver: JoinHandle<()>,
}

/// Connects to the first place that takes writes.
pub(crate) async fn connect(
    config: &PostgresConfig,
    runtime: &Handle,
    notified: fn() -> Option<Notified>,
) -> Result<Session, StoreError> {
    connect_with(config, runtime, &notified).await
}

pub(super) async fn connect_with(
    config: &PostgresConfig,
    runtime: &Handle,
    notified: &(dyn Fn() -> Option<Notified> + Sync),
) -> Result<Session, StoreError> {
    let mut first = None;
    for place in &config.places {
        let attempt = async {
            let session = reach(config, place, runtime, notified()).await?;
            prepare(&session.client).await?;
            Ok(session)
        };
        let error = match timeout(PATIENCE, attempt).await {
            Ok(Ok(session)) => return Ok(session),
            Ok(Err(error)) => error,
            Err(_) => away(place, &"it did not answer in time"),
        };
        // The first complaint is the one to mend, unless a later server is there and unfit.
        if first.is_none() || matches!(error, StoreError::Unfit(_)) {
            first = Some(error);
        }
    }
    Err(first.unwrap_or(StoreError::Stopped))
}

async fn reach(
    config: &PostgresConfig,
    place: &Place,
    runtime: &Handle,
    notified: Option<Notified>,
) -> Result<Session, StoreError> {
    let lost = |error: io::Error| away(place, &error);
    let session = config.session_at(place);
    match place {
        Place::Socket(path) => {
            let stream = UnixStream::connect(path).await.map_err(lost)?;
            enter(place, stream, NoTls, &session, runtime, notified).await
        }
        Place::Loopback(ip, port) => {
            let stream = TcpStream::connect((*ip, *port)).await.map_err(lost)?;
            stream.set_nodelay(true).map_err(lost)?;
            enter(place, Guarded::new(stream, true), NoTls, &session, runtime, notified).await
        }
        Place::Tls(host, port) => {
            let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(lost)?;
            stream.set_nodelay(true).map_err(lost)?;
            let mut tls = config.tls.clone().ok_or(StoreError::Stopped)?;
            let tls = <_ as MakeTlsConnect<TcpStream>>::make_tls_connect(&mut tls, host)
                .map_err(|error| StoreError::Address(format!("{host} is no name for a certificate: {error}")))?;
            enter(place, stream, tls, &session, runtime, notified).await
        }
    }
}

async fn enter<S, T>(
    place: &Place,
    stream: S,
    tls: T,
    session: &tokio_postgres::Config,
    runtime: &Handle,
    notified: Option<Notified>,
) -> Result<Session, StoreError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: TlsConnect<S>,
    T::Stream: Send + 'static,
{
    let (client, mut connection) = session.connect_raw(stream, tls).await.map_err(|error| away(place, &why(&error)))?;
    // Ends by itself when the client is dropped.
    let driver = runtime.spawn(async move {
        loop {
            match std::future::poll_fn(|cx| connection.poll_message(cx)).await {
                Some(Ok(AsyncMessage::Notification(_))) => {
                    if let Some(notified) = &notified {
                        notified();
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    tracing::debug!(why = why(&error), "a connection to the database ended");
                    return;
                }
                None => return,
            }
        }
    });
    Ok(Session { client, driver })
}

async fn prepare(client: &Client) -> Result<(), StoreError> {
    let broken = |error: tokio_postgres::Error| StoreError::Away { why: why(&error) };
    let answer = client.simple_query(&format!("{SETTINGS} {DURABLE}; {FACTS}")).await.map_err(broken)?;
    let facts = answer.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let Some(row) = facts.last() else {
        return Err(StoreError::Unfit("it does not know itself; is it PostgreSQL?".to_owned()));
    };
    let fact = |index| row.try_get(index).ok().flatten().unwrap_or_default();
    judge(&Facts {
        version: fact(0).parse().unwrap_or(0),
        fsync: fact(1) == "on",
        full_pages: fact(2) == "on",
        read_only: fact(3) != "off",
        encoding: fact(4),
        collation: fact(5),
        provider: fact(6),
    })
}

/// What is to be known of a server before anything is trusted to it.
#[derive(Debug)]
struct Facts<'a> {
    version: u32,
    fsync: bool,
    full_pages: bool,
    read_only: bool,
    encoding: &'a str,
    collation: &'a str,
    provider: &'a str,
}

fn judge(facts: &Facts<'_>) -> Result<(), StoreError> {
    let unfit = |why: &str| Err(StoreError::Unfit(why.to_owned()));
    if facts.version < OLDEST {
        return unfit("its server is older than version 13; upgrade it");
    }
    if facts.read_only {
        return Err(StoreError::Away { why: "this server takes no writes (a standby, or read-only)".to_owned() });
    }
    if !facts.fsync || !facts.full_pages {
        return unfit(
            "its server runs with fsync or full_page_writes off, so what it acknowledges may be gone after a crash; switch both on in postgresql.conf",
        );
    }
    // Text sorts by its bytes: libc's C, or any collation of the built-in provider.
    let by_bytes = facts.provider == "b" || (facts.provider == "c" && ["C", "POSIX"].contains(&facts.collation));
    if facts.encoding != "UTF8" || !by_bytes {
        return Err(StoreError::Unfit(format!(
            "it has encoding {} and collation {}, where lists would come in another order than pages are cut; create one with CREATE DATABASE \
            countersign TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'",
            facts.encoding, facts.collation
        )));
    }
    Ok(())
}

fn away(place: &Place, why: &dyn Display) -> StoreError {
    StoreError::Away { why: format!("{place}: {why}") }
}
