//! The mapping against a real emulator of SQS, with a function that the test itself answers for.

mod triggers;
mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use self::world::{World, failing, ids, within};
use super::report::Happening;

#[tokio::test]
async fn a_batch_has_the_form_of_lambda_and_is_deleted_when_it_is_done() {
    let mut world = World::new().await;
    let url = world.queue("done.fifo", json!({"FifoQueue": "true"})).await;
    let body = json!({
        "QueueUrl": url, "MessageBody": "{\"n\": 1}", "MessageGroupId": "g", "MessageDeduplicationId": "d1",
        "MessageAttributes": {"kind": {"DataType": "String", "StringValue": "v"}},
        "MessageSystemAttributes": {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-5e-a"}},
    });
    world.sqs("sqs:SendMessage", &body).await;
    world.start(&[&format!("{url}=f")]).await;
    let call = world.call().await;
    assert_eq!(call.function, "f");
    let record = &call.event["Records"][0];
    let keys: BTreeSet<&str> = record.as_object().unwrap().keys().map(String::as_str).collect();
    #[rustfmt::skip]
    let expect = ["messageId", "receiptHandle", "body", "attributes", "messageAttributes", "md5OfBody",
        "md5OfMessageAttributes", "eventSource", "eventSourceARN", "awsRegion"];
    assert_eq!(keys, expect.into_iter().collect());
    assert_eq!(record["body"], "{\"n\": 1}");
    assert_eq!(record["eventSource"], "aws:sqs");
    assert_eq!(record["eventSourceARN"], world.arn(&url).await);
    assert_eq!(record["awsRegion"], "us-east-1");
    assert_eq!(record["messageAttributes"]["kind"]["stringValue"], "v");
    let attributes = record["attributes"].as_object().unwrap();
    for name in ["SentTimestamp", "SenderId", "ApproximateFirstReceiveTimestamp", "SequenceNumber"]
    {
        assert!(attributes[name].is_string(), "{name}");
    }
    for (name, value) in [
        ("ApproximateReceiveCount", "1"),
        ("MessageGroupId", "g"),
        ("MessageDeduplicationId", "d1"),
        ("AWSTraceHeader", "Root=1-5e-a"),
    ] {
        assert_eq!(attributes[name], value, "{name}");
    }
    call.answer("null");
    assert_eq!(world.batch().await, (1, 1, None));
    assert_eq!(world.count(&url).await, (0, 0));
    world.end().await;
}

#[tokio::test]
async fn what_failed_comes_back_alone_and_then_goes_to_the_dead_letters() {
    let mut world = World::new().await;
    let dead = world.queue("dead", json!({})).await;
    let redrive = json!({"deadLetterTargetArn": world.arn(&dead).await, "maxReceiveCount": 2});
    let attributes = json!({"VisibilityTimeout": "2", "RedrivePolicy": redrive.to_string()});
    let url = world.queue("partial", attributes).await;
    world.send(&url, &["a", "b", "c"]).await;
    world.start(&[&format!("{url}=f")]).await;
    // A standard queue may give out three messages in several batches.
    let (mut seen, mut failed) = (0, 0);
    while seen < 3 {
        let call = world.call().await;
        seen += call.records().len();
        let bad = ids(&call, |record| record["body"] == "b");
        failed += bad.len();
        call.answer(&failing(&bad));
        let (messages, done, problem) = world.batch().await;
        assert_eq!((messages - done, problem), (bad.len(), None));
    }
    assert_eq!(failed, 1);
    let again = world.call().await;
    assert_eq!(again.bodies(), ["b"]);
    assert_eq!(again.records()[0]["attributes"]["ApproximateReceiveCount"], "2");
    again.reply(500, "{\"errorType\": \"E\", \"errorMessage\": \"boom\"}");
    assert_eq!(world.batch().await, (1, 0, Some("`f` failed: E: boom".to_owned())));
    assert_eq!(world.receive(&dead).await, ["b"]);
    assert_eq!(world.count(&url).await, (0, 0));
    world.end().await;
}

#[tokio::test]
async fn a_function_that_dies_costs_its_visibility_timeout_and_no_message() {
    let mut world = World::new().await;
    let url = world.queue("dying", json!({"VisibilityTimeout": "1"})).await;
    world.send(&url, &["a"]).await;
    world.start(&[&format!("{url}=f:10:1")]).await;
    let dead = world.call().await;
    let (messages, done, problem) = world.batch().await;
    assert_eq!((messages, done), (1, 0));
    assert!(problem.unwrap().contains("did not answer in time; if its process has died"));
    drop(dead);
    let again = world.call().await;
    assert_eq!(again.bodies(), ["a"]);
    again.answer("{}");
    assert_eq!(world.batch().await, (1, 1, None));
    world.end().await;
}

#[tokio::test]
async fn no_more_batches_are_out_than_the_mapping_allows() {
    let mut world = World::new().await;
    let url = world.queue("bound", json!({})).await;
    world.send(&url, &["a", "b", "c", "d", "e", "f"]).await;
    world.start(&[&format!("{url}=f:1:2")]).await;
    let mut out = vec![world.call().await, world.call().await];
    // What nobody works on stays visible to others.
    assert_eq!(world.count(&url).await, (4, 2));
    let mut bodies = BTreeSet::new();
    for left in (0..4).rev() {
        let call = out.remove(0);
        bodies.extend(call.bodies());
        call.answer("");
        assert_eq!(world.batch().await, (1, 1, None));
        out.push(world.call().await);
        assert_eq!(world.count(&url).await, (left, 2));
    }
    for call in out {
        bodies.extend(call.bodies());
        call.answer("");
        assert_eq!(world.batch().await, (1, 1, None));
    }
    assert_eq!(bodies.into_iter().collect::<String>(), "abcdef");
    world.end().await;
}

#[tokio::test]
async fn a_group_keeps_its_order_across_failures_while_others_go_on() {
    let mut world = World::new().await;
    let url =
        world.queue("order.fifo", json!({"FifoQueue": "true", "VisibilityTimeout": "1"})).await;
    for (body, group) in [("a1", "a"), ("a2", "a"), ("b1", "b"), ("a3", "a"), ("b2", "b")] {
        world.send_to(&url, body, group).await;
    }
    world.start(&[&format!("{url}=f:10:3")]).await;
    let (mut done, mut has_failed) = (Vec::new(), false);
    while done.len() < 5 {
        let call = world.call().await;
        // The function reports only what failed, not what it did not begin for it.
        let bad = ids(&call, |record| record["body"] == "a2" && !has_failed);
        let bodies = call.bodies();
        has_failed |= !bad.is_empty();
        call.answer(&failing(&bad));
        let (_, count, _) = world.batch().await;
        let mut blocked = false;
        let succeeded: Vec<String> = bodies
            .into_iter()
            .filter(|body| {
                blocked |= body == "a2" && !bad.is_empty();
                !(blocked && body.starts_with('a'))
            })
            .collect();
        assert_eq!(count, succeeded.len());
        done.extend(succeeded);
    }
    for (group, expect) in [('a', vec!["a1", "a2", "a3"]), ('b', vec!["b1", "b2"])] {
        let order: Vec<&String> = done.iter().filter(|body| body.starts_with(group)).collect();
        assert_eq!(order, expect.iter().collect::<Vec<_>>());
    }
    assert!(has_failed);
    assert_eq!(world.count(&url).await, (0, 0));
    world.end().await;
}

#[tokio::test]
async fn a_batch_that_ends_within_the_grace_is_deleted() {
    let mut world = World::new().await;
    let url = world.queue("grace", json!({})).await;
    world.send(&url, &["a"]).await;
    world.start(&[&format!("{url}=f")]).await;
    let call = world.call().await;
    let running = world.running.take().unwrap();
    let ended = tokio::spawn(running.end(Duration::from_secs(20)));
    call.answer("null");
    assert!(within(ended).await.unwrap(), "all of it ended");
    assert_eq!(world.batch().await, (1, 1, None));
    assert_eq!(world.count(&url).await, (0, 0));
}

#[tokio::test]
async fn a_batch_that_outlasts_the_grace_is_left_to_sqs() {
    let mut world = World::new().await;
    let url = world.queue("outlast", json!({})).await;
    world.send(&url, &["a"]).await;
    world.start(&[&format!("{url}=f")]).await;
    let _hangs = world.call().await;
    let running = world.running.take().unwrap();
    assert!(!within(running.end(Duration::from_millis(20))).await);
    assert_eq!(world.count(&url).await, (0, 1), "hidden until its visibility timeout ends");
}

#[tokio::test]
async fn what_is_not_there_is_named_before_anything_begins() {
    let mut world = World::new().await;
    let url = world.queue("there", json!({})).await;
    let gone = format!("{url}-gone");
    #[rustfmt::skip]
    let cases = [
        (format!("{gone}=f"), vec![gone.as_str(), "QueueDoesNotExist", "create the queue"]),
        (format!("{url}=h"),  vec!["there is no function `h`", "Available functions", "\"f\""]),
    ];
    for (mapping, says) in cases {
        let error = world.try_start(&[&mapping]).await.err().unwrap();
        assert!(error.is::<crate::ending::Invalid>(), "{error:#}");
        for part in says {
            assert!(format!("{error:#}").contains(part), "{part}: {error:#}");
        }
    }
}

#[tokio::test]
async fn an_address_where_nobody_listens_is_named_with_its_cure() {
    let mut world = World::new().await;
    let url = world.queue("refused", json!({})).await;
    let mapping = format!("{url}=f");
    let nobody = world::nobody().await;
    world.functions_url.clone_from(&nobody);
    let error = world.try_start(&[&mapping]).await.err().unwrap();
    for part in [nobody.as_str(), "start `cargo lambda watch`", "`--functions`"] {
        assert!(format!("{error:#}").contains(part), "{part}: {error:#}");
    }
    let mut world = World::at(&nobody).await;
    let error = world.try_start(&[&mapping]).await.err().unwrap();
    for part in [nobody.as_str(), url.as_str(), "check the endpoint"] {
        assert!(format!("{error:#}").contains(part), "{part}: {error:#}");
    }
}

#[tokio::test]
async fn a_function_that_is_gone_later_ends_everything() {
    let mut world = World::new().await;
    let url = world.queue("gone", json!({})).await;
    world.start(&[&format!("{url}=f")]).await;
    world.send(&url, &["a"]).await;
    let call = world.call().await;
    call.reply(404, "{\"detail\": \"Available functions: {}\"}");
    let error = within(world.running.as_mut().unwrap().broken()).await;
    assert_eq!(error.to_string(), "there is no function `f`: Available functions: {}");
    world.end().await;
}

#[tokio::test]
async fn a_batch_waits_for_functions_that_start_again() {
    let mut world = World::new().await;
    let url = world.queue("restart", json!({})).await;
    world.send(&url, &["a"]).await;
    world.start(&[&format!("{url}=f")]).await;
    world.call().await.hang_up();
    let again = world.call().await;
    assert_eq!(again.records()[0]["attributes"]["ApproximateReceiveCount"], "1");
    again.answer("null");
    assert_eq!(world.batch().await, (1, 1, None));
    world.end().await;
}

#[tokio::test]
async fn a_queue_that_cannot_be_read_is_told_once_and_found_again() {
    let gone = r#"{"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "gone"}"#;
    let message = r#"{"Messages": [{"MessageId": "1", "ReceiptHandle": "r", "Body": "a"}]}"#;
    let script = [(400, gone), (400, gone), (200, "{}"), (200, message)];
    let mut world = World::at(&world::scripted(script).await).await;
    world.start(&["http://h/000000000000/q=f"]).await;
    let Happening::Unreachable { queue, problem } = world.happening().await else {
        panic!("it is lost")
    };
    assert_eq!(queue, "q");
    assert!(problem.contains("QueueDoesNotExist"), "{problem}");
    assert_eq!(world.happening().await, Happening::Reachable { queue });
    let call = world.call().await;
    assert_eq!(call.bodies(), ["a"]);
    call.answer("null");
    assert_eq!(world.batch().await, (1, 1, None));
    world.end().await;
}
