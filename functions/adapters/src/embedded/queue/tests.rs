use super::*;
use crate::clock::ManualClock;

const VISIBILITY_MS: i64 = 1_000;

fn queue() -> (Arc<ManualClock>, Arc<Queue<u32>>) {
    let clock = Arc::new(ManualClock::new(0));
    let redelivery = Redelivery { visibility_ms: VISIBILITY_MS, receives_max: 3 };
    (clock.clone(), Arc::new(Queue::new(clock, redelivery)))
}

fn plain(body: u32) -> Message<u32> {
    Message { body: Arc::new(body), group: None, not_before_ms: 0 }
}

fn grouped(group: &str, body: u32) -> Message<u32> {
    Message { group: Some(group.to_owned()), ..plain(body) }
}

fn delayed(not_before_ms: i64, body: u32) -> Message<u32> {
    Message { not_before_ms, ..plain(body) }
}

fn bodies(batch: &[Delivery<u32>]) -> Vec<u32> {
    batch.iter().map(|delivery| *delivery.body).collect()
}

/// What can be taken at this moment without waiting.
fn take(queue: &Queue<u32>, max: usize) -> Vec<Delivery<u32>> {
    queue.look(max, false).unwrap_or_default()
}

#[test]
fn a_message_comes_back_until_it_is_deleted_and_then_never() {
    let (clock, queue) = queue();
    queue.send([plain(1), plain(2)]).unwrap();
    let first = take(&queue, 10);
    assert_eq!(bodies(&first), [1, 2]);
    queue.delete([first[0].receipt]);
    clock.advance(VISIBILITY_MS - 1);
    assert!(take(&queue, 10).is_empty());
    clock.advance(1);
    let second = take(&queue, 10);
    assert_eq!(bodies(&second), [2]);
    assert_eq!(second[0].receive_count, 2);
    queue.delete([first[1].receipt]);
    assert_eq!(queue.counters().in_flight, 1, "the first delivery's receipt is void");
    queue.delete([second[0].receipt, second[0].receipt]);
    let expected = Counters { sent: 2, received: 3, deleted: 2, ..Counters::default() };
    assert_eq!(queue.counters(), expected);
}

#[test]
fn a_late_delete_counts_as_long_as_nobody_else_has_the_message() {
    let (clock, queue) = queue();
    queue.send([plain(1), grouped("a", 2), grouped("a", 3)]).unwrap();
    let batch = take(&queue, 2);
    clock.advance(VISIBILITY_MS);
    assert_eq!(queue.counters().visible, 3);
    queue.delete(batch.iter().map(|delivery| delivery.receipt));
    assert_eq!(bodies(&take(&queue, 10)), [3]);
    assert_eq!(queue.counters().deleted, 2);
}

#[test]
fn visibility_is_shortened_and_extended() {
    let (clock, queue) = queue();
    queue.send([plain(1), plain(2)]).unwrap();
    let batch = take(&queue, 2);
    queue.change_visibility(batch[0].receipt, 0);
    queue.change_visibility(batch[1].receipt, 5_000);
    assert_eq!(bodies(&take(&queue, 2)), [1]);
    clock.advance(4_999);
    assert_eq!(bodies(&take(&queue, 2)), [1]);
    clock.advance(1);
    assert_eq!(bodies(&take(&queue, 2)), [2]);
}

#[test]
fn groups_keep_their_order_whatever_comes_back() {
    let (clock, queue) = queue();
    queue.send([1, 2, 3, 4].map(|body| grouped("a", body))).unwrap();
    queue.send([grouped("b", 5)]).unwrap();
    let first = take(&queue, 2);
    assert_eq!(bodies(&first), [1, 2]);
    assert_eq!(bodies(&take(&queue, 10)), [5], "`a` is blocked, `b` is not");
    queue.delete([first[1].receipt]);
    assert!(take(&queue, 10).is_empty(), "one of `a` is still out");
    clock.advance(VISIBILITY_MS);
    assert_eq!(bodies(&take(&queue, 2)), [1, 3], "what came back is first again");
}

#[test]
fn one_group_at_a_time_when_asked() {
    let (_clock, queue) = queue();
    queue.send([grouped("a", 1), grouped("b", 2), grouped("a", 3)]).unwrap();
    let one = |max| queue.look(max, true).map(|batch| bodies(&batch)).unwrap_or_default();
    assert_eq!(one(10), [1, 3]);
    assert_eq!(one(10), [2]);
    queue.send([plain(4), plain(5)]).unwrap();
    assert_eq!(one(10), [4, 5]);
}

#[test]
fn a_dead_message_makes_way_for_its_group() {
    let (clock, queue) = queue();
    queue.send([grouped("a", 1), grouped("a", 2)]).unwrap();
    for _ in 0..3 {
        assert_eq!(bodies(&take(&queue, 1)), [1]);
        clock.advance(VISIBILITY_MS);
    }
    assert_eq!(bodies(&take(&queue, 1)), [2]);
    assert_eq!(queue.counters().dead, 1);
    let letter = queue.lock().ledger.pop_dead().unwrap();
    assert_eq!((*letter.body, letter.receive_count), (1, 3));
    assert_eq!(letter.cause, "received 3 times and never acknowledged");
}

#[tokio::test]
async fn a_consumer_that_goes_away_leaves_its_watch_to_another() {
    let (clock, queue) = queue();
    let consumer = |queue: Arc<Queue<u32>>| tokio::spawn(async move { queue.receive(1).await });
    let (first, second) = (consumer(queue.clone()), consumer(queue.clone()));
    tokio::task::yield_now().await;
    // One of the two wakes up for this and watches the clock; the other goes on sleeping.
    queue.send([delayed(10, 7)]).unwrap();
    tokio::task::yield_now().await;
    first.abort();
    assert!(first.await.is_err());
    clock.advance(10);
    assert_eq!(bodies(&second.await.unwrap()), [7]);
}

#[tokio::test]
async fn every_waiting_consumer_gets_its_share_of_one_batch() {
    let (_clock, queue) = queue();
    let consumers: Vec<_> = (0..8)
        .map(|_| {
            let queue = queue.clone();
            tokio::spawn(async move { bodies(&queue.receive(1).await) })
        })
        .collect();
    tokio::task::yield_now().await;
    queue.send((0..8).map(plain)).unwrap();
    let mut all = Vec::new();
    for consumer in consumers {
        all.extend(consumer.await.unwrap());
    }
    all.sort_unstable();
    assert_eq!(all, (0..8).collect::<Vec<_>>());
}

#[test]
fn a_long_queue_is_as_fast_as_a_short_one() {
    let (clock, queue) = queue();
    queue.send((0..100_000).map(|body| delayed(i64::from(body), body))).unwrap();
    queue.send((0..100_000).map(|body| grouped(&(body % 1_000).to_string(), body))).unwrap();
    // Quadratic work here would take minutes.
    for _ in 0..30_000 {
        clock.advance(1);
        let batch = take(&queue, 3);
        assert_eq!(batch.len(), 3);
        queue.delete(batch.iter().map(|delivery| delivery.receipt));
    }
    assert_eq!(queue.counters().deleted, 90_000);
}
