//! The HTTP API: every route on one screen.
//!
//! # Layout
//!
//! * `host`: what the API needs of the process that it runs in. `guard`: who may ask, how much, how long.
//! * `request`, `answer`, `problem`: what all routes share.
//! * `catalog`, `credentials`, `start`, `executions`, `events`, `callbacks`, `results`: the routes.
//! * `v2`: those of `NoETL`'s second event API, for clients that were written for it.

mod host;

mod answer;
mod guard;
mod problem;
mod request;

mod callbacks;
mod catalog;
mod credentials;
mod events;
mod executions;
mod results;
mod start;
mod v2;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{get, post};
use engine_core::limits::{API_BODY_BYTES_MAX, CALLBACK_BYTES_MAX};
use engine_core::load::Readers;
use engine_core::playbook::Playbook;
use engine_core::playbook::diagnostic::Diagnostic;
use engine_core::ports::{Catalog, IdGenerator};
use serde_json::json;

pub use self::guard::Door;
use self::guard::Guard;
pub use self::host::{Directory, Inputs, Keyring, Listed, Registered};
use self::problem::Problem;

/// Everything that the routes work with. Built once, at start.
#[derive(Clone)]
pub struct Api {
    /// The log and the large values.
    pub readers: Readers,
    /// Checked playbooks.
    pub catalog: Arc<dyn Catalog>,
    /// What a playbook asks for that nobody here would do, each an error.
    pub refused: fn(&Playbook) -> Vec<Diagnostic>,
    /// Registered versions and the list of executions.
    pub directory: Arc<dyn Directory>,
    /// Credentials for tools.
    pub credentials: Arc<dyn Keyring>,
    /// Where inputs go.
    pub inputs: Arc<dyn Inputs>,
    /// Ids of new executions.
    pub ids: Arc<dyn IdGenerator>,
}

/// All routes over `api`, for requests that come through `door`.
pub fn router(api: Api, door: Door) -> Router {
    let callback = post(callbacks::deliver).layer(DefaultBodyLimit::max(CALLBACK_BYTES_MAX));
    Router::new()
        .route("/health", get(health))
        .route("/api/health", get(health))
        .route("/api/credentials", get(credentials::list).post(credentials::add))
        .route("/api/credentials/{name}", get(credentials::one).delete(credentials::remove))
        .route("/api/catalog/register", post(catalog::register))
        .route("/api/catalog/list", get(catalog::list).post(catalog::list))
        .route("/api/execute", post(start::execute))
        .route("/api/run/playbook", post(start::execute))
        .route("/api/executions", get(executions::list))
        .route("/api/executions/{id}", get(executions::one))
        .route("/api/executions/{id}/steps", get(executions::steps))
        .route("/api/executions/{id}/status", get(executions::status))
        .route("/api/executions/{id}/events", get(events::after))
        .route("/api/executions/{id}/cancel", post(executions::cancel))
        .route("/api/executions/{id}/callbacks/{token}", callback)
        .route("/api/aggregate/loop/results", get(results::of_loop))
        .route("/api/v2/events", post(v2::event))
        .route("/api/v2/health", get(v2::health))
        .route("/api/v2/engine/register-playbook", post(v2::register))
        .fallback(async || Problem::not_found("there is no such route"))
        .method_not_allowed_fallback(async || Problem::method())
        .layer(DefaultBodyLimit::max(API_BODY_BYTES_MAX))
        .layer(from_fn_with_state(Guard::new(door), guard::check))
        .with_state(Arc::new(api))
}

async fn health() -> Response {
    answer::json(&json!({"status": "ok"}))
}
