//! What every queue promises to those who send and to those who receive.

use std::sync::Arc;

use adapters::clock::ManualClock;
use adapters::embedded::queue::{Commands, Events};
use engine_core::command::Command;
use engine_core::event::{Envelope, Input};
use engine_core::limits::{COMMAND_VISIBILITY_MS, EVENT_VISIBILITY_MS, RECEIVES_MAX};
use engine_core::ports::{CommandQueue, EventQueue, PortErrorKind};

use crate::samples::{START_MS, command, execution};

fn envelope(id: i64, input: &str) -> Envelope {
    Envelope { id: input.into(), to: execution(id), input: Input::Tick }
}

fn command_of(kind: &str, not_before_ms: i64) -> Command {
    Command { tool_kind: kind.into(), not_before_ms, ..command("s", 1) }
}

#[tokio::test]
async fn events_of_an_aggregate_are_in_order_and_in_one_hand() {
    let clock = Arc::new(ManualClock::new(START_MS));
    let events = Events::new(clock.clone());
    let sent = [envelope(1, "a"), envelope(2, "b"), envelope(1, "c"), envelope(1, "d")];
    events.send(&sent).await.unwrap();

    let first = events.queue().receive_group(2).await;
    let ids = |batch: &[adapters::embedded::queue::Delivery<Envelope>]| {
        batch.iter().map(|one| one.body.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&first), ["a", "c"]);
    let other = events.queue().receive_group(10).await;
    assert_eq!(ids(&other), ["b"], "the first aggregate is blocked");

    events.queue().delete([first[0].receipt, other[0].receipt]);
    assert_eq!(events.queue().counters().visible, 1, "one of the batch is still out");
    clock.advance(EVENT_VISIBILITY_MS);
    let again = events.queue().receive_group(10).await;
    assert_eq!(ids(&again), ["c", "d"]);
    assert_eq!((again[0].receive_count, again[1].receive_count), (2, 1));
}

#[tokio::test]
async fn a_command_waits_for_its_time_and_its_kind() {
    let clock = Arc::new(ManualClock::new(START_MS));
    let commands = Arc::new(Commands::new(clock.clone()));
    let sent = [command_of("http", START_MS + 500), command_of("python", 0)];
    commands.send(&sent).await.unwrap();
    assert_eq!(commands.kinds(), ["http", "python"]);

    let python = commands.queue("python").receive(10).await;
    assert_eq!(*python[0].body, sent[1]);
    let http = commands.queue("http");
    assert_eq!((http.counters().delayed, http.counters().visible), (1, 0));
    let waiting = tokio::spawn({
        let http = http.clone();
        async move { http.receive(10).await }
    });
    clock.advance(499);
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    clock.advance(1);
    assert_eq!(*waiting.await.unwrap()[0].body, sent[0]);
}

#[tokio::test]
async fn a_command_that_nobody_finishes_is_put_aside_with_the_cause() {
    let clock = Arc::new(ManualClock::new(START_MS));
    let commands = Arc::new(Commands::new(clock.clone()));
    commands.send(&[command_of("http", 0)]).await.unwrap();
    let queue = commands.queue("http");
    for count in 1..=RECEIVES_MAX {
        let taken = queue.receive(1).await;
        assert_eq!(taken[0].receive_count, count);
        if count < RECEIVES_MAX {
            clock.advance(COMMAND_VISIBILITY_MS);
        } else {
            queue.release(taken[0].receipt, 0, "the worker was killed: out of memory");
        }
    }
    let consumer = tokio::spawn({
        let queue = queue.clone();
        async move { queue.receive(1).await }
    });
    let letter = queue.dead_letter().await.unwrap();
    assert_eq!(letter.receive_count, RECEIVES_MAX);
    assert_eq!(letter.cause, "the worker was killed: out of memory");
    queue.close();
    assert!(consumer.await.unwrap().is_empty());
    assert!(queue.dead_letter().await.is_none());
}

#[tokio::test]
async fn closed_queues_take_nothing_and_hold_nobody() {
    let clock = Arc::new(ManualClock::new(START_MS));
    let (events, commands) = (Events::new(clock.clone()), Commands::new(clock));
    events.queue().close();
    commands.close();
    let sent = events.send(&[envelope(1, "a")]).await;
    assert_eq!(sent.unwrap_err().kind, PortErrorKind::Unavailable);
    let sent = commands.send(&[command_of("http", 0)]).await;
    assert_eq!(sent.unwrap_err().kind, PortErrorKind::Unavailable);
    assert!(events.queue().receive(1).await.is_empty());
    assert!(commands.queue("http").receive(1).await.is_empty());
}
