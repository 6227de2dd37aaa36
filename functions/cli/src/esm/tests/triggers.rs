//! Functions that are triggered by time.

use std::time::Duration;

use serde_json::json;

use super::super::Wanted;
use super::super::report::Happening;
use super::super::wanted::Schedule;
use super::world::World;

fn schedule() -> Wanted {
    let schedule = Schedule { every: Duration::from_millis(100), function: "g".to_owned() };
    Wanted { schedules: vec![schedule], ..Wanted::default() }
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
