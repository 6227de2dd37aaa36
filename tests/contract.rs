//! What every port promises, asked of every adapter with the same assertions.

#![expect(clippy::unwrap_used, reason = "a failed call is a failed test, also in what tests share")]

#[path = "contract/samples.rs"]
mod samples;

#[path = "contract/state_store.rs"]
mod state_store;

#[path = "contract/executions.rs"]
mod executions;

#[path = "contract/sqlite_file.rs"]
mod sqlite_file;

#[path = "contract/event_view.rs"]
mod event_view;

#[path = "contract/queues.rs"]
mod queues;

#[path = "contract/payload_store.rs"]
mod payload_store;

#[path = "contract/catalog.rs"]
mod catalog;

#[path = "contract/secrets.rs"]
mod secrets;

#[path = "contract/nats.rs"]
mod nats;

#[path = "contract/aws.rs"]
mod aws;
