//! The servers of the tests, and a call.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine_core::event::ToolFailure;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::aws::{Aws, AwsSettings};
use crate::tool::{Call, Progress, Tool as _};
use crate::tools::duckdb::client::Client;
use crate::tools::http::HttpPolicy;
use crate::tools::postgres::Postgres;
use crate::tools::transfer::Transfer;

/// Answers each connection once, with the bytes that `answer` makes of its request.
pub(super) struct Server {
    pub(super) url: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(super) async fn start(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (seen.clone(), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let (log, answer) = (log.clone(), answer.clone());
                tokio::spawn(async move {
                    let Some(request) = receive(&mut socket).await else { return };
                    let bytes = answer(&request);
                    log.lock().unwrap().push(request);
                    let _ = socket.write_all(&bytes).await;
                });
            }
        });
        Self { url, seen }
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

async fn receive(socket: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse::<usize>().ok()
        });
        if body.len() >= length.unwrap_or(0) {
            return Some(text);
        }
    }
}

/// A good answer that ends with its connection.
pub(super) fn answer(headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

pub(super) fn json_answer(body: &Value) -> Vec<u8> {
    answer("Content-Type: application/json\r\n", body.to_string())
}

/// A tool with connections of its own, and a folder for files.
pub(super) fn tool() -> Transfer {
    tool_in(std::env::temp_dir())
}

pub(super) fn tool_in(files: impl Into<std::path::PathBuf>) -> Transfer {
    let policy = HttpPolicy { guard: false };
    let settings = AwsSettings::from_lookup(|name| match name {
        "AWS_ENDPOINT_URL" => Some(server("NOETL_TEST_AWS")),
        "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Some("test".to_owned()),
        "AWS_REGION" => Some("us-east-1".to_owned()),
        _ => None,
    });
    let aws = Aws::new(settings, policy);
    Transfer::new(policy, &Postgres::default(), Arc::new(Client::default()), aws, files)
}

/// The address of a server that the tests need.
pub(super) fn server(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("`{name}` is not set; run `make test`, which starts the servers")
    })
}

/// `auth` of the test database.
pub(super) fn auth() -> Value {
    json!({"db_conn_string": server("NOETL_TEST_POSTGRES")})
}

/// Runs SQL on the test database, statement by statement; the result of the last one.
pub(super) async fn sql(text: &str) -> Value {
    let Value::Object(config) = json!({"auth": auth(), "command": text}) else { panic!("a map") };
    let result = Postgres::default().call(&call(config, Progress::default())).await;
    result.unwrap_or_else(|error| panic!("{text}: {error}")).result
}

/// What a call gives: the result, or the failure and what was left beside it.
pub(super) type Ended = Result<Value, (ToolFailure, Value)>;

pub(super) async fn transfer(config: Value) -> Ended {
    transfer_with(&tool(), config, Progress::default()).await
}

pub(super) async fn transfer_with(tool: &Transfer, config: Value, progress: Progress) -> Ended {
    let Value::Object(config) = config else { panic!("a map") };
    let ended = tool.call(&call(config, progress)).await;
    ended.map(|success| success.result).map_err(|error| {
        let (failure, left) = error.into_failure();
        (failure, left.result)
    })
}

/// A call with a minute to go.
pub(super) fn call(config: Map<String, Value>, progress: Progress) -> Call<'static> {
    Call {
        config,
        args: Map::new(),
        context: None,
        idempotency_key: "c1",
        deadline: Instant::now() + Duration::from_mins(1),
        attempt: 1,
        execution_id: "1",
        step: "move",
        saves: false,
        progress,
    }
}

/// Progress, and where it can be seen.
pub(super) fn watched() -> (Progress, watch::Receiver<Value>) {
    let (sender, receiver) = watch::channel(Value::Null);
    (Progress::to(sender), receiver)
}
