//! What a queue calls for each delivered command.

use engine_core::command::Command;
use engine_core::ports::{EventQueue, PortError};
use tokio::time::Instant;
use tracing::instrument;

use crate::execute::{Terms, Workbench, envelope, execute_within};

/// Executes a command until the worker `ends`, tells how far it is, and sends its answer.
///
/// Safe to repeat, as the answer's id is the same.
///
/// # Errors
/// Those of the event queue: the command then stays on its own queue.
#[instrument(skip_all, fields(command.id = %command.id, step.name = %command.step))]
pub async fn handle(
    bench: &Workbench,
    command: &Command,
    events: &dyn EventQueue,
    ends: Option<Instant>,
) -> Result<(), PortError> {
    let terms = Terms { events: Some(events), ends };
    let answer = execute_within(bench, command, terms).await;
    events.send(&[envelope(command, answer)]).await
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use engine_core::event::{Envelope, Input};
    use engine_core::ports::PortErrorKind;

    use super::*;
    use crate::execute::tests::sample;

    /// Takes envelopes, or none.
    struct Queue {
        is_down: bool,
        sent: Mutex<Vec<Envelope>>,
    }

    #[async_trait]
    impl EventQueue for Queue {
        async fn send(&self, envelopes: &[Envelope]) -> Result<(), PortError> {
            if self.is_down {
                return Err(PortError::new(PortErrorKind::Unavailable, "the queue is down"));
            }
            self.sent.lock().unwrap().extend_from_slice(envelopes);
            Ok(())
        }
    }

    #[tokio::test]
    async fn an_answer_is_sent_or_the_command_stays() {
        let (bench, command) = sample();
        for is_down in [false, true] {
            let queue = Queue { is_down, sent: Mutex::default() };
            assert_eq!(handle(&bench, &command, &queue, None).await.is_err(), is_down);
            let sent = queue.sent.into_inner().unwrap();
            assert_eq!(sent.len(), usize::from(!is_down));
            assert!(sent.iter().all(|envelope| matches!(envelope.input, Input::Answer(_))));
        }
    }
}
