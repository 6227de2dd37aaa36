//! `list`: the executions of a store.

use std::io::Write as _;

use adapters::executions::{ExecutionSummary, Executions as _};
use api::view::status_text;
use clap::Args as ClapArgs;
use engine_core::event::Status;
use serde_json::{Value, json};

use super::{look, stdout, write_json};
use crate::args::StoreArgs;
use crate::ending::Ending;
use crate::render::table::{Align, table};
use crate::render::{Styles, duration, printable};

/// Lists executions, the newest first
#[derive(ClapArgs, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    place: StoreArgs,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Ending> {
    let embedded = args.place.store.look()?;
    let found = look(async { Ok(embedded.store.executions(None, args.limit).await?) })?;
    let mut out = stdout();
    if args.json {
        write_json(&mut out, &found.iter().map(object).collect::<Vec<_>>())?;
    } else {
        let now_ms = embedded.clock.now_ms();
        write!(out, "{}", rows(&found, now_ms, &Styles::stdout()))?;
    }
    out.flush()?;
    Ok(Ending::Completed)
}

fn object(one: &ExecutionSummary) -> Value {
    json!({
        "execution_id": one.execution_id,
        "path": one.path,
        "status": one.status,
        "started_ms": one.started_ms,
        "ended_ms": one.ended_ms,
    })
}

fn rows(found: &[ExecutionSummary], now_ms: i64, styles: &Styles) -> String {
    if found.is_empty() {
        return "no executions yet\n".to_owned();
    }
    let head = ["execution", "status", "started", "took", "playbook"];
    let mut rows = vec![head.map(|text| styles.faint.apply_to(text).to_string()).to_vec()];
    for one in found {
        let style = match one.status {
            Status::Completed => &styles.good,
            Status::Running | Status::Skipped => &styles.odd,
            Status::Failed | Status::Cancelled => &styles.bad,
        };
        let since = |from: i64, to: i64| duration(u64::try_from(to - from).unwrap_or_default());
        rows.push(vec![
            one.execution_id.to_string(),
            style.apply_to(status_text(one.status)).to_string(),
            format!("{} ago", since(one.started_ms, now_ms)),
            one.ended_ms.map(|ended_ms| since(one.started_ms, ended_ms)).unwrap_or_default(),
            printable(&one.path),
        ]);
    }
    table(&[Align::Left, Align::Left, Align::Right, Align::Right, Align::Left], &rows)
}

#[cfg(test)]
mod tests {
    use engine_core::ids::ExecutionId;

    use super::*;

    #[test]
    fn a_running_execution_took_nothing_yet() {
        let one = |id: i64, status, ended_ms| ExecutionSummary {
            position: id,
            execution_id: ExecutionId(id),
            path: "examples/x".to_owned(),
            status,
            started_ms: 1_000,
            ended_ms,
        };
        let found = [one(12, Status::Running, None), one(9, Status::Completed, Some(1_020))];
        let expect = "  \
execution  status       started   took  playbook
  12         RUNNING    1.0 s ago         examples/x
  9          COMPLETED  1.0 s ago  20 ms  examples/x
";
        assert_eq!(rows(&found, 2_000, &Styles::plain()), expect);
        assert_eq!(rows(&[], 0, &Styles::plain()), "no executions yet\n");
    }
}
