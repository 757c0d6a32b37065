//! Countersign: a second factor, or a second person, in front of dangerous operations. One program is server and client.

mod cli;
mod client;
mod exit;
mod qr;
mod server;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;
use tokio::runtime::Builder;

use cli::{
    Cli, Command, DEMO_DIR, DemoCodeArgs, DemoCommand, LedgerCommand, LedgerVerifyArgs, RestoreCli, RestoreCommand,
};

fn main() -> ExitCode {
    let Cli { globals, command } = Cli::parse();
    let json = globals.json;
    let done = match command {
        Command::Serve(args) => on_all_cores(server::serve(args)),
        Command::Demo(mut args) => {
            // `countersign --dir DIR demo` means the same as `countersign demo --dir DIR`.
            if let (Some(dir), true) = (globals.demo_dir, args.demo.dir == Path::new(DEMO_DIR)) {
                args.demo.dir = dir;
            }
            match args.command {
                Some(DemoCommand::Code { name }) => {
                    on_all_cores(server::demo_code(DemoCodeArgs { name, dir: args.demo.dir, json }))
                }
                None => {
                    args.demo.json = json;
                    on_all_cores(server::demo(args.demo))
                }
            }
        }
        Command::Init(mut args) => {
            args.json = json;
            on_all_cores(server::init(args))
        }
        Command::Config(mut args) => {
            args.json = json;
            on_all_cores(server::config(args))
        }
        Command::Backup(mut args) => {
            args.place.json = json;
            on_all_cores(server::backup(args))
        }
        Command::Restore(RestoreCli { command: Some(RestoreCommand::Accept { checkpoint, mut place }), .. }) => {
            place.json = json;
            on_all_cores(server::accept(checkpoint, place))
        }
        Command::Restore(mut args) => {
            args.place.json = json;
            on_all_cores(server::restore(args.file, args.place))
        }
        Command::Ledger(LedgerCommand::Verify { dir: Some(dir), checkpoints, log_key }) => {
            on_all_cores(server::ledger_verify(LedgerVerifyArgs { dir, checkpoints, log_key, json }))
        }
        command => on_this_thread(client::dispatch(globals, command)),
    };
    done.unwrap_or_else(|error| exit::report(&error))
}

fn on_all_cores(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

fn on_this_thread(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    Builder::new_current_thread().enable_all().build()?.block_on(work)
}
