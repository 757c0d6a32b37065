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
use super::{logging, proposal, routes, wiring};
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
    let config = Config::load(&file, Overrides { listen, data: dir })?;
    refuse_demo(&config.data)?;
    if let Some(folder) = config.database.parent() {
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
    if !config.database.exists() {
        let hint = "make it with `countersign init --dir DIR --admin NAME`";
        return Err(Failure::new(format!("there is no database at {}", config.database.display())).hint(hint).into());
    }
    let master = config.master_key.load().await?;
    let store = wiring::open_store(&config.database).await?;
    if !is_bootstrapped(&store).await.map_err(wiring::words)? {
        let hint = "finish it with `countersign init --dir DIR --admin NAME`";
        return Err(Failure::new(format!("{} was never set up", config.database.display())).hint(hint).into());
    }
    let engine = wiring::start(store, &master, config.engine(node)).await?;
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
            let (engine, stop) = (engine.clone(), stop.clone());
            tasks.spawn(async move { engine.run_failed_logins(stop).await });
        });
        let sequencer = Background::start(&engine, |tasks, engine, stop| {
            let (engine, stop) = (engine.clone(), stop.clone());
            tasks.spawn(async move { engine.run_sequencer(stop).await });
        });
        let router = routes::router(&engine, Frame::new(&node));
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
            // In this order: what calls commit is still told, and what is told is still sequenced and signed.
            http.stop().await;
            work.stop().await;
            sequencer.stop().await;
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
