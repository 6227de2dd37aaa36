//! Resources of one test, and the functions over them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use adapters::aws::Aws;
use adapters::aws::config::Config;
use adapters::aws::queue::{Received, Record};
use adapters::catalog::Registry as _;
use adapters::clock::{SystemClock, Timer};
use adapters::cloud::Cloud;
use adapters::lambda::{Function, Handler, Invocation};
use adapters::options::Options;
use adapters::telemetry::Metrics;
use api::lambda::ApiFunction;
use engine_core::ids::{AggregateKey, ExecutionId};
use engine_core::ports::{StateStore as _, Tail};
use engine_core::state::{ExecutionState, State};
use event_handler::lambda::dead::DeadLetters;
use event_handler::lambda::events::EventHandler;
use event_handler::lambda::sweep::Sweeper;
use serde_json::{Value, json};
use worker::lambda::Worker;
use worker::toolbox::Toolbox;

/// One step, and no tool that does anything.
pub(crate) const PLAYBOOK: &str = "apiVersion: noetl.io/v2
kind: Playbook
metadata:
  name: one
  path: tests/one
workflow:
  - step: start
    tool:
      kind: noop
";

/// An account with resources of its own.
pub(crate) struct Stack {
    pub(crate) name: String,
    config: Config,
    clock: Arc<dyn Timer>,
    /// The account, as the test itself sees it.
    pub(crate) aws: Aws,
}

/// A name that no other test has, in this run or another on the same emulator.
fn unique() -> String {
    static STACKS: AtomicU64 = AtomicU64::new(0);
    let number = STACKS.fetch_add(1, Ordering::Relaxed);
    // Chance of the operating system: an emulator that is given may outlive a process id.
    let chance = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), number);
    format!("functions-{}-{number}-{:08x}", std::process::id(), chance & 0xffff_ffff)
}

fn config(name: &str) -> Config {
    let emulator = std::env::var("NOETL_TEST_AWS")
        .unwrap_or_else(|_| panic!("NOETL_TEST_AWS is not set; run the tests with `make test`"));
    let queues = format!("{emulator}/000000000000/{name}");
    Config::from_lookup(|variable| {
        Some(match variable {
            "NOETL_STATE_TABLE" => format!("{name}-state"),
            "NOETL_CATALOG_TABLE" => format!("{name}-catalog"),
            "NOETL_CREDENTIALS_TABLE" => format!("{name}-credentials"),
            "NOETL_PAYLOADS_BUCKET" => format!("{name}-payloads"),
            "NOETL_EVENTS_QUEUE_URL" => format!("{queues}-events.fifo"),
            "NOETL_COMMANDS_QUEUE_URL_PREFIX" => format!("{queues}-commands-"),
            "AWS_ENDPOINT_URL" => emulator.clone(),
            "AWS_REGION" => "us-east-1".to_owned(),
            "AWS_ACCESS_KEY_ID" => "AKIDEXAMPLE".to_owned(),
            "AWS_SECRET_ACCESS_KEY" => "secret".to_owned(),
            _ => return None,
        })
    })
    .unwrap()
}

async fn opened(config: &Config, clock: &Arc<dyn Timer>) -> Aws {
    Aws::open(config.clone(), Options::of_engine(clock.clone())).await.unwrap()
}

/// An account in which [`PLAYBOOK`] is registered.
pub(crate) async fn stack() -> Stack {
    stack_at(Arc::new(SystemClock)).await
}

/// The same, under a clock.
pub(crate) async fn stack_at(clock: Arc<dyn Timer>) -> Stack {
    let name = unique();
    let config = config(&name);
    let aws = opened(&config, &clock).await;
    aws.provision(&["noop", "rhai"]).await.unwrap();
    aws.catalog.register(PLAYBOOK).await.unwrap();
    Stack { name, config, clock, aws }
}

impl Stack {
    /// What a process of a function begins with.
    pub(crate) async fn function(&self) -> Function {
        let aws = opened(&self.config, &self.clock).await;
        let Cloud { aws, store, executions } = Cloud::on_dynamodb(aws);
        Function { aws, store, executions, metrics: Metrics::from_lookup(|_| None) }
    }

    pub(crate) async fn event_handler(&self) -> EventHandler {
        EventHandler::new(self.function().await)
    }

    pub(crate) async fn dead_letter(&self) -> DeadLetters {
        DeadLetters::new(self.function().await)
    }

    pub(crate) async fn sweeper(&self) -> Sweeper {
        Sweeper::new(self.function().await)
    }

    pub(crate) async fn noop_worker(&self) -> Worker {
        Worker::new("noop", self.function().await, Toolbox::noop)
    }

    pub(crate) async fn api(&self) -> ApiFunction {
        ApiFunction::new(self.function().await)
    }

    /// The event of a batch that one of the queues of this stack gave out.
    pub(crate) fn batch(&self, queue: &str, messages: &[Sent]) -> Value {
        let arn = format!("arn:aws:sqs:us-east-1:000000000000:{}-{queue}", self.name);
        let records: Vec<Value> = messages.iter().map(|message| message.record(&arn)).collect();
        json!({"Records": records})
    }

    /// Waits for messages in the queue of events, as whoever polls it for Lambda does.
    pub(crate) async fn received(&self) -> Vec<Sent> {
        let found = self.aws.events.receive(2).await.unwrap();
        (0..).zip(found).map(|(number, one)| Sent::of(&format!("event-{number}"), one)).collect()
    }

    /// Lets `handler` fold what is in the queue of events until nothing is left there.
    pub(crate) async fn fold_all(&self, handler: &EventHandler) {
        loop {
            let batch = self.received().await;
            if batch.is_empty() {
                return;
            }
            let answer = call(handler, self.batch("events.fifo", &batch)).await;
            assert_eq!(failed(&answer), Vec::<String>::new());
            for one in &batch {
                self.aws.events.delete(&one.receipt).await.unwrap();
            }
        }
    }

    /// Where an execution stands.
    pub(crate) async fn state(&self, id: ExecutionId) -> Option<ExecutionState> {
        let tail = self.aws.store.tail(&AggregateKey::Execution(id)).await.unwrap();
        match tail {
            Some(Tail { state: State::Execution(state), .. }) => Some(*state),
            _ => None,
        }
    }
}

/// A message on its way to a function.
#[derive(Clone)]
pub(crate) struct Sent {
    pub(crate) id: String,
    pub(crate) receipt: String,
    pub(crate) record: Record,
}

impl Sent {
    pub(crate) fn of(id: &str, received: Received) -> Self {
        let Received { receipt, record } = received;
        Self { id: id.to_owned(), receipt, record }
    }

    /// A message that nobody sent through the queue.
    pub(crate) fn forged(id: &str, group: Option<&str>, body: &str) -> Self {
        let record =
            Record { body: body.to_owned(), group: group.map(str::to_owned), receive_count: 1 };
        Self { id: id.to_owned(), receipt: "none".to_owned(), record }
    }

    fn record(&self, arn: &str) -> Value {
        let mut attributes = json!({
            "ApproximateReceiveCount": self.record.receive_count.to_string(),
            "SentTimestamp": "1704067200000",
        });
        if let Some(group) = &self.record.group {
            attributes["MessageGroupId"] = json!(group);
        }
        json!({
            "messageId": self.id, "receiptHandle": self.receipt, "body": self.record.body,
            "attributes": attributes, "messageAttributes": {}, "md5OfBody": "",
            "eventSource": "aws:sqs", "eventSourceARN": arn, "awsRegion": "us-east-1",
        })
    }
}

/// Calls a function that has all the time it wants.
pub(crate) async fn call(handler: &dyn Handler, event: Value) -> Value {
    handler.handle(Invocation { event, deadline: None }).await.unwrap()
}

/// The messages that an answer wants again.
pub(crate) fn failed(answer: &Value) -> Vec<String> {
    let failures = answer["batchItemFailures"].as_array().unwrap().iter();
    failures.map(|one| one["itemIdentifier"].as_str().unwrap().to_owned()).collect()
}
