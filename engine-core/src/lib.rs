//! The playbook language and the machine that runs it, without any I/O.
//!
//! # Layout
//!
//! * [`playbook`]: YAML text becomes a checked [`playbook::Playbook`], or diagnostics.
//! * [`template`]: Jinja-compatible expressions over values that may still be elsewhere.
//! * [`ids`], [`payload`], [`event`], [`command`]: the vocabulary.
//! * [`state`]: what is known of an execution or a loop, and how a fact changes it.
//! * [`transition`]: what follows from one input. All decisions are here.
//! * [`driver`]: load, decide, commit, send. The only async code.
//! * [`project`]: stored facts become the event list that people read.
//! * [`ports`]: what the core needs from the world.
//! * [`limits`]: every bound, with its reason. [`mod@time`]: milliseconds as people read them.
//!
//! # Invariants
//!
//! * Same arguments, same bytes: no clock, no chance, no environment, no unordered map.
//! * State changes only by [`state::State::apply`], one recorded fact at a time.
//! * Nothing is sent before the entry that causes it is committed.

pub mod playbook;

pub mod template;

pub mod command;
pub mod event;
pub mod ids;
pub mod payload;

pub mod state;

pub mod transition;

pub mod driver;
pub mod load;
pub mod project;

pub mod limits;
pub mod ports;
pub mod time;
