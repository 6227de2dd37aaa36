//! The driver at its limits, over a store that never lets it win.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use adapters::clock::SystemClock;
use adapters::embedded::{Embedded, Options};
use async_trait::async_trait;
use engine_core::driver::{Delivery, Driver, DriverError};
use engine_core::event::{Entry, Envelope, Input, Start};
use engine_core::ids::{AggregateKey, ExecutionId};
use engine_core::limits::COMMIT_ATTEMPTS_MAX;
use engine_core::playbook::Playbook;
use engine_core::playbook::parse::parse;
use engine_core::ports::{PortError, PortErrorKind, Ports, StateStore, Tail};
use engine_core::project::event_span;
use tests::binary::playbook;

/// A real store whose every commit was somebody else's first.
struct Losing {
    inner: Arc<dyn StateStore>,
    commits: AtomicUsize,
}

#[async_trait]
impl StateStore for Losing {
    async fn tail(&self, key: &AggregateKey) -> Result<Option<Tail>, PortError> {
        self.inner.tail(key).await
    }

    async fn commit(&self, _: &Entry) -> Result<(), PortError> {
        self.commits.fetch_add(1, Ordering::Relaxed);
        Err(PortError::new(PortErrorKind::Conflict, "somebody else was first"))
    }

    async fn entries(
        &self,
        key: &AggregateKey,
        from: u64,
        limit: usize,
    ) -> Result<Vec<Entry>, PortError> {
        self.inner.entries(key, from, limit).await
    }

    async fn aggregates(&self, execution_id: ExecutionId) -> Result<Vec<AggregateKey>, PortError> {
        self.inner.aggregates(execution_id).await
    }
}

fn checked(text: &str) -> Result<Playbook, String> {
    let parsed = parse(text);
    parsed.playbook.ok_or_else(|| format!("{:?}", parsed.diagnostics))
}

#[tokio::test]
async fn a_driver_that_never_wins_gives_up_sends_nothing_and_leaves_the_input_queued() {
    let clock = Arc::new(SystemClock);
    let options = Options { parse: checked, expanded: event_span, clock };
    let embedded = Embedded::open(None, options).unwrap();
    let text = playbook("workflow:\n  - { step: start, tool: { kind: noop } }\n");
    let reference = embedded.catalog.register(&text).await.unwrap().reference;
    let ports = embedded.ports();
    let losing = Arc::new(Losing { inner: ports.store.clone(), commits: AtomicUsize::new(0) });
    let driver = Driver::new(Ports { store: losing.clone(), ..ports });

    let input = Input::Start(Start { playbook: reference, payload: serde_json::Map::new() });
    let to = AggregateKey::Execution(ExecutionId(1));
    let envelope = Envelope { id: "start".into(), to, input };
    let handled = driver.handle(&[Delivery { envelope, receive_count: 1 }]).await;

    assert!(matches!(handled, Err(DriverError::Contended(_))), "{handled:?}");
    assert_eq!(losing.commits.load(Ordering::Relaxed), COMMIT_ATTEMPTS_MAX);
    assert!(embedded.commands.kinds().is_empty(), "nothing is sent before a commit");
}
