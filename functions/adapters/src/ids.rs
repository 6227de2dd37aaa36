//! Ids and secrets for what has no cause inside the engine.

use std::hash::{BuildHasher, RandomState};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use engine_core::ids::{ExecutionId, SNOWFLAKE_LOW_BITS, snowflake_floor};
use engine_core::ports::{Clock, IdGenerator, PortError, PortErrorKind};

/// Bits of the counter, the lowest of an id; the shard is above it, then the milliseconds.
const COUNTER_BITS: u32 = 17;
/// The counter of a millisecond starts in its lower half, so that it has room to count.
const COUNTER_START_MASK: i64 = (1 << (COUNTER_BITS - 1)) - 1;
/// Processes side by side are told apart by these bits of their number.
const SHARD_MASK: i64 = (1 << (SNOWFLAKE_LOW_BITS - COUNTER_BITS)) - 1;

/// Snowflakes: milliseconds since 2024, then a shard, then a counter.
///
/// Ascending within a process, also when the clock is set back. The shard comes from the process
/// id and the start of the counter from the operating system's random source: two processes give
/// the same id only if they share the shard and the start and are asked in the same millisecond.
pub struct SnowflakeIds {
    clock: Arc<dyn Clock>,
    low: i64,
    last: AtomicI64,
}

impl SnowflakeIds {
    /// Ids that follow `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let pid = process::id();
        // A RandomState is seeded by the operating system: chance without a crate for it.
        let chance = RandomState::new().hash_one(pid).cast_signed();
        let shard = i64::from(pid) & SHARD_MASK;
        let low = (shard << COUNTER_BITS) | (chance & COUNTER_START_MASK);
        Self { clock, low, last: AtomicI64::new(0) }
    }
}

impl IdGenerator for SnowflakeIds {
    fn execution_id(&self) -> ExecutionId {
        let fresh = snowflake_floor(self.clock.now_ms()) | self.low;
        let mut last = self.last.load(Ordering::Relaxed);
        loop {
            let next = fresh.max(last + 1);
            match self.last.compare_exchange_weak(last, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return ExecutionId(next),
                Err(seen) => last = seen,
            }
        }
    }

    fn nonce(&self) -> Result<u128, PortError> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| {
            let message = "the operating system's random source does not answer";
            PortError::caused(PortErrorKind::Unavailable, message, error)
        })?;
        Ok(u128::from_le_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::thread;

    use crate::clock::ManualClock;

    #[test]
    fn threads_never_draw_the_same_id_and_each_sees_them_ascend() {
        let ids = SnowflakeIds::new(Arc::new(ManualClock::new(1_704_067_200_000)));
        let draw = || (0..10_000).map(|_| ids.execution_id()).collect::<Vec<_>>();
        let drawn: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(draw)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(drawn.iter().all(|ids| ids.is_sorted_by(|a, b| a < b)));
        assert_eq!(drawn.concat().into_iter().collect::<BTreeSet<_>>().len(), 40_000);
    }

    #[test]
    fn secrets_differ() {
        let ids = SnowflakeIds::new(Arc::new(ManualClock::new(0)));
        let drawn: BTreeSet<u128> = (0..100).map(|_| ids.nonce().unwrap()).collect();
        assert_eq!(drawn.len(), 100);
    }

    #[test]
    fn ids_follow_the_clock_and_never_go_back_with_it() {
        let clock = Arc::new(ManualClock::new(1_800_000_000_000));
        let ids = SnowflakeIds::new(clock.clone());
        let first = ids.execution_id();
        assert_eq!(first.0 >> SNOWFLAKE_LOW_BITS, 1_800_000_000_000 - 1_704_067_200_000);
        clock.advance(-5_000);
        let second = ids.execution_id();
        assert_eq!(second.0, first.0 + 1);
        clock.advance(5_001);
        assert!(ids.execution_id() > second);
    }
}
