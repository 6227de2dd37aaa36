//! `answer`: tells a step that waits for a callback what it waits for.

use anyhow::anyhow;
use clap::Args as ClapArgs;
use engine_core::event::IgnoreReason;
use engine_core::ids::ExecutionId;
use serde_json::Value;

use super::resume::{Going, go_on};
use crate::ending::{Ending, invalid};
use crate::inputs::Data;

/// Answers a step that waits for a callback, and goes on with its execution
///
/// `run` and `resume` end with 3 when only such an answer can carry an execution on; they and `status` name
/// the token. The first answer counts.
#[derive(ClapArgs, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    going: Going,
    /// What the step gave out, as `status` shows it
    token: String,
    /// The result of the step, as JSON, or `@FILE` to read it [default: null]
    #[arg(long, value_name = "JSON|@FILE")]
    data: Option<Data>,
}

/// What is told to whom.
pub(super) struct Answer {
    pub(super) token: String,
    pub(super) data: Value,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Ending> {
    let data = args.data.as_ref().map_or(Ok(Value::Null), Data::read).map_err(invalid)?;
    go_on(&args.going, Some(Answer { token: args.token.clone(), data }))
}

/// Why an answer counts for nothing: invalid if nobody ever asked for it.
pub(super) fn refused(id: ExecutionId, token: &str, reason: IgnoreReason) -> anyhow::Error {
    match reason {
        IgnoreReason::Unknown => invalid(anyhow!(
            "execution {id} gave out no token `{token}`; `noetl-lambda status {id}` shows what it waits for"
        )),
        IgnoreReason::Duplicate => anyhow!(
            "the callback `{token}` of execution {id} was answered before; the first answer counts"
        ),
        IgnoreReason::Terminal | IgnoreReason::StaleAttempt => anyhow!(
            "execution {id} does not wait for the callback `{token}` any more: the answer is late"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ending::Invalid;

    #[test]
    fn an_answer_that_counts_for_nothing_says_why() {
        #[rustfmt::skip]
        let cases = [
            (IgnoreReason::Unknown,      true,  "gave out no token `t`"),
            (IgnoreReason::Duplicate,    false, "was answered before"),
            (IgnoreReason::Terminal,     false, "the answer is late"),
            (IgnoreReason::StaleAttempt, false, "the answer is late"),
        ];
        for (reason, is_invalid, expect) in cases {
            let error = refused(ExecutionId(7), "t", reason);
            assert_eq!(error.is::<Invalid>(), is_invalid, "{error}");
            assert!(error.to_string().contains(expect), "{error}");
        }
    }
}
