use crate::credentials::RemoteSecrets as _;
use std::sync::Mutex;
use std::time::Duration;

use engine_core::event::ToolFailure;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::*;
use crate::tool::{Call, Progress, Success, Tool};

/// Answers in turn; the last one for good. Nothing at all for a status of 0.
pub(crate) struct Scripted {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<String>>>,
}

/// Status, headers (each with its line end) and body.
pub(crate) type Answer = (u16, &'static str, &'static str);

impl Scripted {
    pub(crate) async fn start(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        tokio::spawn(async move {
            let mut answers = answers.into_iter();
            let mut current = answers.next().unwrap();
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut bytes = Vec::new();
                while !is_whole(&bytes) && socket.read_buf(&mut bytes).await.unwrap() > 0 {}
                log.lock().unwrap().push(String::from_utf8_lossy(&bytes).into_owned());
                let (status, headers, body) = current;
                current = answers.next().unwrap_or(current);
                if status > 0 {
                    let length = body.len();
                    let text = format!(
                        "HTTP/1.1 {status} X\r\n{headers}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
                    );
                    let _ = socket.write_all(text.as_bytes()).await;
                }
            }
        });
        Self { url, seen }
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| {
        line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse::<usize>().ok()
    });
    body.len() >= length.unwrap_or(0)
}

/// The address of the emulator.
pub(crate) fn endpoint() -> String {
    std::env::var("NOETL_TEST_AWS")
        .expect("NOETL_TEST_AWS is not set; run the tests with `make test`")
}

/// A client with keys and a region that calls `endpoint`.
pub(crate) fn client(endpoint: &str) -> Aws {
    let lookup = |name: &str| match name {
        "AWS_REGION" => Some("us-east-1".to_owned()),
        "AWS_ACCESS_KEY_ID" => Some("test".to_owned()),
        "AWS_SECRET_ACCESS_KEY" => Some("test-secret-key".to_owned()),
        "AWS_ENDPOINT_URL" => Some(endpoint.to_owned()),
        _ => None,
    };
    Aws::new(AwsSettings::from_lookup(lookup), HttpPolicy::default())
}

/// A client of the emulator.
pub(crate) fn emulator() -> Aws {
    client(&endpoint())
}

/// A name that no other run of the tests has.
pub(crate) fn unique(stem: &str) -> String {
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    format!("ct-{stem}-{}-{}", std::process::id(), nanos.as_nanos())
}

pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// Any operation of the services that are spoken to in JSON, to prepare a test.
pub(crate) async fn operate(service: Service, target: &str, body: &Value) -> Value {
    let request = Request {
        service,
        path: "/".to_owned(),
        headers: vec![
            ("content-type", "application/x-amz-json-1.1".to_owned()),
            ("x-amz-target", target.to_owned()),
        ],
        body: body.to_string().into(),
        action: "test:Prepare",
        resource: "test",
        repeatable: true,
    };
    let answer = emulator().send(&request, soon()).await.unwrap();
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

/// Calls a tool with a configuration and inputs.
pub(crate) async fn call_with(
    tool: &dyn Tool,
    config: Value,
    args: Value,
    deadline: Instant,
) -> Result<Value, (ToolFailure, Value)> {
    let (Value::Object(config), Value::Object(args)) = (config, args) else { panic!("maps") };
    let call = Call {
        config,
        args,
        context: None,
        idempotency_key: "e1.s1.0",
        deadline,
        attempt: 1,
        execution_id: "1",
        step: "s1",
        saves: false,
        progress: Progress::default(),
    };
    tool.call(&call).await.map(|Success { result, .. }| result).map_err(|error| {
        let (failure, left) = error.into_failure();
        (failure, left.result)
    })
}

/// Calls a tool with a configuration.
pub(crate) async fn call(tool: &dyn Tool, config: Value) -> Result<Value, (ToolFailure, Value)> {
    call_with(tool, config, json!({}), soon()).await
}

#[tokio::test]
async fn a_secret_is_read_as_what_it_holds() {
    let aws = emulator();
    let rows = [
        ("map", "{\"user\":\"joe\",\"n\":1}", json!({"user": "joe", "n": 1})),
        ("text", "p@ss word", json!("p@ss word")),
        ("digits", "1234", json!("1234")),
        ("list", "[1,2]", json!([1, 2])),
    ];
    for (stem, text, expect) in rows {
        let name = unique(stem);
        let body = json!({"Name": name, "SecretString": text});
        operate(Service::SecretsManager, "secretsmanager.CreateSecret", &body).await;
        let value = aws.secret_value(&name, None, soon()).await.unwrap();
        assert_eq!(value, expect, "{stem}");
    }
}

#[tokio::test]
async fn a_version_of_a_secret_is_chosen_by_stage_or_id() {
    let (aws, name) = (emulator(), unique("versions"));
    let body = json!({"Name": name, "SecretString": "old-value"});
    let made = operate(Service::SecretsManager, "secretsmanager.CreateSecret", &body).await;
    let body = json!({"SecretId": name, "SecretString": "new-value"});
    operate(Service::SecretsManager, "secretsmanager.PutSecretValue", &body).await;
    let id = made["VersionId"].as_str().unwrap();
    let rows = [
        (None, "new-value"),
        (Some("AWSCURRENT"), "new-value"),
        (Some("AWSPREVIOUS"), "old-value"),
        (Some(id), "old-value"),
    ];
    for (version, expect) in rows {
        let value = aws.fetch("aws", &name, version).await.unwrap();
        assert_eq!(value, json!(expect), "{version:?}");
    }
}

#[tokio::test]
async fn a_parameter_is_read_decrypted() {
    let (aws, name) = (emulator(), format!("/ct/{}", unique("parameter")));
    let body = json!({"Name": name, "Value": "hidden-1", "Type": "SecureString"});
    operate(Service::Ssm, "AmazonSSM.PutParameter", &body).await;
    assert_eq!(aws.parameter(&name, None, soon()).await.unwrap(), json!("hidden-1"));
    assert_eq!(aws.fetch("ssm", &name, None).await.unwrap(), json!("hidden-1"));
}

#[tokio::test]
async fn what_does_not_exist_is_named() {
    let aws = emulator();
    let secret = aws.secret_value("ct-no-such", None, soon()).await.unwrap_err();
    assert_eq!(secret.kind(), "ResourceNotFoundException");
    let parameter = aws.parameter("/ct/no-such", None, soon()).await.unwrap_err();
    assert_eq!(parameter.kind(), "ParameterNotFound");
    for (error, name) in [(secret, "`ct-no-such`"), (parameter, "`/ct/no-such`")] {
        assert_eq!(error.reaction(), crate::tool::Reaction::Rejected);
        for part in [name, "check the name, the region and the account"] {
            assert!(error.message().contains(part), "{part}: {}", error.message());
        }
    }
}

/// Name, answers, kind of the error (none if it works), retryable, requests, what the message says.
type Row = (&'static str, Vec<Answer>, Option<&'static str>, bool, usize, &'static str);

const OK: Answer = (200, "", "{\"SecretString\":\"value-1\"}");
const THROTTLED: Answer =
    (400, "", "{\"__type\":\"com.amazonaws#ThrottlingException\",\"message\":\"Rate exceeded\"}");

#[tokio::test(start_paused = true)]
async fn failures_are_repeated_or_explained() {
    #[rustfmt::skip]
    let rows: Vec<Row> = vec![
        ("throttled once", vec![THROTTLED, OK], None, false, 2, ""),
        ("status 500 twice", vec![(500, "", ""), (503, "", ""), OK], None, false, 3, ""),
        ("connection dropped", vec![(0, "", ""), OK], None, false, 2, ""),
        ("throttled for good", vec![THROTTLED], Some("ThrottlingException"), true, 4, "AWS throttles"),
        ("status 500 for good", vec![(500, "", "oops")], Some("HTTP500"), true, 4, "try again"),
        ("no permission", vec![(400, "x-amzn-errortype: AccessDeniedException:http://x\r\n", "{\"Message\":\"no\"}")],
            Some("AccessDeniedException"), false, 1, "allow `secretsmanager:GetSecretValue` on `db`"),
        ("expired", vec![(400, "", "{\"__type\":\"ExpiredTokenException\"}")], Some("ExpiredTokenException"), false, 1, "AWS_SESSION_TOKEN"),
        ("unknown key", vec![(400, "", "{\"__type\":\"UnrecognizedClientException\"}")],
            Some("UnrecognizedClientException"), false, 1, "check `AWS_ACCESS_KEY_ID`"),
        ("no value", vec![(200, "", "{\"SecretSt")], Some("DecodeError"), false, 1, "holds no value"),
    ];
    for (name, answers, kind, retryable, requests, says) in rows {
        let server = Scripted::start(answers).await;
        let ended = client(&server.url).secret_value("db", None, soon()).await;
        let (failure, _) = match ended {
            Ok(value) => {
                assert_eq!((kind, value), (None, json!("value-1")), "{name}");
                assert_eq!(server.requests().len(), requests, "{name}");
                continue;
            }
            Err(error) => error.into_failure(),
        };
        assert_eq!((Some(failure.kind.as_str()), failure.retryable), (kind, retryable), "{name}");
        assert!(failure.message.contains(says), "{name}: {}", failure.message);
        assert!(!failure.message.contains("test-secret-key"), "{name}");
        assert_eq!(server.requests().len(), requests, "{name}");
    }
}

#[tokio::test]
async fn a_request_is_signed_for_its_service_and_region() {
    let server = Scripted::start(vec![OK]).await;
    client(&server.url).secret_value("db", None, soon()).await.unwrap();
    let request = server.requests().remove(0);
    let parts = [
        "authorization: AWS4-HMAC-SHA256 Credential=test/",
        "/us-east-1/secretsmanager/aws4_request",
        "SignedHeaders=content-type;host;x-amz-date;x-amz-target",
        "x-amz-target: secretsmanager.GetSecretValue",
    ];
    for part in parts {
        assert!(request.contains(part), "{part} in {request}");
    }
}

#[tokio::test]
async fn a_server_that_hangs_ends_the_call_at_its_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let aws = client(&format!("http://{}", listener.local_addr().unwrap()));
    let deadline = Instant::now() + Duration::from_millis(50);
    let error = aws.secret_value("db", None, deadline).await.unwrap_err();
    assert_eq!(error.kind(), "TimeoutError");
}

#[tokio::test]
async fn missing_settings_name_their_variables() {
    let none = Aws::new(AwsSettings::default(), HttpPolicy::default());
    let error = none.secret_value("db", None, soon()).await.unwrap_err();
    assert_eq!(error.kind(), "RegionError");
    assert!(error.message().contains("`AWS_REGION`"), "{error}");
    let lookup = |name: &str| (name == "AWS_REGION").then(|| "eu-central-1".to_owned());
    let keyless = Aws::new(AwsSettings::from_lookup(lookup), HttpPolicy::default());
    let error = keyless.secret_value("db", None, soon()).await.unwrap_err();
    assert_eq!(error.kind(), "NoCredentials");
    for part in ["`AWS_ACCESS_KEY_ID`", "`AWS_SECRET_ACCESS_KEY`", "`AWS_SESSION_TOKEN`", "`auth`"]
    {
        assert!(error.message().contains(part), "{part}: {error}");
    }
}

#[test]
fn endpoints_come_from_the_service_then_from_all_then_from_the_region() {
    let all = [("AWS_ENDPOINT_URL", "http://all:1/"), ("AWS_ENDPOINT_URL_S3", "http://s3:2")];
    let rows = [
        (&all[..], Service::S3, "http://s3:2"),
        (&all[..], Service::Ssm, "http://all:1"),
        (
            &[("AWS_REGION", "eu-west-1")][..],
            Service::Lambda,
            "https://lambda.eu-west-1.amazonaws.com",
        ),
        (
            &[("AWS_DEFAULT_REGION", "cn-north-1")][..],
            Service::Ssm,
            "https://ssm.cn-north-1.amazonaws.com.cn",
        ),
    ];
    for (values, service, expect) in rows {
        let lookup = |name: &str| {
            values.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        assert_eq!(AwsSettings::from_lookup(lookup).url(service).unwrap(), expect);
    }
}

#[test]
fn a_tool_brings_its_own_keys_region_and_endpoint() {
    #[rustfmt::skip]
    let rows = [
        (json!({"auth": {"access_key_id": "AK", "secret_access_key": "SK", "region": "eu-west-2"}}), Ok(("AK", "eu-west-2"))),
        (json!({"auth": {"type": "hmac", "key_id": "AK", "secret_key": "SK"}}), Ok(("AK", "us-east-1"))),
        (json!({"auth": {"store": {"aws_access_key_id": "AK", "aws_secret_access_key": "SK"}}, "region": "eu-west-3"}), Ok(("AK", "eu-west-3"))),
        (json!({"auth": {}}), Ok(("test", "us-east-1"))),
        (json!({"auth": {"access_key_id": "AK"}}), Err("half of an access key")),
        (json!({"auth": "gone"}), Err("`auth` is the name of a registered credential")),
        (json!({"auth": {"a": {}, "b": {}}}), Err("several credentials")),
        (json!({"region": "evil.example/#"}), Err("is no AWS region")),
    ];
    let aws = client("http://127.0.0.1:1");
    for (config, expect) in rows {
        let Value::Object(map) = &config else { panic!("a map") };
        match (aws.for_tool(map), expect) {
            (Ok(own), Ok((id, region))) => {
                assert_eq!(own.settings().keys(Service::S3).unwrap().id, id, "{config}");
                assert_eq!(own.settings().region(Service::S3).unwrap(), region, "{config}");
            }
            (Err(error), Err(says)) => assert!(error.message().contains(says), "{error}"),
            (ended, _) => panic!("{config}: {:?}", ended.err()),
        }
    }
}

#[tokio::test]
async fn an_endpoint_that_a_playbook_names_must_satisfy_the_policy() {
    let lookup = |name: &str| Some(if name == "AWS_REGION" { "eu-west-1" } else { "x" }.to_owned());
    let aws = Aws::new(AwsSettings::from_lookup(lookup), HttpPolicy { guard: true });
    let Value::Object(config) = json!({"endpoint": "http://169.254.169.254"}) else {
        panic!("a map")
    };
    let error = aws.for_tool(&config).unwrap().secret_value("x", None, soon()).await.unwrap_err();
    assert_eq!(error.kind(), "ForbiddenAddress");
}

#[test]
fn keys_are_not_shown() {
    let shown = format!("{:?}", client("http://h").settings());
    assert!(!shown.contains("test-secret-key"), "{shown}");
}

#[tokio::test]
async fn an_invocation_tells_an_answer_from_an_error_and_from_no_function() {
    let raised = |text: &str| Ok(Invoked::Raised(text.to_owned()));
    let header = "X-Amz-Function-Error: Unhandled\r\n";
    #[rustfmt::skip]
    let rows: Vec<(&str, Answer, Result<Invoked, &str>)> = vec![
        ("a value", (200, "", "{\"a\":1}"), Ok(Invoked::Answered(b"{\"a\":1}".to_vec()))),
        ("nothing", (200, "", ""), Ok(Invoked::Answered(Vec::new()))),
        ("an error as Lambda has it", (200, header, "{\"errorType\":\"E\",\"errorMessage\":\"boom\"}"), raised("E: boom")),
        ("an error as `cargo lambda watch` has it", (500, "", "{\"errorType\":\"E\",\"errorMessage\":\"boom\"}"), raised("E: boom")),
        ("an error without a type", (500, "", "{\"errorMessage\":\"boom\"}"), raised("boom")),
        ("an error without a word", (500, "", ""), raised("HTTP 500 without a word")),
        ("no such function", (404, "", "{\"detail\":\"Available functions: {\\\"a\\\"}\",\"title\":\"Missing\"}"),
            Ok(Invoked::Unknown("Available functions: {\"a\"}".to_owned()))),
        ("throttled", (429, "", "{\"Message\":\"slow down\"}"), Err("HTTP429")),
        ("dropped", (0, "", ""), Err("ConnectionError")),
    ];
    for (name, answer, expect) in rows {
        let server = Scripted::start(vec![answer]).await;
        let ended = client(&server.url).invoke("f", "{}".into(), soon()).await;
        assert_eq!(
            ended.as_ref().map_err(ToolError::kind),
            expect.as_ref().map_err(|kind| *kind),
            "{name}"
        );
        assert_eq!(server.requests().len(), 1, "{name}: never repeated");
        assert!(server.requests()[0].starts_with("POST /2015-03-31/functions/f/invocations "));
    }
}

#[tokio::test]
async fn a_queue_is_made_filled_and_read_and_one_that_is_not_there_is_named() {
    let (aws, name) = (emulator(), unique("queue"));
    let made =
        aws.sqs("sqs:CreateQueue", &name, &json!({"QueueName": name}), soon()).await.unwrap();
    let url = made["QueueUrl"].as_str().unwrap();
    let body = json!({"QueueUrl": url, "MessageBody": "hello"});
    aws.sqs("sqs:SendMessage", url, &body, soon()).await.unwrap();
    let body = json!({"QueueUrl": url, "WaitTimeSeconds": 1});
    let read = aws.sqs("sqs:ReceiveMessage", url, &body, soon()).await.unwrap();
    assert_eq!(read["Messages"][0]["Body"], "hello");
    let gone = format!("{url}-gone");
    let body = json!({"QueueUrl": gone, "AttributeNames": ["All"]});
    let error = aws.sqs("sqs:GetQueueAttributes", &gone, &body, soon()).await.unwrap_err();
    assert_eq!(error.kind(), "QueueDoesNotExist");
    for part in [gone.as_str(), "create the queue"] {
        assert!(error.message().contains(part), "{part}: {}", error.message());
    }
}

#[tokio::test]
async fn a_message_is_sent_once_even_if_nobody_says_that_it_arrived() {
    for (action, requests) in [("sqs:SendMessage", 1), ("sqs:DeleteMessageBatch", 4)] {
        let server = Scripted::start(vec![(500, "", "")]).await;
        client(&server.url).sqs(action, "q", &json!({}), soon()).await.unwrap_err();
        assert_eq!(server.requests().len(), requests, "{action}");
    }
}
