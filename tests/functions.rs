//! The functions over an emulator of AWS: events as Lambda makes them go in, and what follows is looked up.

#![expect(clippy::unwrap_used, reason = "a failed call is a failed test, also in what tests share")]

#[path = "functions/stack.rs"]
mod stack;

#[path = "functions/events.rs"]
mod events;

#[path = "functions/starts.rs"]
mod starts;

#[path = "functions/dead_letters.rs"]
mod dead_letters;

#[path = "functions/sweeps.rs"]
mod sweeps;

#[path = "functions/requests.rs"]
mod requests;

#[path = "functions/workers.rs"]
mod workers;
