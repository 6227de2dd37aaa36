//! What AWS bills for a step and for an iteration, beside what it may be: the functions run over an emulator
//! of AWS, and every request that would be billed is counted.
//!
//! The figures are compared with those of `costs.json`; `UPDATE_COSTS=1` writes them anew.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failed call is a failed test; figures are for readers of the log"
)]

#[path = "functions/stack.rs"]
#[expect(dead_code, reason = "other tests use more of it")]
mod stack;

use std::collections::BTreeMap;
use std::ops::{Add, AddAssign};
use std::path::PathBuf;
use std::sync::Arc;

use adapters::aws::meter::{Meter, Usage};
use adapters::aws::queue::Received;
use adapters::catalog::Registry as _;
use adapters::clock::ManualClock;
use engine_core::event::Status;
use engine_core::ids::ExecutionId;
use event_handler::lambda::events::EventHandler;
use serde_json::{Value, json};
use worker::lambda::Worker;
use worker::toolbox::Toolbox;

use crate::stack::{Sent, Stack, call, failed, stack_at};

/// How much a figure may grow before somebody must say so.
const TOLERANCE: f64 = 1.05;
/// 2026-01-01T00:00:00Z.
const START_MS: i64 = 1_767_225_600_000;
/// Milliseconds between two batches.
const POLL_MS: i64 = 20;
/// Bytes that SQS bills as one request.
const SQS_UNIT_BYTES: usize = 64 << 10;
/// Batches after which an execution should long have ended.
const POLLS_MAX: usize = 10_000;

/// What is billed; each has a price.
#[derive(Clone, Copy, Debug, Default)]
struct Bill {
    write_units: f64,
    read_units: f64,
    sqs_requests: f64,
    invocations: f64,
    s3_requests: f64,
}

impl Bill {
    fn of(usage: Usage) -> Self {
        let count = |number: u64| f64::from(u32::try_from(number).unwrap());
        Self {
            write_units: count(usage.write_units),
            read_units: usage.read_units,
            sqs_requests: count(usage.sqs_requests),
            invocations: 0.0,
            s3_requests: count(usage.s3_writes + usage.s3_reads),
        }
    }

    /// An invocation for messages of so many bytes, which were received and are deleted.
    fn batch(bytes: usize) -> Self {
        let received = u32::try_from(bytes.div_ceil(SQS_UNIT_BYTES).max(1)).unwrap();
        Self { sqs_requests: f64::from(received + 1), invocations: 1.0, ..Self::default() }
    }

    /// What one of `count` costs, where `less` were paid by `other`.
    fn per(self, other: Self, count: u32) -> Self {
        let each = |more: f64, less: f64| (more - less) / f64::from(count);
        Self {
            write_units: each(self.write_units, other.write_units),
            read_units: each(self.read_units, other.read_units),
            sqs_requests: each(self.sqs_requests, other.sqs_requests),
            invocations: each(self.invocations, other.invocations),
            s3_requests: each(self.s3_requests, other.s3_requests),
        }
    }

    fn fields(self) -> [(&'static str, f64); 5] {
        [
            ("write_units", self.write_units),
            ("read_units", self.read_units),
            ("sqs_requests", self.sqs_requests),
            ("invocations", self.invocations),
            ("s3_requests", self.s3_requests),
        ]
    }

    fn operations(self) -> f64 {
        self.fields().iter().map(|(_, value)| value).sum()
    }

    /// Dollars for a million, without the time that functions run. List prices of us-east-1, November 2026:
    /// on-demand units of `DynamoDB`, FIFO requests of SQS, requests of Lambda and S3.
    fn dollars(self) -> f64 {
        0.625 * self.write_units
            + 0.125 * self.read_units
            + 0.5 * self.sqs_requests
            + 0.2 * self.invocations
            + 5.0 * self.s3_requests
    }
}

impl Add for Bill {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            write_units: self.write_units + other.write_units,
            read_units: self.read_units + other.read_units,
            sqs_requests: self.sqs_requests + other.sqs_requests,
            invocations: self.invocations + other.invocations,
            s3_requests: self.s3_requests + other.s3_requests,
        }
    }
}

impl AddAssign for Bill {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// The event handler and the workers, called as their queues would, one batch at a time.
struct Functions {
    stack: Stack,
    handler: EventHandler,
    workers: [(&'static str, Worker); 2],
    meters: Vec<Arc<Meter>>,
    /// Stands still while a batch is handled: frames grow with what calls take, and no machine is like another.
    clock: Arc<ManualClock>,
}

impl Functions {
    async fn new() -> Self {
        let clock = Arc::new(ManualClock::new(START_MS));
        let stack = stack_at(clock.clone()).await;
        let mut meters = Vec::new();
        let mut function = async || {
            let function = stack.function().await;
            meters.push(function.aws.meter.clone());
            function
        };
        let handler = EventHandler::new(function().await);
        let noop = Worker::new("noop", function().await, Toolbox::noop);
        let rhai = Worker::new("rhai", function().await, Toolbox::rhai);
        Self { handler, workers: [("noop", noop), ("rhai", rhai)], meters, clock, stack }
    }

    fn used(&self) -> Bill {
        self.meters.iter().fold(Bill::default(), |bill, meter| bill + Bill::of(meter.usage()))
    }

    /// Runs a playbook to its end; everything that is billed for it.
    async fn bill(&self, playbook: &Value) -> Bill {
        self.stack.aws.catalog.register(&playbook.to_string()).await.unwrap();
        let begun = self.used();
        let path = &playbook["metadata"]["path"];
        let started = call(&self.handler, json!({"path": path})).await;
        let id: ExecutionId = started["execution_id"].as_str().unwrap().parse().unwrap();
        let mut polled = Bill { invocations: 1.0, ..Bill::default() };
        for _ in 0..POLLS_MAX {
            match self.poll().await {
                Some(batch) => polled += batch,
                None => break,
            }
        }
        let status = self.stack.state(id).await.unwrap().status;
        assert_eq!(status, Status::Completed, "{playbook}");
        // What the test itself reads is not counted: it has a meter of its own.
        polled + self.used().per(begun, 1)
    }

    /// One batch of one queue; none where there is nothing.
    async fn poll(&self) -> Option<Bill> {
        self.clock.advance(POLL_MS);
        let batch = sent("event", self.stack.aws.events.receive(0).await.unwrap());
        if !batch.is_empty() {
            let answer = call(&self.handler, self.stack.batch("events.fifo", &batch)).await;
            assert_eq!(failed(&answer), Vec::<String>::new());
            for one in &batch {
                self.stack.aws.events.delete(&one.receipt).await.unwrap();
            }
            return Some(bill_of(&batch));
        }
        for (kind, worker) in &self.workers {
            let batch = sent("command", self.stack.aws.commands.receive(kind, 0).await.unwrap());
            if batch.is_empty() {
                continue;
            }
            let event = self.stack.batch(&format!("commands-{kind}"), &batch);
            assert_eq!(failed(&call(worker, event).await), Vec::<String>::new());
            for one in &batch {
                self.stack.aws.commands.delete(kind, &one.receipt).await.unwrap();
            }
            return Some(bill_of(&batch));
        }
        None
    }
}

fn sent(what: &str, found: Vec<Received>) -> Vec<Sent> {
    (0..).zip(found).map(|(number, one)| Sent::of(&format!("{what}-{number}"), one)).collect()
}

fn bill_of(batch: &[Sent]) -> Bill {
    Bill::batch(batch.iter().map(|one| one.record.body.len()).sum())
}

fn playbook(name: &str, workflow: &[Value]) -> Value {
    json!({
        "apiVersion": "noetl.io/v2", "kind": "Playbook",
        "metadata": {"name": name, "path": format!("costs/{name}")}, "workflow": workflow,
    })
}

fn chain(steps: u32) -> Value {
    let name = |number: u32| if number == 0 { "start".to_owned() } else { format!("s{number}") };
    let step = |number: u32| {
        let mut step = json!({"step": name(number), "tool": {"kind": "noop"}});
        if number + 1 < steps {
            step["next"] = json!(name(number + 1));
        }
        step
    };
    playbook(&format!("chain{steps}"), &(0..steps).map(step).collect::<Vec<_>>())
}

fn looped(items: u32, spec: &Value) -> Value {
    let mode = spec["mode"].as_str().unwrap();
    let step = json!({
        "step": "start",
        "loop": {"in": format!("{{{{ range({items}) | list }}}}"), "iterator": "n", "spec": spec},
        "tool": {"kind": "rhai", "args": {"n": "{{ n }}"}, "code": "#{ id: n, value: n * 2 }"},
    });
    playbook(&format!("{mode}{items}"), &[step])
}

/// What one more step and one more iteration cost, of calls that take no time.
async fn measured() -> BTreeMap<&'static str, Bill> {
    let functions = Functions::new().await;
    let mut found = BTreeMap::new();
    let (few, many) = (functions.bill(&chain(10)).await, functions.bill(&chain(50)).await);
    found.insert("step", many.per(few, 40));
    for (name, spec) in [
        ("parallel iteration", json!({"mode": "parallel", "max_in_flight": 32})),
        ("sequential iteration", json!({"mode": "sequential"})),
    ] {
        let few = functions.bill(&looped(1_000, &spec)).await;
        let many = functions.bill(&looped(10_000, &spec)).await;
        found.insert(name, many.per(few, 9_000));
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_and_an_iteration_cost_what_they_did() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("costs.json");
    let found = Box::pin(measured()).await;
    println!("{:22} {:>10} {:>12} {:>12}", "one more", "operations", "write units", "$ / million");
    for (name, bill) in &found {
        let (operations, dollars) = (bill.operations(), bill.dollars());
        println!("{name:22} {operations:10.3} {:12.3} {dollars:12.3}   {bill:?}", bill.write_units);
    }
    if std::env::var_os("UPDATE_COSTS").is_some() {
        let rounded = |value: f64| (value * 10_000.0).ceil() / 10_000.0;
        let golden: BTreeMap<_, BTreeMap<_, f64>> = found
            .iter()
            .map(|(name, bill)| {
                (name, bill.fields().map(|(field, value)| (field, rounded(value))).into())
            })
            .collect();
        std::fs::write(&file, serde_json::to_string_pretty(&golden).unwrap() + "\n").unwrap();
    }
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    for (name, bill) in &found {
        for (field, value) in bill.fields() {
            let expect = golden[name][field].as_f64().unwrap();
            let is_near = value <= expect * TOLERANCE;
            assert!(
                is_near,
                "a {name} costs {value:.4} {field}, and did cost {expect:.4}; if it must, write the figures anew"
            );
        }
    }
    // The design's bounds for a parallel iteration.
    let parallel = found["parallel iteration"];
    assert!(parallel.operations() <= 1.1 && parallel.write_units <= 0.32, "{parallel:?}");
    assert!(parallel.dollars() <= 0.3, "{}", parallel.dollars());
}
