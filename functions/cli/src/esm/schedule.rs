//! A function that is called again and again.

use std::sync::Arc;
use std::time::Duration;

use adapters::clock::SystemClock;
use anyhow::anyhow;
use api::waiting::utc;
use bytes::Bytes;
use engine_core::limits::ESM_INVOCATION_MS_MAX;
use engine_core::ports::Clock as _;
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::functions::{Functions, Trouble};
use super::report::{Happening, Watch};
use super::signals::Signals;
use super::wanted::Schedule;

/// Calls the function until somebody says stop; the next call waits for the one before.
pub(super) async fn run(
    schedule: Schedule,
    functions: Functions,
    watch: Arc<dyn Watch>,
    mut signals: Signals,
) {
    let Schedule { every, function } = schedule;
    let mut ticks = interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while signals.unless_stopped(ticks.tick()).await.is_some() {
        let event = Bytes::from(event(&function, SystemClock.now_ms()).to_string());
        let deadline = Instant::now() + Duration::from_millis(ESM_INVOCATION_MS_MAX);
        let problem = match functions.invoke(&function, event, deadline).await {
            Ok(_answer) => None,
            Err(trouble @ Trouble::Unknown(_)) => {
                signals.broken(anyhow!(trouble.tell(&function)));
                return;
            }
            Err(trouble) => Some(trouble.tell(&function)),
        };
        watch.saw(&Happening::Scheduled { function: function.clone(), problem });
    }
}

/// The event that a rule with a rate posts.
fn event(function: &str, at_ms: i64) -> Value {
    let time = utc(at_ms);
    let seconds = time.split_once('.').map_or(time.as_str(), |(seconds, _)| seconds);
    json!({
        "version": "0",
        "id": format!("00000000-0000-0000-0000-{at_ms:012x}"),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": "000000000000",
        "time": format!("{}Z", seconds.trim_end_matches('Z')),
        "region": "us-east-1",
        "resources": [format!("arn:aws:events:us-east-1:000000000000:rule/{function}")],
        "detail": {},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheduled_event_has_the_form_of_eventbridge() {
        let event = event("sweeper", 1_584_039_838_123);
        assert_eq!(event["time"], "2020-03-12T19:03:58Z");
        assert_eq!(event["detail-type"], "Scheduled Event");
        assert_eq!(event["id"].as_str().map(str::len), Some(36));
        assert_eq!(event["resources"][0], "arn:aws:events:us-east-1:000000000000:rule/sweeper");
    }
}
