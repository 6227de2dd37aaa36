//! Tells how far a call is while it runs. Nothing waits for it: a report that is lost is lost.

use std::future::Future;
use std::time::Duration;

use engine_core::command::Command;
use engine_core::event::{Envelope, Input, Report};
use engine_core::limits::{
    PROGRESS_BYTES_MAX, PROGRESS_EVERY_MS, PROGRESS_EVERY_PART, PROGRESS_REPORTS_MAX,
};
use engine_core::ports::EventQueue;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::debug;

use crate::redact::Redactor;

/// The call that is told of, and where to.
pub(crate) struct Reporter<'a> {
    /// Nobody listens without one.
    pub(crate) events: Option<&'a dyn EventQueue>,
    pub(crate) command: &'a Command,
    pub(crate) index: Option<u64>,
    pub(crate) started_ms: i64,
    pub(crate) worker: &'a str,
    pub(crate) redactor: &'a Redactor,
}

impl Reporter<'_> {
    /// Returns what `work` returns, and tells what `seen` says meanwhile; nothing is told afterwards.
    pub(crate) async fn beside<T>(
        &self,
        work: impl Future<Output = T>,
        mut seen: watch::Receiver<Value>,
    ) -> T {
        tokio::select! {
            biased;
            done = work => done,
            () = self.tell(&mut seen) => std::future::pending().await,
        }
    }

    /// That the call runs, once it does for a while; then every change, at a pace that slows down.
    async fn tell(&self, seen: &mut watch::Receiver<Value>) {
        let Some(events) = self.events else { return std::future::pending().await };
        let began = Instant::now();
        for number in 1..=PROGRESS_REPORTS_MAX {
            let least = Duration::from_millis(PROGRESS_EVERY_MS);
            sleep(least.max(began.elapsed() / PROGRESS_EVERY_PART)).await;
            if number > 1 && seen.changed().await.is_err() {
                break;
            }
            let data = self.fitting(&seen.borrow_and_update());
            if let Err(error) = events.send(&[self.envelope(number, data)]).await {
                debug!(%error, command.id = %self.command.id, "a report of progress is lost");
            }
        }
        std::future::pending::<()>().await;
    }

    fn envelope(&self, number: u32, data: Value) -> Envelope {
        let Self { command, index, .. } = self;
        let item = index.map(|index| format!(".{index}")).unwrap_or_default();
        let report = Report {
            command_id: command.id.clone(),
            attempt: command.attempt,
            index: *index,
            number,
            started_ms: self.started_ms,
            worker: self.worker.to_owned(),
            data,
        };
        Envelope {
            id: format!("{}.{}{item}:progress:{number}", command.id, command.attempt).into(),
            to: command.reply_to.clone(),
            input: Input::Progress(report),
        }
    }

    /// The report without secrets, or how large it was.
    fn fitting(&self, data: &Value) -> Value {
        let text = self.redactor.clean(data.to_string());
        if text.len() > PROGRESS_BYTES_MAX {
            return json!({"left_out_bytes": text.len()});
        }
        serde_json::from_str(&text).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use engine_core::ports::{PortError, PortErrorKind};

    use super::*;
    use crate::execute::tests::sample;

    /// Keeps what was sent, and when, in seconds; or takes nothing.
    struct Queue {
        is_down: bool,
        began: Instant,
        sent: Mutex<Vec<(u64, Report)>>,
    }

    impl Queue {
        fn new(is_down: bool) -> Self {
            Self { is_down, began: Instant::now(), sent: Mutex::default() }
        }
    }

    #[async_trait]
    impl EventQueue for Queue {
        async fn send(&self, envelopes: &[Envelope]) -> Result<(), PortError> {
            if self.is_down {
                return Err(PortError::new(PortErrorKind::Unavailable, "the queue is down"));
            }
            for envelope in envelopes {
                let Input::Progress(report) = &envelope.input else { panic!("a report") };
                let told = (self.began.elapsed().as_secs(), report.clone());
                self.sent.lock().unwrap().push(told);
            }
            Ok(())
        }
    }

    /// Runs a call of so many milliseconds that says something every 100 ms, unless that is null.
    async fn ran(queue: &Queue, lasts_ms: u64, says: impl Fn(u64) -> Value) -> Vec<(u64, Report)> {
        let (_, command) = sample();
        let mut redactor = Redactor::default();
        redactor.learn(&json!("s3cret"));
        let reporter = Reporter {
            events: Some(queue),
            command: &command,
            index: None,
            started_ms: 5,
            worker: "w",
            redactor: &redactor,
        };
        let (sender, seen) = watch::channel(Value::Null);
        let work = async move {
            let mut at_ms = 0;
            while at_ms < lasts_ms {
                sleep(Duration::from_millis(100)).await;
                at_ms += 100;
                let said = says(at_ms);
                if !said.is_null() {
                    sender.send_replace(said);
                }
            }
            lasts_ms
        };
        assert_eq!(reporter.beside(work, seen).await, lasts_ms);
        let count = queue.sent.lock().unwrap().len();
        sleep(Duration::from_hours(1)).await;
        let sent = queue.sent.lock().unwrap().clone();
        assert_eq!(sent.len(), count, "told after the end");
        sent
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_call_tells_nothing_and_a_longer_one_every_second() {
        for (lasts_ms, times) in [(0, 0), (900, 0), (1_100, 1), (5_500, 5)] {
            let sent = ran(&Queue::new(false), lasts_ms, |at_ms| json!({"ms": at_ms})).await;
            assert_eq!(sent.len(), times, "{lasts_ms} ms");
            for (place, (at_s, report)) in (1..).zip(&sent) {
                assert_eq!((*at_s, u64::from(report.number)), (place, place));
                assert_eq!((report.started_ms, report.worker.as_str()), (5, "w"));
                let newest_ms = report.data["ms"].as_u64().unwrap();
                assert!((900..=1_000).contains(&(newest_ms - (place - 1) * 1_000)), "{newest_ms}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_call_tells_most_at_its_beginning_and_never_too_often() {
        let sent = ran(&Queue::new(false), 890_000, |at_ms| json!(at_ms)).await;
        assert!((40..=PROGRESS_REPORTS_MAX as usize).contains(&sent.len()), "{}", sent.len());
        let times: Vec<u64> = sent.iter().map(|(at_s, _)| *at_s).collect();
        assert!(times.starts_with(&[1, 2, 3, 4, 5, 6, 7, 8, 9]), "{times:?}");
        assert!(times.windows(2).all(|two| two[0] < two[1]), "{times:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_call_tells_once_that_it_runs() {
        let sent = ran(&Queue::new(false), 60_000, |_| Value::Null).await;
        assert_eq!(sent.len(), 1);
        assert!(sent[0].1.data.is_null());
    }

    #[tokio::test(start_paused = true)]
    async fn a_report_has_a_size_and_no_secret() {
        let sent = ran(&Queue::new(false), 1_200, |_| json!({"at": "s3cret"})).await;
        assert_eq!(sent[0].1.data, json!({"at": "***"}));
        let sent = ran(&Queue::new(false), 1_200, |_| json!("x".repeat(5_000))).await;
        assert_eq!(sent[0].1.data, json!({"left_out_bytes": 5_002}));
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_that_is_down_stops_no_call() {
        assert!(ran(&Queue::new(true), 5_000, |at_ms| json!(at_ms)).await.is_empty());
    }
}
