//! A bare axum server: what HTTP and JSON cost when nothing is done with them.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Address and port; port 0 takes a free one, which the first line of output names
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

/// Serves until it is killed.
pub(crate) fn run(args: &Args) -> Result<()> {
    tokio::runtime::Runtime::new()?.block_on(async {
        let listener =
            TcpListener::bind(args.listen).await.with_context(|| format!("could not listen on {}", args.listen))?;
        println!("{}", json!({ "listening": listener.local_addr()? }));
        axum::serve(listener, router()).await?;
        Ok(())
    })
}

fn router() -> Router {
    Router::new().route("/", post(|Json(body): Json<Value>| async { Json(body) }))
}
