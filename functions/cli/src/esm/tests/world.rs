//! An emulator of SQS, and functions that answer what a test tells them.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use worker::aws::{Aws, AwsSettings};
use worker::tools::http::HttpPolicy;

use super::super::report::Happening;
use super::super::{Running, Wanted, Watch};

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(40);

/// One invocation, not yet answered.
pub(super) struct Call {
    pub(super) function: String,
    pub(super) event: Value,
    reply: oneshot::Sender<(u16, String)>,
}

impl Call {
    pub(super) fn records(&self) -> &[Value] {
        self.event["Records"].as_array().unwrap()
    }

    pub(super) fn bodies(&self) -> Vec<String> {
        let body = |record: &Value| record["body"].as_str().unwrap().to_owned();
        self.records().iter().map(body).collect()
    }

    pub(super) fn answer(self, answer: &str) {
        self.reply(200, answer);
    }

    pub(super) fn reply(self, status: u16, answer: &str) {
        self.reply.send((status, answer.to_owned())).unwrap();
    }

    /// Closes the connection without a word.
    pub(super) fn hang_up(self) {
        self.reply(0, "");
    }
}

/// The ids of the messages of a call that `is_bad`.
pub(super) fn ids(call: &Call, is_bad: impl Fn(&Value) -> bool) -> Vec<String> {
    let bad = call.records().iter().filter(|record| is_bad(record));
    bad.map(|record| record["messageId"].as_str().unwrap().to_owned()).collect()
}

/// The answer of a function that could not do these messages.
pub(super) fn failing(ids: &[String]) -> String {
    let items: Vec<Value> = ids.iter().map(|id| json!({"itemIdentifier": id})).collect();
    json!({"batchItemFailures": items}).to_string()
}

/// What is awaited, if it comes at all.
pub(super) async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work).await.expect("it never came")
}

/// An address of this machine where nobody listens.
pub(super) async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// An SQS with one queue whose looks are answered by a script, and then not at all.
pub(super) async fn scripted<const N: usize>(script: [(u16, &'static str); N]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let script = Arc::new(Mutex::new(script.into_iter()));
    let routes = Router::new().fallback(move |headers: HeaderMap| async move {
        let answer = |status, body: &str| (StatusCode::from_u16(status).unwrap(), body.to_owned());
        match headers["x-amz-target"].to_str().unwrap() {
            "AmazonSQS.GetQueueAttributes" => {
                let arn = "arn:aws:sqs:us-east-1:000000000000:q";
                let facts = json!({"QueueArn": arn, "VisibilityTimeout": "30"});
                answer(200, &json!({"Attributes": facts}).to_string())
            }
            "AmazonSQS.ReceiveMessage" => {
                let next = script.lock().unwrap().next();
                match next {
                    Some((status, body)) => answer(status, body),
                    None => std::future::pending().await,
                }
            }
            _ => answer(200, "{}"),
        }
    });
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    url
}

struct Seen(mpsc::UnboundedSender<Happening>);

impl Watch for Seen {
    fn saw(&self, what: &Happening) {
        let _ = self.0.send(what.clone());
    }
}

/// Queues, the functions `f` and `g`, and what runs between them.
pub(super) struct World {
    endpoint: String,
    pub(super) functions_url: String,
    pub(super) running: Option<Running>,
    calls: mpsc::UnboundedReceiver<Call>,
    happenings: mpsc::UnboundedReceiver<Happening>,
    watch: Arc<dyn Watch>,
}

impl World {
    pub(super) async fn new() -> Self {
        let endpoint = std::env::var("NOETL_TEST_AWS")
            .expect("NOETL_TEST_AWS is not set; run the tests with `make test`");
        Self::at(&endpoint).await
    }

    /// A world whose queues are at `endpoint`.
    pub(super) async fn at(endpoint: &str) -> Self {
        let (sender, calls) = mpsc::unbounded_channel();
        let (seen, happenings) = mpsc::unbounded_channel();
        Self {
            endpoint: endpoint.to_owned(),
            functions_url: functions(sender).await,
            running: None,
            calls,
            happenings,
            watch: Arc::new(Seen(seen)),
        }
    }

    fn aws(&self) -> Aws {
        let lookup = |name: &str| match name {
            "AWS_REGION" => Some("us-east-1"),
            "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Some("test"),
            "AWS_ENDPOINT_URL" => Some(self.endpoint.as_str()),
            "AWS_ENDPOINT_URL_LAMBDA" => Some(self.functions_url.as_str()),
            _ => None,
        };
        let settings = AwsSettings::from_lookup(|name| lookup(name).map(str::to_owned));
        Aws::new(settings, HttpPolicy::default())
    }

    pub(super) async fn sqs(&self, action: &'static str, body: &Value) -> Value {
        let deadline = Instant::now() + PATIENCE;
        self.aws().sqs(action, "test", body, deadline).await.unwrap()
    }

    /// A new queue with these attributes; a name that ends with `.fifo` is kept last.
    pub(super) async fn queue(&self, stem: &str, attributes: Value) -> String {
        let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let name = format!("esm-{}-{}-{stem}", std::process::id(), nanos.as_nanos());
        let body = json!({"QueueName": name, "Attributes": attributes});
        let made = self.sqs("sqs:CreateQueue", &body).await;
        made["QueueUrl"].as_str().unwrap().to_owned()
    }

    async fn attributes(&self, url: &str) -> Value {
        let body = json!({"QueueUrl": url, "AttributeNames": ["All"]});
        self.sqs("sqs:GetQueueAttributes", &body).await["Attributes"].take()
    }

    pub(super) async fn arn(&self, url: &str) -> String {
        self.attributes(url).await["QueueArn"].as_str().unwrap().to_owned()
    }

    /// How many messages can be received, and how many are with somebody.
    pub(super) async fn count(&self, url: &str) -> (u32, u32) {
        let attributes = self.attributes(url).await;
        let number = |name: &str| attributes[name].as_str().unwrap().parse().unwrap();
        (number("ApproximateNumberOfMessages"), number("ApproximateNumberOfMessagesNotVisible"))
    }

    pub(super) async fn send(&self, url: &str, bodies: &[&str]) {
        for body in bodies {
            self.sqs("sqs:SendMessage", &json!({"QueueUrl": url, "MessageBody": body})).await;
        }
    }

    pub(super) async fn send_to(&self, url: &str, body: &str, group: &str) {
        let message = json!({
            "QueueUrl": url, "MessageBody": body,
            "MessageGroupId": group, "MessageDeduplicationId": body,
        });
        self.sqs("sqs:SendMessage", &message).await;
    }

    /// Waits for messages of a queue that nobody polls.
    pub(super) async fn receive(&self, url: &str) -> Vec<String> {
        let body = json!({"QueueUrl": url, "WaitTimeSeconds": 20});
        let answer = self.sqs("sqs:ReceiveMessage", &body).await;
        let messages = answer["Messages"].as_array().into_iter().flatten();
        messages.map(|message| message["Body"].as_str().unwrap().to_owned()).collect()
    }

    pub(super) async fn start(&mut self, mappings: &[&str]) {
        let running = self.try_start(mappings).await.unwrap();
        self.running = Some(running);
    }

    pub(super) async fn try_start(&mut self, mappings: &[&str]) -> anyhow::Result<Running> {
        let mappings = mappings.iter().map(|text| text.parse().unwrap()).collect();
        self.try_run(Wanted { mappings, ..Wanted::default() }).await
    }

    pub(super) async fn try_run(&self, wanted: Wanted) -> anyhow::Result<Running> {
        within(Running::start(&self.aws(), &self.functions_url, wanted, &self.watch)).await
    }

    /// The next invocation.
    pub(super) async fn call(&mut self) -> Call {
        within(self.calls.recv()).await.unwrap()
    }

    /// The next thing that happens.
    pub(super) async fn happening(&mut self) -> Happening {
        within(self.happenings.recv()).await.unwrap()
    }

    /// The next thing that happens, a batch: its messages, those that are done, and what went wrong.
    pub(super) async fn batch(&mut self) -> (usize, usize, Option<String>) {
        match self.happening().await {
            Happening::Batch { messages, done, problem, .. } => (messages, done, problem),
            other => panic!("{other:?}"),
        }
    }

    /// Stops, with nothing left.
    pub(super) async fn end(mut self) {
        let running = self.running.take().unwrap();
        assert!(within(running.end(PATIENCE)).await);
    }
}

/// Where `f` and `g` are invoked; whoever holds the other end answers.
async fn functions(calls: mpsc::UnboundedSender<Call>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let invoke = post(
        |State(calls): State<mpsc::UnboundedSender<Call>>,
         Path(function): Path<String>,
         body: Bytes| async move {
            if !["f", "g"].contains(&function.as_str()) {
                let list = "no such thing. Available functions: {\"f\", \"g\"}";
                return (StatusCode::NOT_FOUND, json!({"detail": list}).to_string());
            }
            let event = serde_json::from_slice(&body).unwrap();
            let (reply, answered) = oneshot::channel();
            calls.send(Call { function, event, reply }).unwrap();
            match answered.await {
                // The server drops the connection of a request that panics.
                Ok((0, _)) => panic!("hung up, as the test wants it"),
                Ok((status, answer)) => (StatusCode::from_u16(status).unwrap(), answer),
                Err(_dropped) => std::future::pending().await,
            }
        },
    );
    let routes = Router::new()
        .route("/2015-03-31/functions/{function}/invocations", invoke)
        .with_state(calls);
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    url
}
