//! How the client speaks to the server: bounded in time and size, without redirects, and with a bearer token that goes to its own server only.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::home::Home;
use super::newest::{HEADER, Newest};
use super::wire::Problem;
use crate::exit::Failure;

const PREFIX: &str = "api/countersign/v1/";
const TIMEOUT: Duration = Duration::from_secs(30);
/// Of a call that follows something: a session has ended by then.
const LONGEST: Duration = Duration::from_hours(24);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A server closes connections that are silent for ten seconds. While somebody looks for a code nothing here notices that, and the code would be sent
/// to nobody.
const REUSE_TIME: Duration = Duration::from_secs(3);
/// A receipt is the largest body that there is.
const BODY_LIMIT: usize = countersign_ledger::RECEIPT_LIMIT;

/// Why a call did not give what it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// The call did not reach the server: nothing has happened.
    #[error("{server} cannot be reached: {why}")]
    Unreachable { server: String, why: String },
    /// The call may have reached it; the answer did not come back.
    #[error("{server} did not answer: {why}")]
    Cut { server: String, why: String },
    /// The server says no.
    #[error("{}", in_words(.0))]
    Problem(Box<Problem>),
    /// Whatever answered does not speak our protocol.
    #[error("{server} answered {status} with something that is not of Countersign")]
    Foreign { server: String, status: StatusCode },
}

impl ApiError {
    /// The slug of a problem of the server.
    pub(crate) fn slug(&self) -> Option<&str> {
        match self {
            Self::Problem(problem) => Some(&problem.slug),
            _ => None,
        }
    }

    /// Whether the same call may work a little later.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Cut { .. } => true,
            Self::Problem(problem) => {
                matches!(
                    problem.slug.as_str(),
                    "ledger-behind"
                        | "database-away"
                        | "sink-refused"
                        | "unknown-outcome"
                        | "unavailable"
                        | "too-many-waiting"
                )
            }
            Self::Foreign { status, .. } => {
                matches!(status.as_u16(), 502..=504)
            }
        }
    }

    pub(crate) fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Unreachable { .. } => "see that the server runs and that --server or $COUNTERSIGN_SERVER names it",
            Self::Cut { .. } => "what was sent may have taken effect: look before trying again",
            Self::Foreign { .. } => "is a proxy in between, or another program on that port?",
            Self::Problem(problem) => match problem.slug.as_str() {
                "unauthenticated" => "log in again: countersign login",
                "code-needed" => "the login needs a one-time code too",
                "grant-not-begun" => "wait for its begin: countersign wait",
                _ => return None,
            },
        };
        Some(hint.to_owned())
    }
}

/// A server, and perhaps a session there.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<SecretString>,
    newest: Option<Newest>,
}

impl Client {
    /// A client of the server at this URL. Passwords and codes do not travel in clear past this machine unless `insecure` says so.
    pub(crate) fn new(server: &str, insecure: bool) -> anyhow::Result<Self> {
        let base = server_url(server, insecure)?;
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .pool_idle_timeout(REUSE_TIME)
            .user_agent(concat!("countersign/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&base) {
            // A proxy would see what this machine says to itself.
            builder = builder.no_proxy();
        }
        Ok(Self { http: builder.build()?, base, token: None, newest: None })
    }

    /// Remembers in this folder how far the server's log had come, and tells the server with each call.
    pub(super) fn remembering(self, home: &Home) -> Self {
        let newest = Newest::of(home, &self.server());
        Self { newest, ..self }
    }

    pub(crate) fn with_token(self, token: SecretString) -> Self {
        Self { token: Some(token), ..self }
    }

    /// `https://host:port`, the same for each spelling of the server's URL.
    pub(crate) fn server(&self) -> String {
        self.base.origin().ascii_serialization()
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, &str)]) -> Result<T, ApiError> {
        self.json(self.call(Method::GET, path)?.query(query)).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &[&str], body: &impl Serialize) -> Result<T, ApiError> {
        self.json(self.call(Method::POST, path)?.json(body)).await
    }

    /// A call with a key under which the server recognises a repetition.
    pub(crate) async fn post_once<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &impl Serialize,
        key: Option<&str>,
    ) -> Result<T, ApiError> {
        let mut call = self.call(Method::POST, path)?.json(body);
        if let Some(key) = key {
            call = call.header("Idempotency-Key", key);
        }
        self.json(call).await
    }

    /// A call that is answered without a body.
    pub(crate) async fn tell(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&impl Serialize>,
    ) -> Result<(), ApiError> {
        let mut call = self.call(method, path)?;
        if let Some(body) = body {
            call = call.json(body);
        }
        self.send(call).await.map(|_body| ())
    }

    /// The same with its own time limit.
    pub(crate) async fn post_within<T: DeserializeOwned>(
        &self,
        limit: Duration,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<T, ApiError> {
        self.json(self.call(Method::POST, path)?.json(body).timeout(limit)).await
    }

    /// A call that the server holds until something happens, for `hold` at most.
    pub(crate) async fn hold<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        hold: Duration,
    ) -> Result<T, ApiError> {
        self.json(self.call(Method::GET, path)?.query(query).timeout(hold + TIMEOUT)).await
    }

    /// An answer whose body goes on until somebody ends it.
    pub(super) async fn stream(&self, path: &[&str], header: (&str, &str)) -> Result<Response, ApiError> {
        let call = self.call(Method::GET, path)?.header(header.0, header.1).timeout(LONGEST);
        let response = call.send().await.map_err(|error| self.failed(error))?;
        if let Some(newest) = &self.newest {
            newest.shown(response.headers());
        }
        if response.status().is_success() { Ok(response) } else { Err(self.refusal(response).await) }
    }

    /// A body as it is.
    pub(crate) async fn bytes(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Vec<u8>, ApiError> {
        self.send(self.call(Method::GET, path)?.query(query)).await
    }

    /// Something public below `/ledger/`, fetched without a token; `None` if it is not there.
    pub(crate) async fn ledger(&self, path: &str) -> Result<Option<Vec<u8>>, ApiError> {
        let url =
            self.base.join("ledger/").and_then(|ledger| ledger.join(path)).map_err(|error| self.misnamed(&error))?;
        let response = self.http.get(url).send().await.map_err(|error| self.failed(error))?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::OK => self.body(response).await.map(Some),
            status => Err(ApiError::Foreign { server: self.server(), status }),
        }
    }

    /// Segments are escaped one by one, so that an id from the command line cannot name another endpoint.
    fn call(&self, method: Method, path: &[&str]) -> Result<RequestBuilder, ApiError> {
        let mut url = self.base.join(PREFIX).map_err(|error| self.misnamed(&error))?;
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let mut call = self.http.request(method, url);
        if let Some(newest) = self.newest.as_ref().and_then(Newest::header) {
            call = call.header(HEADER, newest);
        }
        if let Some(token) = &self.token {
            let value = zeroize::Zeroizing::new(format!("Bearer {}", token.expose_secret()));
            if let Ok(mut value) = HeaderValue::from_str(&value) {
                value.set_sensitive(true);
                call = call.header(AUTHORIZATION, value);
            }
        }
        Ok(call)
    }

    async fn json<T: DeserializeOwned>(&self, call: RequestBuilder) -> Result<T, ApiError> {
        let body = self.send(call).await?;
        serde_json::from_slice(&body).map_err(|_| ApiError::Foreign { server: self.server(), status: StatusCode::OK })
    }

    async fn send(&self, call: RequestBuilder) -> Result<Vec<u8>, ApiError> {
        let response = call.send().await.map_err(|error| self.failed(error))?;
        if let Some(newest) = &self.newest {
            newest.shown(response.headers());
        }
        if response.status().is_success() { self.body(response).await } else { Err(self.refusal(response).await) }
    }

    async fn refusal(&self, response: Response) -> ApiError {
        let status = response.status();
        match self.body(response).await.map(|body| serde_json::from_slice::<Problem>(&body)) {
            Ok(Ok(problem)) if !problem.slug.is_empty() => ApiError::Problem(Box::new(problem)),
            Ok(_) => self.foreign(status),
            Err(error) => error,
        }
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, ApiError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failed(error))? {
            if body.len() + chunk.len() > BODY_LIMIT {
                return Err(ApiError::Foreign { server: self.server(), status: response.status() });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// Only while connecting is it certain that nothing was sent.
    pub(super) fn failed(&self, error: reqwest::Error) -> ApiError {
        let unsent = error.is_connect() || error.is_builder();
        let (server, why) = (self.server(), innermost(&error.without_url()));
        if unsent { ApiError::Unreachable { server, why } } else { ApiError::Cut { server, why } }
    }

    pub(super) fn foreign(&self, status: StatusCode) -> ApiError {
        ApiError::Foreign { server: self.server(), status }
    }

    fn misnamed(&self, error: &impl std::fmt::Display) -> ApiError {
        ApiError::Unreachable { server: self.server(), why: error.to_string() }
    }
}

fn server_url(server: &str, insecure: bool) -> Result<Url, Failure> {
    let wrong = |why: &str| {
        Failure::new(format!("{server} is no address of a server: {why}"))
            .hint("write it like https://countersign.example.org")
    };
    let url = Url::parse(server).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(wrong("it begins with https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Failure::new("the address of a server holds no user and no password")
            .hint("countersign login asks for them"));
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("it ends after the host or the port"));
    }
    if url.scheme() == "http" && !is_loopback(&url) && !insecure {
        return Err(Failure::new(format!("{server} would carry passwords and codes in clear over the network"))
            .hint("use https://, or give --insecure-http if something else protects the way"));
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.map_or(host == "localhost", |address| address.is_loopback())
}

/// The cause at the bottom is what tells people something: "Connection refused", "invalid peer certificate".
fn innermost(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "it took too long".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let words = cause.to_string();
    // The number says nothing to people that the words do not.
    words.split_once(" (os error").map_or(words.clone(), |(words, _)| words.to_owned())
}

fn in_words(problem: &Problem) -> String {
    let mut words = if problem.detail.is_empty() { problem.title.clone() } else { problem.detail.clone() };
    if let Some(at) = problem.retry_at {
        let _infallible = write!(words, "; try again at {}", super::surroundings::clock(at));
    }
    words.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_do_not_travel_in_clear() {
        for fine in [
            "https://a.example",
            "http://127.0.0.1:8220",
            "http://[::1]:8220",
            "http://localhost:1",
            "http://127.9.9.9/",
        ] {
            assert!(server_url(fine, false).is_ok(), "{fine}");
        }
        for bad in [
            "http://a.example",
            "http://10.0.0.1",
            "http://localhost.example",
            "http://127.0.0.1.example",
            "http://[::2]",
        ] {
            assert!(server_url(bad, false).is_err(), "{bad}");
            assert!(server_url(bad, true).is_ok(), "{bad}");
        }
    }

    #[test]
    fn an_address_is_an_address_only() {
        for bad in [
            "a.example",
            "ftp://a.example",
            "https://u:p@a.example",
            "https://a.example/x",
            "https://a.example/?q",
            "file:///x",
            "",
        ] {
            assert!(server_url(bad, true).is_err(), "{bad}");
        }
        let client = Client::new("HTTPS://A.example:443/", false).unwrap();
        assert_eq!(client.server(), "https://a.example");
    }

    #[test]
    fn an_id_cannot_name_another_endpoint() {
        let client = Client::new("http://127.0.0.1:1", false).unwrap();
        let call = client.call(Method::GET, &["requests", "../../x?y#z", "wait"]).unwrap().build().unwrap();
        assert_eq!(call.url().as_str(), "http://127.0.0.1:1/api/countersign/v1/requests/..%2F..%2Fx%3Fy%23z/wait");
        let call = client.call(Method::GET, &["requests", ".."]).unwrap().build().unwrap();
        assert_ne!(call.url().path(), "/api/countersign/v1/");
    }

    #[test]
    fn a_token_is_not_shown() {
        let client = Client::new("http://127.0.0.1:1", false).unwrap().with_token(SecretString::from("cs_secret"));
        let call = client.call(Method::GET, &["whoami"]).unwrap().build().unwrap();
        assert_eq!(call.headers()[AUTHORIZATION], "Bearer cs_secret");
        assert!(!format!("{client:?} {call:?}").contains("cs_secret"));
    }
}
