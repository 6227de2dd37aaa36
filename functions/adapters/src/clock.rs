//! The time, and waiting for it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use engine_core::ports::Clock;
use tokio::sync::watch;

/// A clock that can be waited for.
#[async_trait]
pub trait Timer: Clock {
    /// Returns when the clock shows `at_ms` (Unix milliseconds) or later.
    async fn until(&self, at_ms: i64);
}

/// The clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        // A machine whose clock stands before 1970 has the time 0.
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
    }
}

#[async_trait]
impl Timer for SystemClock {
    async fn until(&self, at_ms: i64) {
        loop {
            // The machine's clock may be set while we sleep, so ask again.
            match u64::try_from(at_ms.saturating_sub(self.now_ms())) {
                Ok(wait_ms) if wait_ms > 0 => {
                    tokio::time::sleep(Duration::from_millis(wait_ms)).await;
                }
                _ => return,
            }
        }
    }
}

/// A clock that a test moves.
#[derive(Debug)]
pub struct ManualClock {
    now_ms: watch::Sender<i64>,
}

impl ManualClock {
    /// A clock that shows `now_ms` until it is moved.
    #[must_use]
    pub fn new(now_ms: i64) -> Self {
        Self { now_ms: watch::Sender::new(now_ms) }
    }

    /// Moves on by `ms` and wakes whoever waits for a time up to then.
    pub fn advance(&self, ms: i64) {
        self.now_ms.send_modify(|now_ms| *now_ms += ms);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        *self.now_ms.borrow()
    }
}

#[async_trait]
impl Timer for ManualClock {
    async fn until(&self, at_ms: i64) {
        // It fails only if the sender is gone, and the sender is `self`.
        let _ = self.now_ms.subscribe().wait_for(|now_ms| *now_ms >= at_ms).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn whoever_waits_is_woken_when_the_time_has_come() {
        let clock = Arc::new(ManualClock::new(1_000));
        clock.until(1_000).await;
        let waiter = tokio::spawn({
            let clock = clock.clone();
            async move {
                clock.until(1_500).await;
                clock.now_ms()
            }
        });
        clock.advance(499);
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        clock.advance(1);
        assert_eq!(waiter.await.unwrap(), 1_500);
    }
}
