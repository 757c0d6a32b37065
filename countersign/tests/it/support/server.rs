//! A real server: `init`, then `serve`.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::{Api, Cs, Job, cs, has_tool, secret_of};

/// Of every administrator that the tests make.
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// A folder that `init` made, and perhaps the server in it.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) base: TempDir,
    pub(crate) secret: String,
}

impl Server {
    /// Sets up a folder with the administrator `root`.
    pub(crate) fn init() -> Option<Self> {
        Self::init_in(tempfile::tempdir().unwrap(), None)
    }

    /// The same below a folder that exists, with rules that the operator has written beforehand.
    pub(crate) fn init_in(base: TempDir, policy: Option<&str>) -> Option<Self> {
        if !has_tool("oathtool") {
            return None;
        }
        let dir = base.path().join("data");
        if let Some(policy) = policy {
            DirBuilder::new().mode(0o700).create(&dir).unwrap();
            std::fs::write(dir.join("policy.toml"), policy).unwrap();
        }
        let done = cs(["init", "--json", "--admin", "root", "--password-stdin", "--dir", dir.to_str().unwrap()])
            .stdin(format!("{PASSWORD}\n"))
            .run()
            .ok();
        let about = done.json();
        let secret = secret_of(about["otpauth"].as_str().unwrap());
        Some(Self { base, secret })
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.base.path().join("data")
    }

    pub(crate) fn serve(&self, wrapper: &[&str]) -> Cs {
        Cs::through(wrapper, ["serve", "--listen", "127.0.0.1:0", "--dir", self.dir().to_str().unwrap()])
    }

    /// Starts it and waits until it serves; with its address.
    #[track_caller]
    pub(crate) fn start(&self) -> (Job, String) {
        running(self.serve(&[]))
    }
}

/// A session of the administrator of a server that runs.
pub(crate) fn administrator(address: &str) -> Api {
    let api = Api::new(address);
    let reply = api.post("login", &serde_json::json!({"name": "root", "password": PASSWORD}));
    assert_eq!(reply.status, 200, "{reply:?}");
    api.with_token(reply.json()["token"].as_str().unwrap())
}

/// Starts a `serve` whose log is JSON, and waits until it says where it answers.
#[track_caller]
pub(crate) fn running(serve: Cs) -> (Job, String) {
    let mut job = serve.start();
    let line = job.says("\"serving\"");
    let event: Value = serde_json::from_str(&line).unwrap();
    let address = event["address"].as_str().unwrap().to_owned();
    (job, address)
}

/// Ends it as a supervisor does.
#[track_caller]
pub(crate) fn terminate(job: Job) -> super::Out {
    job.signal(Signal::SIGTERM);
    job.end()
}
