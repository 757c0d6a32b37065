//! `/policy`: the text in force, a check of another, and why it says what it says.

use axum::Json as Reply;
use axum::extract::State;
use countersign_core::canonical::Value;
use countersign_engine::Engine;
use countersign_kit::{Caller, Json, Problem, Routes};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::explanation::Explanation;
use crate::operation::operation;

pub(crate) fn routes(routes: Routes<Engine>) -> Routes<Engine> {
    routes.get("/policy", show).post("/policy/check", check).post("/policy/explain", explain)
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Policy {
    digest: String,
    text: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CheckBody {
    text: String,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Report {
    ok: bool,
    digest: String,
    /// Each with its line, its rule and what to do.
    errors: Vec<String>,
    warnings: Vec<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExplainBody {
    /// Whose operation; the caller's own if not given. Others are for administrators.
    #[serde(rename = "for")]
    name: Option<String>,
    action: String,
    target: String,
    #[schema(value_type = Option<Object>)]
    parameters: Option<Value>,
    reason: Option<String>,
}

/// The policy in force.
#[utoipa::path(get, path = "/api/countersign/v1/policy", tag = "policy", security(("bearer" = [])), responses((status = 200, body = Policy)))]
pub(crate) async fn show(State(engine): State<Engine>, _: Caller) -> Reply<Policy> {
    let (digest, text) = engine.policy();
    Reply(Policy { digest: digest.to_string(), text })
}

/// Whether a text could be applied, judged by the people that there are.
#[utoipa::path(post, path = "/api/countersign/v1/policy/check", tag = "policy", security(("bearer" = [])), request_body = CheckBody,
    responses((status = 200, body = Report), (status = 403, description = "not-permitted")))]
pub(crate) async fn check(
    State(engine): State<Engine>,
    Caller(principal): Caller,
    Json(body): Json<CheckBody>,
) -> Result<Reply<Report>, Problem> {
    let report = engine.check_policy(&principal, &body.text).await?;
    Ok(Reply(Report {
        ok: report.errors.is_empty(),
        digest: report.digest.to_string(),
        errors: report.errors,
        warnings: report.warnings,
    }))
}

/// The path to a decision, who could answer, and what is missing.
#[utoipa::path(post, path = "/api/countersign/v1/policy/explain", tag = "policy", security(("bearer" = [])), request_body = ExplainBody,
    responses((status = 200, body = Explanation), (status = 403, description = "not-permitted")))]
pub(crate) async fn explain(
    State(engine): State<Engine>,
    Caller(principal): Caller,
    Json(body): Json<ExplainBody>,
) -> Result<Reply<Explanation>, Problem> {
    let operation = operation(&body.action, body.target, body.parameters, None)?;
    let explained = engine.explain(&principal, body.name.as_deref(), &operation, body.reason.as_deref()).await?;
    Ok(Reply(explained.into()))
}
