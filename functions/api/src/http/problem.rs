//! What goes wrong, as a status and a JSON object.

use adapters::causes::chain;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use engine_core::playbook::diagnostic::{Diagnostic, Severity};
use engine_core::ports::{PortError, PortErrorKind};
use serde_json::json;

use super::answer;
use crate::view::ViewError;

/// `{"error": {"type", "message", ...}, "detail": message}`; clients of `NoETL` read `detail`.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    kind: &'static str,
    message: String,
    diagnostics: Vec<Diagnostic>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into(), diagnostics: Vec::new() }
    }

    /// The request is no request.
    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// The request can be read and makes no sense.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "InvalidInput", message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", message)
    }

    /// What is asked for has happened already, or cannot happen any more.
    pub(super) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "Conflict", message)
    }

    pub(super) fn method() -> Self {
        let message = "this route does not have that method";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
    }

    /// The same, but for what makes no sense: that has another status in another API.
    pub(super) fn where_unprocessable(self, status: StatusCode) -> Self {
        match self.status {
            StatusCode::UNPROCESSABLE_ENTITY => Self { status, ..self },
            _ => self,
        }
    }

    /// A playbook with errors; the message has all of them on one line.
    pub(super) fn playbook(what: &str, diagnostics: Vec<Diagnostic>) -> Self {
        let errors = diagnostics.iter().filter(|found| found.severity == Severity::Error);
        let errors: Vec<String> = errors.map(ToString::to_string).collect();
        let message = format!("{what}: {}", errors.join("; "));
        Self { diagnostics, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Playbook", message) }
    }
}

impl From<PortError> for Problem {
    fn from(error: PortError) -> Self {
        let (status, kind) = match error.kind {
            PortErrorKind::NotFound => (StatusCode::NOT_FOUND, "NotFound"),
            PortErrorKind::Corrupt => (StatusCode::INTERNAL_SERVER_ERROR, "Corrupt"),
            PortErrorKind::Conflict | PortErrorKind::Unavailable | PortErrorKind::Refused => {
                (StatusCode::SERVICE_UNAVAILABLE, "Unavailable")
            }
        };
        Self::new(status, kind, chain(&error))
    }
}

impl From<ViewError> for Problem {
    fn from(error: ViewError) -> Self {
        match error {
            ViewError::Port(error) => error.into(),
            ViewError::Write(_) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal", chain(&error))
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, kind, message, diagnostics } = self;
        if status.is_server_error() {
            tracing::warn!(status = status.as_u16(), "a request failed: {message}");
        }
        let mut error = json!({"type": kind, "message": message});
        if let (Some(error), false) = (error.as_object_mut(), diagnostics.is_empty()) {
            error.insert("diagnostics".to_owned(), json!(diagnostics));
        }
        let body = json!({"error": error, "detail": message});
        (status, answer::json(&body)).into_response()
    }
}
