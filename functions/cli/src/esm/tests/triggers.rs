//! Functions that are triggered by time and by HTTP.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::super::report::Happening;
use super::super::wanted::{Front, Schedule};
use super::super::{Running, Wanted};
use super::world::{World, within};

fn schedule() -> Wanted {
    let schedule = Schedule { every: Duration::from_millis(100), function: "g".to_owned() };
    Wanted { schedules: vec![schedule], ..Wanted::default() }
}

fn front() -> Wanted {
    let front = Front { port: 0, function: "f".to_owned() };
    Wanted { fronts: vec![front], ..Wanted::default() }
}

/// Asks the front of `running`; the status line, and the whole answer.
async fn ask(running: &Running, request: &str) -> String {
    let mut socket = TcpStream::connect(running.fronts[0].0).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_schedule_calls_its_function_again_and_again() {
    let mut world = World::at("http://127.0.0.1:1").await;
    world.running = Some(world.try_run(schedule()).await.unwrap());
    let first = world.call().await;
    assert_eq!((first.function.as_str(), &first.event["source"]), ("g", &json!("aws.events")));
    first.answer("null");
    let function = "g".to_owned();
    let went_well = Happening::Scheduled { function: function.clone(), problem: None };
    assert_eq!(world.happening().await, went_well);
    world.call().await.reply(500, "{\"errorMessage\": \"boom\"}");
    let problem = Some("`g` failed: boom".to_owned());
    assert_eq!(world.happening().await, Happening::Scheduled { function, problem });
    world.call().await.answer("null");
    assert_eq!(world.happening().await, went_well);
    world.end().await;
}

#[tokio::test]
async fn a_request_reaches_its_function_and_the_answer_its_asker() {
    let mut world = World::at("http://127.0.0.1:1").await;
    let running = world.try_run(front()).await.unwrap();
    let request = "POST /api/x?a=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\
                   Content-Type: application/json\r\nConnection: close\r\n\r\n{}";
    let answering = async {
        let call = world.call().await;
        assert_eq!(call.event["rawPath"], "/api/x");
        assert_eq!(call.event["requestContext"]["http"]["method"], "POST");
        assert_eq!(call.event["body"], "{}");
        let answer = json!({"statusCode": 202, "headers": {"X-A": "b"}, "body": "taken"});
        call.answer(&answer.to_string());
    };
    let (answer, ()) = within(async { tokio::join!(ask(&running, request), answering) }).await;
    assert!(answer.starts_with("HTTP/1.1 202 Accepted\r\n"), "{answer}");
    assert!(answer.contains("x-a: b\r\n") && answer.ends_with("\r\n\r\ntaken"), "{answer}");
    world.running = Some(running);
    world.end().await;
}

#[tokio::test]
async fn a_request_without_an_answer_gets_what_aws_would_say() {
    let mut world = World::at("http://127.0.0.1:1").await;
    let running = world.try_run(front()).await.unwrap();
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    #[rustfmt::skip]
    let cases = [
        (500, "{\"errorMessage\": \"boom\"}", 500, "Internal Server Error", "`f` failed: boom"),
        (404, "{\"detail\": \"gone\"}",       500, "Internal Server Error", "there is no function `f`: gone"),
        (200, "no JSON",                      500, "Internal Server Error", "answered no JSON"),
        (0,   "",                             503, "Service Unavailable",   "did not reach"),
    ];
    for (status, said, expect, message, why) in cases {
        let answering = async { world.call().await.reply(status, said) };
        let (answer, ()) = within(async { tokio::join!(ask(&running, request), answering) }).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {expect} ")), "{answer}");
        assert!(answer.ends_with(&format!("\r\n\r\n{{\"message\":\"{message}\"}}")), "{answer}");
        let Happening::Request { status, problem, .. } = world.happening().await else {
            panic!("a request")
        };
        assert_eq!(status, expect);
        assert!(problem.as_deref().unwrap_or_default().contains(why), "{problem:?}");
    }
    let foreign = "GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    let answer = within(ask(&running, foreign)).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    world.running = Some(running);
    world.end().await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let world = World::at("http://127.0.0.1:1").await;
    let running = world.try_run(front()).await.unwrap();
    let port = running.fronts[0].0.port();
    let wanted = Wanted { fronts: vec![Front { port, function: "f".to_owned() }], ..front() };
    let error = world.try_run(wanted).await.err().unwrap();
    for part in [port.to_string().as_str(), "choose another port with `--http`"] {
        assert!(format!("{error:#}").contains(part), "{part}: {error:#}");
    }
    assert!(running.end(Duration::from_secs(1)).await);
}
