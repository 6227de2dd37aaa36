//! The local event source mapping: what triggers functions on AWS, on this machine.
//!
//! # Layout
//!
//! * `wanted`: what is mapped to what. `poll`: one queue and its function; `queue` is SQS, `functions`
//!   whoever invokes.
//! * `message`: messages become Lambda's events. `verdict`: a function's answer becomes what is deleted.
//! * `schedule`: a function that is called again and again. `front`: HTTP requests.
//! * `signals`: stop, and that it cannot go on. `report`: what is told.
//!
//! # Invariants
//!
//! * A message is deleted after its function said that it is done with it, and only then.
//! * Nobody but SQS decides when a message comes back, or that it is dead: nothing is kept here.
//! * A function that raised an error is not asked again for the same delivery.
//! * What is out of SQS is with a function: no message waits here while others could take it.

mod front;
mod functions;
mod message;
mod poll;
mod queue;
mod report;
mod schedule;
mod signals;
#[cfg(test)]
mod tests;
mod verdict;
mod wanted;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;
use worker::aws::Aws;

use self::functions::Functions;
use self::poll::Poller;
use self::queue::Queue;
pub(crate) use self::report::{Terminal, Watch};
use self::signals::Switchboard;
pub(crate) use self::wanted::{Front, Mapping, Schedule};
use crate::ending::invalid;

/// Everything that is to trigger functions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) mappings: Vec<Mapping>,
    pub(crate) schedules: Vec<Schedule>,
    pub(crate) fronts: Vec<Front>,
}

/// An event source mapping that runs.
pub(crate) struct Running {
    switchboard: Switchboard,
    parts: JoinSet<()>,
    /// Where HTTP requests are taken, and for which function.
    pub(crate) fronts: Vec<(SocketAddr, String)>,
}

impl Running {
    /// Looks whether everything is there, and begins.
    ///
    /// `functions_url` is what errors name; `aws` knows the way.
    ///
    /// # Errors
    /// Invalid input: a queue or a function that is not there, nobody to ask, a port that is taken.
    pub(crate) async fn start(
        aws: &Aws,
        functions_url: &str,
        wanted: Wanted,
        watch: &Arc<dyn Watch>,
    ) -> anyhow::Result<Self> {
        let functions = Functions::new(aws.clone());
        functions.check(&wanted.functions(), functions_url).await?;
        let (switchboard, signals) = Switchboard::new();
        let (mut pollers, mut listeners) = (Vec::new(), Vec::new());
        for mapping in wanted.mappings {
            let queue = Queue::open(aws, &mapping.queue_url).await?;
            let (functions, watch) = (functions.clone(), watch.clone());
            pollers.push(Arc::new(Poller { mapping, queue, functions, watch }));
        }
        for front in wanted.fronts {
            listeners.push((listen(front.port).await?, front.function));
        }
        // Nothing began before all of it could.
        let (mut parts, mut fronts) = (JoinSet::new(), Vec::new());
        for poller in pollers {
            parts.spawn(poller.run(signals.clone()));
        }
        for schedule in wanted.schedules {
            let watch = watch.clone();
            parts.spawn(schedule::run(schedule, functions.clone(), watch, signals.clone()));
        }
        for (listener, function) in listeners {
            fronts.push((listener.local_addr()?, function.clone()));
            let (functions, watch) = (functions.clone(), watch.clone());
            parts.spawn(front::run(listener, function, functions, watch, signals.clone()));
        }
        Ok(Self { switchboard, parts, fronts })
    }

    /// Returns when it cannot go on, and why.
    pub(crate) async fn broken(&mut self) -> anyhow::Error {
        self.switchboard.broken().await
    }

    /// Takes no more, and gives what is out `grace` to end; whether it did.
    pub(crate) async fn end(mut self, grace: Duration) -> bool {
        self.switchboard.stop();
        let ended = async { while self.parts.join_next().await.is_some() {} };
        timeout(grace, ended).await.is_ok()
    }
}

impl Wanted {
    /// Every function that may be invoked.
    fn functions(&self) -> Vec<&str> {
        let mappings = self.mappings.iter().map(|mapping| &mapping.function);
        let schedules = self.schedules.iter().map(|schedule| &schedule.function);
        let fronts = self.fronts.iter().map(|front| &front.function);
        mappings.chain(schedules).chain(fronts).map(String::as_str).collect()
    }
}

/// Listens on this machine only: nobody is asked for a password.
async fn listen(port: u16) -> anyhow::Result<TcpListener> {
    let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listener = TcpListener::bind(wanted).await.with_context(|| {
        format!("`{wanted}` cannot be listened on; choose another port with `--http`")
    });
    listener.map_err(invalid)
}
