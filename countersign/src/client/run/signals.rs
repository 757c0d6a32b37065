//! Signals that belong to the command.

use std::thread;

use anyhow::Context as _;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::exfiltrator::origin::WithOrigin;
use signal_hook::iterator::{Handle, SignalsInfo};
use signal_hook::low_level::siginfo::Cause;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const PASSED_ON: [i32; 4] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT];

#[derive(Debug)]
pub(super) struct Signals {
    arrived: UnboundedReceiver<Arrived>,
    handle: Handle,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Arrived {
    pub(super) signal: i32,
    /// The terminal's own signals go to the whole foreground group: the command has it already, and a second Ctrl-C makes many programs give up
    /// without tidying up.
    pub(super) by_terminal: bool,
}

impl Signals {
    pub(super) fn catch() -> anyhow::Result<Self> {
        let ignored = ignored();
        // What was ignored when this started (nohup) stays so, for the command too.
        let wanted = PASSED_ON.into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0);
        let mut signals = SignalsInfo::<WithOrigin>::new(wanted).context("signals cannot be caught")?;
        let handle = signals.handle();
        let (sender, arrived) = unbounded_channel();
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                for origin in signals.forever() {
                    let by_terminal = matches!(origin.cause, Cause::Kernel);
                    if sender.send(Arrived { signal: origin.signal, by_terminal }).is_err() {
                        break;
                    }
                }
            })
            .context("signals cannot be caught")?;
        Ok(Self { arrived, handle })
    }

    pub(super) async fn next(&mut self) -> Option<Arrived> {
        self.arrived.recv().await
    }

    /// A signal that came while there was nothing yet to pass it on to.
    pub(super) fn pending(&mut self) -> Option<i32> {
        self.arrived.try_recv().ok().map(|arrived| arrived.signal)
    }

    pub(super) fn stop(self) {
        self.handle.close();
    }
}

/// The mask of ignored signals, bit n-1 for signal n.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
