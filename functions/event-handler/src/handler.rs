//! The batch semantics of a FIFO queue: a group never overtakes itself.

use std::collections::BTreeMap;

use engine_core::driver::{Delivery, Driver, DriverError, Handled};
use engine_core::ids::AggregateKey;
use engine_core::limits::BATCH_INPUTS_MAX;
use tracing::{debug, error};

/// Handles a batch of any aggregates, and returns the indexes that must be delivered again, ascending.
///
/// Inputs of one aggregate are folded together, in their order. Where folding fails, what failed *and
/// everything behind it of the same aggregate* is returned: the partial batch response of SQS.
///
/// Source: AWS Lambda developer guide, "Handling errors for an SQS event source".
pub async fn handle_batch(driver: &Driver, deliveries: Vec<Delivery>) -> Vec<usize> {
    let mut groups: BTreeMap<AggregateKey, Vec<(usize, Delivery)>> = BTreeMap::new();
    for (index, delivery) in deliveries.into_iter().enumerate() {
        groups.entry(delivery.envelope.to.clone()).or_default().push((index, delivery));
    }
    let mut failed = Vec::new();
    for group in groups.into_values() {
        let (indexes, group): (Vec<usize>, Vec<Delivery>) = group.into_iter().unzip();
        let folded = fold(driver, &group).await;
        failed.extend(&indexes[folded..]);
    }
    failed.sort_unstable();
    failed
}

/// Folds deliveries of one aggregate; how many of them, from the first on, are done with.
async fn fold(driver: &Driver, group: &[Delivery]) -> usize {
    let mut folded = 0;
    for chunk in group.chunks(BATCH_INPUTS_MAX) {
        if handle_group(driver, chunk).await.is_err() {
            break;
        }
        folded += chunk.len();
    }
    folded
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
