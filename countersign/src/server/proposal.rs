//! `policy.toml` is a proposal: the policy in force lives in the database, and a file that differs asks to replace it.

use std::path::Path;

use countersign_core::digest::Digest;
use countersign_engine::{Engine, EngineError};

/// Asks for the file's text to become the policy, if it is another one. What is wrong with it is told to the log; the accepted policy stays in force.
pub(super) async fn propose(engine: &Engine, file: &Path) {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            tracing::warn!(file = %file.display(), %error, "the policy file can't be read; the policy in force stays");
            return;
        }
    };
    let (active, _) = engine.policy();
    if Digest::sha256(text.as_bytes()) == active {
        tracing::info!(digest = %active, "the policy file is the policy in force");
        return;
    }
    match engine.propose_policy(&text).await {
        Ok(asked) => {
            let request = asked.into_view().request.id;
            tracing::warn!(
                file = %file.display(),
                %request,
                "the policy file differs from the policy in force, which stays until an administrator approves: `countersign approve {request}`"
            );
        }
        Err(EngineError::Internal(why)) => {
            tracing::error!(file = %file.display(), why, "the policy file could not be proposed");
        }
        Err(error) => {
            tracing::error!(file = %file.display(), %error, "the policy file is refused; the policy in force stays");
        }
    }
}
