//! `esm`: the local event source mapping.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args as ClapArgs;
use engine_core::limits::{ESM_GRACE_MS, ESM_MAPPINGS_MAX, ESM_TRIGGERS_MAX};
use serde_json::json;
use worker::aws::{Aws, AwsSettings};
use worker::tools::http::HttpPolicy;

use super::{stdout, write_json};
use crate::ending::{Ending, invalid};
use crate::esm::{Front, Mapping, Running, Schedule, Terminal, Wanted, Watch};
use crate::local::{Interrupts, runtime};
use crate::render::note;

/// The variable by which every client of AWS finds Lambda.
const LAMBDA_ENDPOINT: &str = "AWS_ENDPOINT_URL_LAMBDA";

/// Triggers functions on this machine as AWS does: from queues, by time, by HTTP
///
/// For functions that `cargo lambda watch` runs, which has no triggers of its own. A batch is deleted when
/// its function has done it; messages in `batchItemFailures`, or of a call that failed or did not end within
/// the visibility timeout of the queue, are given out again by SQS, which also moves them to the dead
/// letters. Queues are found as every client of AWS finds them: `AWS_ENDPOINT_URL_SQS`, `AWS_ENDPOINT_URL`,
/// `AWS_REGION` and the access key. Ctrl-C or a TERM signal stops within two seconds.
#[derive(ClapArgs, Debug)]
pub(crate) struct Args {
    /// A queue and its function, with the messages of a batch (10) and batches at a time (5)
    #[arg(long = "map", value_name = "QUEUE_URL=FUNCTION[:BATCH[:CONCURRENCY]]")]
    mappings: Vec<Mapping>,
    /// A function that is called again and again, such as `60s:sweeper`
    #[arg(long = "every", value_name = "DURATION:FUNCTION")]
    schedules: Vec<Schedule>,
    /// A port of this machine whose requests go to a function, such as `8083:api`; 0 lets the system choose
    #[arg(long = "http", value_name = "PORT:FUNCTION")]
    fronts: Vec<Front>,
    /// Where functions are invoked
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9000")]
    functions: String,
    /// Print everything that happens, one JSON object a line
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Ending> {
    let wanted = wanted(args)?;
    let lookup = |name: &str| match name {
        LAMBDA_ENDPOINT => Some(args.functions.clone()),
        _ => std::env::var(name).ok(),
    };
    let aws = Aws::new(AwsSettings::from_lookup(lookup), HttpPolicy::default());
    let watch: Arc<dyn Watch> = Arc::new(Terminal { json: args.json });
    let runtime = runtime()?;
    let ending = runtime.block_on(async {
        let mut interrupts = Interrupts::new()?;
        let counts = (wanted.mappings.len(), wanted.schedules.len());
        let mut running = tokio::select! {
            started = Running::start(&aws, &args.functions, wanted, &watch) => started?,
            () = interrupts.next() => return Ok(Ending::Completed),
        };
        tell(args, counts, &running)?;
        tokio::select! {
            error = running.broken() => return Err(error),
            () = interrupts.next() => {}
        }
        tokio::select! {
            is_done = running.end(Duration::from_millis(ESM_GRACE_MS)) => if !is_done {
                note("some calls did not end in time; their messages come back");
            },
            () = interrupts.next() => {}
        }
        Ok(Ending::Completed)
    });
    // Calls that did not finish in time are left behind.
    runtime.shutdown_background();
    ending
}

/// What is asked for, if it is anything and not too much.
fn wanted(args: &Args) -> anyhow::Result<Wanted> {
    let Args { mappings, schedules, fronts, .. } = args;
    if mappings.is_empty() && schedules.is_empty() && fronts.is_empty() {
        let usage = "nothing is to be triggered; name queues with `--map`, times with `--every`, or ports \
                     with `--http`";
        return Err(invalid(anyhow!(usage)));
    }
    let counts = [
        ("--map", mappings.len(), ESM_MAPPINGS_MAX),
        ("--every", schedules.len(), ESM_TRIGGERS_MAX),
        ("--http", fronts.len(), ESM_TRIGGERS_MAX),
    ];
    for (option, count, most) in counts {
        if count > most {
            let message =
                format!("`{option}` is given {count} times; at most {most} fit one process");
            return Err(invalid(anyhow!(message)));
        }
    }
    Ok(Wanted { mappings: mappings.clone(), schedules: schedules.clone(), fronts: fronts.clone() })
}

/// Says in one line that it runs.
fn tell(args: &Args, counts: (usize, usize), running: &Running) -> anyhow::Result<()> {
    let (queues, schedules) = counts;
    let mut out = stdout();
    if args.json {
        let http = running.fronts.iter().map(
            |(address, function)| json!({"url": format!("http://{address}"), "function": function}),
        );
        let line = json!({
            "event": "started",
            "queues": queues,
            "schedules": schedules,
            "http": http.collect::<Vec<_>>(),
            "functions": args.functions,
        });
        write_json(&mut out, &line)?;
    } else {
        let fronts = running.fronts.iter();
        let fronts = fronts.map(|(address, function)| format!(", http://{address} -> {function}"));
        let fronts: String = fronts.collect();
        writeln!(
            out,
            "esm: {queues} queues, {schedules} schedules{fronts}; functions at {}",
            args.functions
        )?;
    }
    out.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ending::Invalid;

    #[test]
    fn nothing_and_too_much_are_refused() {
        let mapping = || "http://h/0/q=f".parse::<Mapping>().unwrap();
        let args = |count: usize| Args {
            mappings: (0..count).map(|_| mapping()).collect(),
            schedules: Vec::new(),
            fronts: Vec::new(),
            functions: String::new(),
            json: false,
        };
        for (count, says) in [(0, "name queues with `--map`"), (65, "at most 64")] {
            let error = wanted(&args(count)).unwrap_err();
            assert!(error.is::<Invalid>() && error.to_string().contains(says), "{error}");
        }
        assert_eq!(wanted(&args(64)).unwrap().mappings.len(), 64);
    }
}
