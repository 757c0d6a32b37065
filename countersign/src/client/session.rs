//! Which server, as whom: from the options, the environment, and what the last login left.

use secrecy::SecretString;

use super::home::{Home, Session};
use super::http::Client;
use super::{demo, surroundings};
use crate::cli::Globals;
use crate::exit::Failure;

/// What every command starts from.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) globals: Globals,
    pub(super) home: Home,
    demo: Option<demo::Person>,
}

impl Context {
    pub(super) fn new(globals: Globals) -> anyhow::Result<Self> {
        if let Some(name) = &globals.as_person {
            let demo = demo::person(globals.demo_dir.as_deref(), name)?;
            return Ok(Self { home: Home::new(demo.home.clone()), demo: Some(demo), globals });
        }
        let dir = match &globals.home {
            Some(dir) => dir.clone(),
            None => surroundings::default_home()?,
        };
        Ok(Self { home: Home::new(dir), demo: None, globals })
    }

    /// A client without a session.
    pub(super) fn stranger(&self) -> anyhow::Result<Client> {
        let session = if self.named_server().is_some() { None } else { self.home.session()? };
        let server = self.named_server().map(str::to_owned).or(session.map(|session| session.server));
        let server = server
            .ok_or_else(|| Failure::new("no server is named").hint("give --server URL, or set COUNTERSIGN_SERVER"))?;
        Ok(Client::new(&server, self.globals.insecure_http)?.remembering(&self.home))
    }

    /// A client with the session of the last login; `--as` logs in by itself.
    pub(super) async fn client(&self) -> anyhow::Result<Client> {
        let client = self.stranger()?;
        let session = self.home.session()?.filter(|session| session.server == client.server());
        if let Some(demo) = &self.demo {
            return demo::client(demo, &self.home, client, session).await;
        }
        let session = session.ok_or_else(|| self.nobody(&client))?;
        if session.expires_at <= surroundings::now() {
            return Err(Failure::new(format!("the login at {} has ended", session.server))
                .hint("countersign login")
                .into());
        }
        Ok(client.with_token(session.token))
    }

    pub(super) fn json(&self) -> bool {
        self.globals.json
    }

    /// `--as` means the demo's own server, whatever the environment says.
    fn named_server(&self) -> Option<&str> {
        self.demo.as_ref().map(|demo| demo.url.as_str()).or(self.globals.server.as_deref())
    }

    /// A token goes to the server that gave it, and to no other.
    fn nobody(&self, client: &Client) -> Failure {
        let server = client.server();
        let hint = match self.home.session() {
            Ok(Some(session)) => format!("the login is at {}: countersign login --server {server}", session.server),
            _ => format!("countersign login --server {server}"),
        };
        Failure::new(format!("you are not logged in at {server}")).hint(hint)
    }
}

/// What a login gave, as it is kept.
pub(super) fn kept(server: String, token: SecretString, account: String, expires_at: jiff::Timestamp) -> Session {
    Session { server, token, account, expires_at }
}
