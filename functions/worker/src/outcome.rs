//! How a call ended, in the size that an answer may have.

use std::fmt;

use engine_core::command::Command;
use engine_core::event::{Outcome, ToolFailure};
use engine_core::limits::{
    ANSWER_BYTES_MAX, ERROR_BYTES_MAX, INLINE_BYTES_MAX, OUTPUT_BYTES_MAX, RESULT_BYTES_MAX,
};
use engine_core::payload::{Blob, Payload};
use engine_core::ports::PayloadStore;
use serde_json::Value;

use crate::output::cut;
use crate::redact::Redactor;
use crate::render::unread;
use crate::tool::{Reaction, Success, ToolError};

/// Where a call stands in its playbook: every error says it.
pub(crate) struct Place<'a> {
    pub(crate) command: &'a Command,
    pub(crate) line: u32,
    /// Which of the step's tools: a task by its label, or the sink.
    pub(crate) part: Option<&'a str>,
    pub(crate) kind: &'a str,
    pub(crate) index: Option<u64>,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Command { step, playbook, attempt, .. } = self.command;
        write!(f, "step `{step}`, ")?;
        if let Some(part) = self.part {
            write!(f, "{part}, ")?;
        }
        if self.line > 0 {
            write!(f, "line {} of ", self.line)?;
        }
        write!(f, "`{}`, tool `{}`, attempt {attempt}", playbook.path, self.kind)?;
        match self.index {
            Some(index) => write!(f, ", iteration {index}"),
            None => Ok(()),
        }
    }
}

/// When a call ran.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    pub(crate) started_ms: i64,
    pub(crate) duration_ms: u64,
}

/// Makes the outcomes of one answer, which must all fit into it.
pub(crate) struct Outcomes<'a> {
    payloads: &'a dyn PayloadStore,
    inline_bytes_left: usize,
    text_bytes_max: usize,
}

impl<'a> Outcomes<'a> {
    /// For an answer of `calls` outcomes.
    pub(crate) fn new(payloads: &'a dyn PayloadStore, calls: u32) -> Self {
        let text_bytes_max = ANSWER_BYTES_MAX / usize::try_from(calls.max(1)).unwrap_or(usize::MAX);
        Self { payloads, inline_bytes_left: ANSWER_BYTES_MAX, text_bytes_max }
    }

    /// One outcome; secrets are gone from it, and its result is small or stored.
    pub(crate) async fn of(
        &mut self,
        ended: Result<Success, ToolError>,
        span: Span,
        place: &Place<'_>,
        redactor: &Redactor,
    ) -> Outcome {
        let (failure, left) = match ended {
            Ok(success) => (None, success),
            Err(error) => {
                let (failure, left) = error.into_failure();
                (Some(failure), left)
            }
        };
        let cleaned = redactor.clean_value(left.result);
        let (result, failure) = match (self.stored(cleaned, place).await, failure) {
            (Ok(result), failure) => (result, failure),
            // The tool's own error says more than one about what it left.
            (Err(_), Some(failure)) => (Payload::Inline(Value::Null), Some(failure)),
            (Err(error), None) => (Payload::Inline(Value::Null), Some(error.into_failure().0)),
        };
        Outcome {
            result,
            error: failure.map(|failure| self.shown(failure, place, redactor)),
            started_ms: span.started_ms,
            duration_ms: span.duration_ms,
            output: cut(redactor.clean(left.output), OUTPUT_BYTES_MAX.min(self.text_bytes_max)),
        }
    }

    /// The result itself if it is small and there is room, else its name in the payload store.
    async fn stored(&mut self, result: Value, place: &Place<'_>) -> Result<Payload, ToolError> {
        let bytes = serde_json::to_vec(&result).map_err(|error| {
            ToolError::new(
                Reaction::Rejected,
                "ResultError",
                format!("the result is no JSON: {error}"),
            )
        })?;
        if bytes.len() > RESULT_BYTES_MAX {
            let message = format!(
                "the result has {} MiB, and {} are allowed; store it in a file, bucket or table, \
                 and return where it is",
                bytes.len() >> 20,
                RESULT_BYTES_MAX >> 20
            );
            return Err(ToolError::new(Reaction::Rejected, "ResultError", message));
        }
        if bytes.len() <= INLINE_BYTES_MAX.min(self.inline_bytes_left) {
            self.inline_bytes_left -= bytes.len();
            return Ok(Payload::Inline(result));
        }
        let blob = Blob::new(place.command.reply_to.execution_id(), bytes);
        self.payloads.put(&blob).await.map_err(|error| unread(&error))?;
        Ok(Payload::Ref(blob.reference))
    }

    fn shown(&self, failure: ToolFailure, place: &Place<'_>, redactor: &Redactor) -> ToolFailure {
        let bytes_max = ERROR_BYTES_MAX.min(self.text_bytes_max);
        let clean = |text: String| cut(redactor.clean(text), bytes_max);
        ToolFailure {
            message: format!("{} ({place})", clean(failure.message)),
            traceback: failure.traceback.map(clean),
            kind: clean(failure.kind),
            ..failure
        }
    }
}
