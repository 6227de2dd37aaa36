//! The batch semantics of a FIFO queue: a group never overtakes itself.

use std::collections::BTreeMap;

use engine_core::driver::{Delivery, Driver, DriverError, Handled};
use engine_core::ids::AggregateKey;
use engine_core::limits::BATCH_INPUTS_MAX;
use engine_core::transition::RuleCount;
use futures_util::future::join_all;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, error, warn};

/// What became of a batch.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Folded {
    /// Indexes that must be delivered again, ascending.
    pub again: Vec<usize>,
    /// Inputs that changed nothing, of those that are done with.
    pub ignored: usize,
    /// How often rules were asked.
    pub rules: RuleCount,
}

/// Handles a batch of any aggregates until `deadline`; none for as long as it takes.
///
/// Inputs of one aggregate are folded together, in their order; aggregates side by side. Where folding
/// fails or is not done in time, what is left *and everything behind it of the same aggregate* comes again:
/// the partial batch response of SQS. To be stopped in the middle is as safe as to crash there.
///
/// Source: AWS Lambda developer guide, "Handling errors for an SQS event source".
pub async fn handle_batch(
    driver: &Driver,
    deliveries: Vec<Delivery>,
    deadline: Option<Instant>,
) -> Folded {
    let mut groups: BTreeMap<AggregateKey, Vec<(usize, Delivery)>> = BTreeMap::new();
    for (index, delivery) in deliveries.into_iter().enumerate() {
        groups.entry(delivery.envelope.to.clone()).or_default().push((index, delivery));
    }
    let folds = groups.into_values().map(async |group| {
        let (indexes, group): (Vec<usize>, Vec<Delivery>) = group.into_iter().unzip();
        let (done, folded) = fold(driver, &group, deadline).await;
        (indexes.into_iter().skip(done), folded)
    });
    let mut all = Folded::default();
    for (again, folded) in join_all(folds).await {
        all.again.extend(again);
        all.add(folded.ignored, folded.rules);
    }
    all.again.sort_unstable();
    all
}

impl Folded {
    fn add(&mut self, ignored: usize, rules: RuleCount) {
        self.ignored += ignored;
        self.rules.evaluated += rules.evaluated;
        self.rules.matched += rules.matched;
    }
}

/// Folds deliveries of one aggregate; how many of them, from the first on, are done with, and what they did.
async fn fold(driver: &Driver, group: &[Delivery], deadline: Option<Instant>) -> (usize, Folded) {
    let (mut done, mut folded) = (0, Folded::default());
    for chunk in group.chunks(BATCH_INPUTS_MAX) {
        match within(deadline, Box::pin(handle_group(driver, chunk))).await {
            Some(Ok(handled)) => {
                done += chunk.len();
                folded.add(handled.ignored.len(), handled.rules);
            }
            Some(Err(_logged)) => break,
            None => {
                let key = chunk.first().map(|one| one.envelope.to.to_string());
                warn!(
                    aggregate.key = key.as_deref().unwrap_or_default(),
                    input.count = chunk.len(),
                    "there is no time left for inputs; they stay on their queue"
                );
                break;
            }
        }
    }
    (done, folded)
}

/// What a future gives until a deadline; none if there is no time for it.
pub(crate) async fn within<F: Future>(deadline: Option<Instant>, work: F) -> Option<F::Output> {
    match deadline {
        None => Some(work.await),
        Some(deadline) if deadline <= Instant::now() => None,
        Some(deadline) => timeout_at(deadline, work).await.ok(),
    }
}

/// Folds up to [`BATCH_INPUTS_MAX`] deliveries of one aggregate into one entry; a failure is logged here.
///
/// # Errors
/// Those of [`Driver::handle`]: the deliveries must stay on their queue.
pub async fn handle_group(driver: &Driver, group: &[Delivery]) -> Result<Handled, DriverError> {
    let handled = driver.handle(group).await;
    let Some(first) = group.first() else { return handled };
    match &handled {
        Ok(Handled { seq, ignored, .. }) => debug!(
            execution.id = %first.envelope.to.execution_id(),
            aggregate.key = %first.envelope.to,
            entry.seq = seq,
            input.count = group.len(),
            input.ignored = ignored.len(),
            "inputs handled"
        ),
        Err(problem) => error!(
            error = problem as &dyn std::error::Error,
            execution.id = %first.envelope.to.execution_id(),
            aggregate.key = %first.envelope.to,
            input.id = %first.envelope.id,
            input.count = group.len(),
            input.receives = first.receive_count,
            "inputs not handled; they stay on their queue"
        ),
    }
    handled
}

#[cfg(test)]
mod tests;
