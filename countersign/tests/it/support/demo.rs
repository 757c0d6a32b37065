//! A demo of its own for each test.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::{Api, Cs, Job, Out, code_of, cs, has_tool, secret_of, until};

/// A demo's server, its people and their commands.
#[derive(Debug)]
pub(crate) struct Demo {
    pub(crate) base: TempDir,
    pub(crate) about: Value,
    pub(crate) job: Job,
}

/// A request of alice's that bob has countersigned.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) id: String,
    pub(crate) run: Out,
}

impl Demo {
    /// `None`, and a word on stderr, without the program that makes codes.
    pub(crate) fn start() -> Option<Self> {
        if !has_tool("oathtool") {
            return None;
        }
        let base = tempfile::tempdir().unwrap();
        let (job, about) = serve(&base.path().join("demo"), &[]);
        Some(Self { base, about, job })
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.base.path().join("demo")
    }

    /// A file beside the demo, for what a test needs.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.base.path().join(name)
    }

    pub(crate) fn url(&self) -> String {
        self.about["url"].as_str().unwrap().to_owned()
    }

    /// `127.0.0.1:PORT`
    pub(crate) fn address(&self) -> String {
        self.url().strip_prefix("http://").unwrap().to_owned()
    }

    pub(crate) fn person(&self, name: &str) -> Value {
        let people = self.about["people"].as_array().unwrap();
        people.iter().find(|person| person["name"] == name).unwrap().clone()
    }

    pub(crate) fn password(&self, name: &str) -> String {
        self.person(name)["password"].as_str().unwrap().to_owned()
    }

    pub(crate) fn secret(&self, name: &str) -> String {
        secret_of(self.person(name)["otpauth"].as_str().unwrap())
    }

    pub(crate) fn code(&self, name: &str) -> String {
        code_of(&self.secret(name))
    }

    /// A command as one of the people.
    pub(crate) fn by<A: AsRef<OsStr>>(&self, name: &str, args: impl IntoIterator<Item = A>) -> Cs {
        let mut all: Vec<OsString> = vec!["--as".into(), name.into()];
        all.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        cs(all).env("COUNTERSIGN_DEMO", self.dir()).folder(self.base.path())
    }

    /// `run` of alice, up to the moment at which it waits; with its request's id.
    #[track_caller]
    pub(crate) fn waiting<A: AsRef<OsStr>>(&self, command: impl IntoIterator<Item = A>) -> (Job, String) {
        let mut args: Vec<OsString> = ["run", "--reason", "testing the whole", "--"].map(Into::into).to_vec();
        args.extend(command.into_iter().map(|arg| arg.as_ref().to_owned()));
        let mut job = self.by("alice", args).start();
        let id = asked(&mut job);
        job.says(" · ends ");
        (job, id)
    }

    /// `approve` with a code that counts.
    #[track_caller]
    pub(crate) fn approve(&self, name: &str, id: &str) -> Out {
        let code = self.code(name);
        self.by(name, ["approve", id, "--code-stdin"]).stdin(format!("{code}\n")).run().ok()
    }

    /// A whole one: asked by alice, countersigned by bob, run.
    #[track_caller]
    pub(crate) fn granted<A: AsRef<OsStr>>(&self, command: impl IntoIterator<Item = A>) -> Grant {
        let (job, id) = self.waiting(command);
        self.approve("bob", &id);
        Grant { id, run: job.end() }
    }

    /// The receipt of a request, as a file.
    #[track_caller]
    pub(crate) fn receipt(&self, id: &str, name: &str) -> PathBuf {
        let file = self.file(name);
        self.by("alice", [OsStr::new("show"), OsStr::new(id), OsStr::new("--receipt"), file.as_os_str()]).run().ok();
        file
    }

    /// A policy becomes the one in force, as the administrator's operation.
    #[track_caller]
    pub(crate) fn apply(&self, policy: &str) {
        let file = self.file("applied.toml");
        std::fs::write(&file, policy).unwrap();
        self.administer(["policy", "apply", file.to_str().unwrap()]);
    }

    /// A change by the administrator, with a code.
    #[track_caller]
    pub(crate) fn administer<const N: usize>(&self, args: [&str; N]) -> Out {
        let args = args.into_iter().chain(["--reason", "as the test wants it", "--code-stdin"]);
        self.by("admin", args).stdin(format!("{}\n", self.code("admin"))).run().ok()
    }

    /// The request as somebody sees it.
    #[track_caller]
    pub(crate) fn view(&self, name: &str, id: &str) -> Value {
        self.by(name, ["show", id, "--json"]).run().ok().json()
    }

    /// The API with a session of somebody's.
    pub(crate) fn api(&self, name: &str) -> Api {
        let api = Api::new(&self.address());
        let body = serde_json::json!({"name": name, "password": self.password(name)});
        let reply = api.post("login", &body);
        assert_eq!(reply.status, 200, "{reply:?}");
        api.with_token(reply.json()["token"].as_str().unwrap())
    }

    /// The client's key of the log, which a verifier elsewhere would be told.
    pub(crate) fn log_key(&self) -> String {
        let reply = self.api("bob").get("log");
        reply.json()["vkey"].as_str().unwrap().to_owned()
    }

    /// Ends the server as an operator does.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        let stopped = Job::start(std::process::Command::new("true"));
        let running = std::mem::replace(&mut self.job, stopped);
        running.signal(Signal::SIGTERM);
        running.end().ok();
    }

    /// Starts it again, after [`Demo::stop`], on another port.
    pub(crate) fn start_again(&mut self) {
        (self.job, self.about) = serve(&self.dir(), &[]);
    }
}

/// The id that a waiting command has told.
#[track_caller]
pub(crate) fn asked(job: &mut Job) -> String {
    let line = job.says("request ");
    let rest = line.split_once("request ").unwrap().1;
    rest.split(|c: char| c == ':' || c.is_whitespace()).next().unwrap().to_owned()
}

fn serve(dir: &Path, wrapper: &[&str]) -> (Job, Value) {
    let args = ["demo", "--json", "--listen", "127.0.0.1:0", "--dir"].map(OsStr::new);
    let mut job = Cs::through(wrapper, args.into_iter().chain([dir.as_os_str()])).start();
    let line = until("the demo's first line", || {
        let text = job.stdout();
        assert!(job.is_running() || text.contains('\n'), "{}", job.stderr());
        text.split_once('\n').map(|(line, _)| line.to_owned())
    });
    (job, serde_json::from_str(&line).unwrap())
}
