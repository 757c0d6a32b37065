//! `serve`: the service from its first to its last moment.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use countersign_engine::{Engine, is_bootstrapped};
use countersign_kit::{Frame, Limits};
use countersign_store::Fatal;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::config::{self, Config, Overrides};
use super::{logging, metrics, proposal, routes, sinks, wiring};
use crate::cli::ServeArgs;
use crate::exit::Failure;

/// `EX_SOFTWARE`: the disk failed under us. A supervisor starts the process again, and it answers from what is on disk.
const FATAL: i32 = 70;

pub(crate) async fn serve(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let ServeArgs { config, dir, listen } = args;
    let file = config::default_file(config, dir.as_deref());
    if let Some(folder) = file.parent() {
        refuse_demo(folder)?;
    }
    let config = Config::load(&file, &Overrides { listen, data: dir })?;
    refuse_demo(&config.data)?;
    if let Some(folder) = config.database.file().and_then(Path::parent) {
        refuse_demo(folder)?;
    }
    logging::begin(config.log_format, config.log_level.into())?;
    for weakened in config.weakened() {
        tracing::warn!(file = %config.file.display(), "weakened: {weakened}");
    }
    let node = wiring::node()?;
    let engine = open(&config, &node).await?;
    let listener = wiring::listen(config.listen).await?;
    let address = listener.local_addr()?;
    let service = Service { engine, listener, node, policy: config.policy };
    service
        .run(async || {
            tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "serving");
            Ok(())
        })
        .await
}

async fn open(config: &Config, node: &str) -> anyhow::Result<Engine> {
    if let Some(file) = config.database.file().filter(|file| !file.exists()) {
        let hint = "make it with `countersign init --dir DIR --admin NAME`";
        return Err(Failure::new(format!("there is no database at {}", file.display())).hint(hint).into());
    }
    let master = config.master_key.load().await?;
    let store = wiring::open_database(&config.database).await?;
    if !is_bootstrapped(&store).await.map_err(wiring::words)? {
        let hint = "finish it with `countersign init --dir DIR --admin NAME`";
        return Err(Failure::new(format!("{} was never set up", config.database)).hint(hint).into());
    }
    let sinks = sinks::open(&config.file, &config.sinks)?;
    let engine = wiring::start_with(store, &master, config.engine(node), sinks).await?;
    let info = engine.log_info().await.map_err(wiring::words)?;
    let same =
        |name: &String| countersign_ledger::log_origin(name, info.epoch).is_ok_and(|origin| origin == info.origin);
    if let Some(name) = config.name.as_ref().filter(|name| !same(name)) {
        let what = format!("{}: `name` is {name}, but this database is the log {}", config.file.display(), info.origin);
        return Err(Failure::new(what)
            .hint("a log keeps its name for ever, because receipts carry it: put the old one back")
            .into());
    }
    Ok(engine)
}

/// The passwords of a demo lie in a file; nothing real may depend on them.
fn refuse_demo(folder: &Path) -> anyhow::Result<()> {
    if folder.join(config::DEMO).exists() {
        let hint =
            "make a server of its own with `countersign init --dir DIR --admin NAME`; it may take over the policy";
        return Err(Failure::new(format!("{} is the folder of a demo", folder.display())).hint(hint).into());
    }
    Ok(())
}

/// An engine, the address that it answers on, and what belongs to its life.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) engine: Engine,
    pub(super) listener: TcpListener,
    pub(super) node: String,
    pub(super) policy: PathBuf,
}

impl Service {
    /// Serves until SIGTERM or SIGINT; `ready` runs once calls are taken.
    pub(super) async fn run(self, ready: impl AsyncFnOnce() -> anyhow::Result<()>) -> anyhow::Result<ExitCode> {
        let Self { engine, listener, node, policy } = self;
        let mut signals = Signals::new()?;
        let work = Background::start(&engine, |tasks, engine, stop| {
            tasks.spawn({
                let (engine, stop) = (engine.clone(), stop.clone());
                async move { engine.run_timers(stop).await }
            });
            tasks.spawn({
                let (engine, stop) = (engine.clone(), stop.clone());
                async move { engine.run_outbox(stop).await }
            });
            tasks.spawn({
                let (engine, stop) = (engine.clone(), stop.clone());
                async move { engine.run_watch(stop).await }
            });
            tasks.spawn({
                let (engine, stop) = (engine.clone(), stop.clone());
                async move { engine.run_follower(stop).await }
            });
            tasks.spawn(metrics::run(engine.metrics().clone(), stop.clone()));
            let (engine, stop) = (engine.clone(), stop.clone());
            tasks.spawn(async move { engine.run_failed_logins(stop).await });
        });
        let sequencer = Background::start(&engine, |tasks, engine, stop| {
            let (engine, stop) = (engine.clone(), stop.clone());
            tasks.spawn(async move { engine.run_sequencer(stop).await });
        });
        let sinks = Background::start(&engine, |tasks, engine, stop| {
            let (engine, stop) = (engine.clone(), stop.clone());
            tasks.spawn(async move { engine.run_sinks(stop).await });
        });
        let router = routes::router(&engine, Frame::new(&node).counting(engine.metrics().clone()));
        let http = Background::start(&engine, |tasks, _, stop| {
            tasks.spawn(countersign_kit::serve(listener, router, Limits::default(), stop.clone()));
        });
        let store = engine.store().clone();
        let life = async {
            ready().await?;
            proposal::propose(&engine, &policy).await;
            loop {
                tokio::select! {
                    _ = signals.terminate.recv() => break,
                    _ = signals.interrupt.recv() => break,
                    _ = signals.hangup.recv() => {
                        tracing::info!("reading the policy file again");
                        proposal::propose(&engine, &policy).await;
                    }
                    () = http.ended() => anyhow::bail!("the listener ended by itself"),
                }
            }
            tracing::info!("stopping");
            // In this order: what calls commit is still told, what is told is still sequenced and signed, and that is brought to the sinks.
            http.stop().await;
            work.stop().await;
            sequencer.stop().await;
            sinks.stop().await;
            tracing::info!("stopped");
            Ok(ExitCode::SUCCESS)
        };
        tokio::select! {
            ended = life => ended,
            fatal = store.fatal() => die(&fatal),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "nothing may be answered any more, and nothing can be flushed; waiting for tasks would answer"
)]
fn die(fatal: &Fatal) -> ! {
    tracing::error!(%fatal, "the database failed");
    std::process::exit(FATAL)
}

/// Tasks that end together.
#[derive(Debug)]
struct Background {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Background {
    fn start(engine: &Engine, spawn: impl FnOnce(&TaskTracker, &Engine, &CancellationToken)) -> Self {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        spawn(&tasks, engine, &stop);
        tasks.close();
        Self { tasks, stop }
    }

    async fn ended(&self) {
        self.tasks.wait().await;
    }

    async fn stop(self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

/// What the outside tells a running service.
#[derive(Debug)]
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use countersign_core::names::GroupName;
    use countersign_engine::{Bootstrap, Clock as _, NewPerson};
    use countersign_keys::SystemRandom;
    use countersign_keys::master::MasterKey;

    use super::*;
    use crate::server::clock::SystemClock;

    async fn set_up(dir: &Path, text: &str) -> Config {
        let master = MasterKey::generate(&SystemRandom).unwrap();
        master.create_file(&dir.join(config::MASTER_KEY)).unwrap();
        let person = NewPerson {
            name: "root".to_owned(),
            password_hash:
                "$argon2id$v=19$m=19456,t=2,p=1$ZXhhbXBsZXNhbHQxMjM0$M8Hk75gfxj+4aGhNNRc95ARqC4M76UifcddUCtoK7eE".into(),
            totp: None,
            groups: vec![GroupName::administrators()],
        };
        let bootstrap =
            Bootstrap { name: "log.example.com".into(), people: vec![person], policy: "version = 1\n".into() };
        let store = wiring::open_store(&dir.join(config::DATABASE)).await.unwrap();
        bootstrap.run(&store, &master, &SystemRandom, SystemClock.now()).await.unwrap();
        Config::parse(&dir.join(config::FILE), text, &Overrides::default()).unwrap()
    }

    #[tokio::test]
    async fn a_log_keeps_its_name() {
        let base = tempfile::tempdir().unwrap();
        let mut config = set_up(base.path(), "name = 'log.example.com'").await;
        assert!(open(&config, "node").await.is_ok());
        config.name = Some("other.example.com".to_owned());
        let error = open(&config, "node").await.unwrap_err();
        assert!(error.to_string().contains("log.example.com/1"), "{error}");
        config.name = None;
        assert!(open(&config, "node").await.is_ok());
    }

    #[tokio::test]
    async fn nothing_is_made_by_serve() {
        let base = tempfile::tempdir().unwrap();
        let config = Config::parse(&base.path().join(config::FILE), "", &Overrides::default()).unwrap();
        let error = open(&config, "node").await.unwrap_err();
        assert!(error.to_string().contains("there is no database"), "{error}");
        assert_eq!(std::fs::read_dir(base.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_demo_is_not_served() {
        let base = tempfile::tempdir().unwrap();
        std::fs::write(base.path().join(config::DEMO), "{}").unwrap();
        std::fs::write(base.path().join(config::FILE), "").unwrap();
        let error =
            serve(ServeArgs { config: None, dir: Some(base.path().to_owned()), listen: None }).await.unwrap_err();
        assert!(error.to_string().contains("demo"), "{error}");
        // Nor from a configuration that lies elsewhere and names it.
        let other = tempfile::tempdir().unwrap();
        let file = other.path().join("c.toml");
        std::fs::write(&file, format!("data = '{}'", base.path().display())).unwrap();
        let error = serve(ServeArgs { config: Some(file), dir: None, listen: None }).await.unwrap_err();
        assert!(error.to_string().contains("demo"), "{error}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_service_whose_start_fails_ends_with_that_error() {
        let base = tempfile::tempdir().unwrap();
        let config = set_up(base.path(), "").await;
        let engine = open(&config, "node").await.unwrap();
        let listener = wiring::listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let service = Service { engine, listener, node: "node".to_owned(), policy: config.policy };
        let error = service.run(async || anyhow::bail!("not ready")).await.unwrap_err();
        assert_eq!(error.to_string(), "not ready");
    }
}
