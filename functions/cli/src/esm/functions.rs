//! The functions that are invoked, wherever they run.

use std::time::Duration;

use anyhow::anyhow;
use bytes::Bytes;
use engine_core::limits::{ESM_BACKOFF_MS, ESM_BACKOFF_MS_MAX, ESM_REQUEST_MS};
use tokio::time::{Instant, sleep};
use worker::aws::{Aws, Invoked};
use worker::tool::{Reaction, ToolError};

use crate::ending::invalid;

/// A name that nobody gives a function: the refusal lists those that there are.
const NOBODY: &str = "noetl-lambda-esm-asks";
/// How such a list begins in the words of `cargo lambda watch`.
const LIST: &str = "Available functions";

/// Where functions are invoked.
#[derive(Clone)]
pub(super) struct Functions {
    aws: Aws,
}

/// Why an invocation has no answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Trouble {
    /// The function raised this error.
    Raised(String),
    /// Nothing came until the deadline.
    Late,
    /// There is no such function; what is said about it.
    Unknown(String),
    /// Whoever invokes functions is not there, or has no time; a later try may work.
    Unreached(String),
    /// Whoever invokes functions will not.
    Refused(String),
}

impl Trouble {
    fn of(error: &ToolError) -> Self {
        match (error.kind(), error.reaction()) {
            ("TimeoutError", _) => Self::Late,
            (_, Reaction::Transient) => Self::Unreached(error.message().to_owned()),
            _ => Self::Refused(error.message().to_owned()),
        }
    }

    /// What happened to `function`, and what to do about it.
    pub(super) fn tell(&self, function: &str) -> String {
        match self {
            Self::Raised(error) => format!("`{function}` failed: {error}"),
            Self::Late => format!(
                "`{function}` did not answer in time; if its process has died, touch its source so that \
                 `cargo lambda watch` starts it again"
            ),
            Self::Unknown(said) => format!("there is no function `{function}`: {said}"),
            Self::Unreached(said) | Self::Refused(said) => said.clone(),
        }
    }
}

impl Functions {
    pub(super) fn new(aws: Aws) -> Self {
        Self { aws }
    }

    /// Looks whether these functions are there.
    ///
    /// Only `cargo lambda watch` lists them; elsewhere the first invocation tells.
    ///
    /// # Errors
    /// Invalid input: a function that is not there, or nobody who could invoke one.
    pub(super) async fn check(&self, names: &[&str], url: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_millis(ESM_REQUEST_MS);
        let list = match self.invoke(NOBODY, Bytes::from_static(b"{}"), deadline).await {
            Err(Trouble::Unknown(said)) if said.contains(LIST) => said,
            Ok(_) | Err(Trouble::Unknown(_) | Trouble::Raised(_)) => return Ok(()),
            Err(Trouble::Late) => {
                return Err(invalid(anyhow!(
                    "`{url}` does not answer; is it `cargo lambda watch`?"
                )));
            }
            Err(Trouble::Unreached(said) | Trouble::Refused(said)) => {
                return Err(invalid(anyhow!(
                    "no function can be invoked: {said}; start `cargo lambda watch`, or name another \
                     address with `--functions`"
                )));
            }
        };
        match names.iter().find(|name| !list.contains(&format!("\"{name}\""))) {
            None => Ok(()),
            Some(name) => Err(invalid(anyhow!(Trouble::Unknown(list).tell(name)))),
        }
    }

    /// Invokes a function once.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(super) async fn invoke(
        &self,
        function: &str,
        event: Bytes,
        deadline: Instant,
    ) -> Result<Vec<u8>, Trouble> {
        match self.aws.invoke(function, event, deadline).await {
            Ok(Invoked::Answered(answer)) => Ok(answer),
            Ok(Invoked::Raised(error)) => Err(Trouble::Raised(error)),
            Ok(Invoked::Unknown(said)) => Err(Trouble::Unknown(said)),
            Err(error) => Err(Trouble::of(&error)),
        }
    }

    /// Invokes a function, again and again until the deadline while nobody is there to do so.
    ///
    /// What a function raises is never repeated here: its messages come back by themselves.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(super) async fn deliver(
        &self,
        function: &str,
        event: Bytes,
        deadline: Instant,
    ) -> Result<Vec<u8>, Trouble> {
        let mut backoff = Duration::from_millis(ESM_BACKOFF_MS);
        loop {
            let ended = self.invoke(function, event.clone(), deadline).await;
            let is_over = Instant::now() + backoff >= deadline;
            match ended {
                Err(Trouble::Unreached(_)) if !is_over => sleep(backoff).await,
                ended => return ended,
            }
            backoff = (backoff * 2).min(Duration::from_millis(ESM_BACKOFF_MS_MAX));
        }
    }
}
