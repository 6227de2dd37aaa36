//! What can be asked for on the command line.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};
use engine_core::ids::ExecutionId;

use crate::commands::{
    answer, check, esm, events, list, replay, resume, run, schema, serve, status,
};
use crate::ending::Ending;
use crate::place::{DEFAULT, Place};

/// Runs NoETL playbooks: here in one process, with the engine that runs them on AWS Lambda.
///
/// Exit codes: 0 completed, 1 failed, 2 invalid input, 3 waits for a callback, 130 interrupted. Set
/// `NOETL_LOG` (such as `debug`) and `NOETL_LOG_FORMAT=json` for the program's own log on stderr.
#[derive(Debug, Parser)]
#[command(name = "noetl-lambda", version)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// One subcommand, one file in `commands`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(run::Args),
    Check(check::Args),
    Schema(schema::Args),
    Resume(resume::Args),
    Answer(answer::Args),
    Replay(replay::Args),
    List(list::Args),
    Status(status::Args),
    Events(events::Args),
    Serve(serve::Args),
    Esm(esm::Args),
}

impl Command {
    pub(crate) fn run(self) -> anyhow::Result<Ending> {
        match self {
            Self::Run(args) => run::run(&args),
            Self::Check(args) => check::run(&args),
            Self::Schema(args) => schema::run(&args),
            Self::Resume(args) => resume::run(&args),
            Self::Answer(args) => answer::run(&args),
            Self::Replay(args) => replay::run(&args),
            Self::List(args) => list::run(&args),
            Self::Status(args) => status::run(&args),
            Self::Events(args) => events::run(&args),
            Self::Serve(args) => serve::run(&args),
            Self::Esm(args) => esm::run(&args),
        }
    }
}

/// Which store.
#[derive(ClapArgs, Clone, Debug)]
pub(crate) struct StoreArgs {
    /// The SQLite file that holds executions and registered playbooks
    #[arg(long, value_name = "PATH", default_value = DEFAULT)]
    pub(crate) store: Place,
}

/// Which execution, in which store.
#[derive(ClapArgs, Clone, Debug)]
pub(crate) struct ExecutionArgs {
    /// The execution, as `run` and `list` print it
    #[arg(value_name = "ID", value_parser = execution_id)]
    pub(crate) id: ExecutionId,
    #[command(flatten)]
    pub(crate) place: StoreArgs,
}

/// What tools may use while an execution runs here.
#[derive(ClapArgs, Clone, Debug)]
pub(crate) struct ToolArgs {
    /// A credential that tools may use: a JSON file {"name", "type", "data"}; kept in memory only
    #[arg(long = "credential", value_name = "FILE")]
    pub(crate) credentials: Vec<PathBuf>,
    /// Python interpreters at a time [default: number of cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) workers: Option<u16>,
    /// The Python interpreter for `python` tools
    #[arg(long, value_name = "PATH", default_value = "python3")]
    pub(crate) python: PathBuf,
    /// An environment variable that templates may read as `env.NAME`; no others are visible to them
    #[arg(long, value_name = "NAME")]
    pub(crate) env: Vec<String>,
    /// Let `http` tools reach public addresses only, neither this machine nor its network
    #[arg(long)]
    pub(crate) guard: bool,
}

fn execution_id(text: &str) -> Result<ExecutionId, String> {
    match text.parse() {
        Ok(ExecutionId(id)) if id > 0 => Ok(ExecutionId(id)),
        _ => Err("an execution id is a number, such as 321456789012345678".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn command_lines_are_taken_or_refused() {
        #[rustfmt::skip]
        let cases = [
            ("run a.yaml",                                            true),
            ("run a.yaml --json --store :memory: --payload {}",       true),
            ("run a.yaml --set a=1 --set b.c=text --payload @in.json", true),
            ("run a.yaml --register b.yaml --register c.yaml",        true),
            ("run a.yaml --credential a.json --credential b.json",    true),
            ("run a.yaml --workers 4 --python /usr/bin/python3 --guard", true),
            ("run a.yaml --env TOKEN --env REGION",                   true),
            ("run a.yaml --events out.jsonl",                         true),
            ("run",                                                   false),
            ("run a.yaml b.yaml",                                     false),
            ("run a.yaml --workers 0",                                false),
            ("run a.yaml --set novalue",                              false),
            ("run a.yaml --payload [1]",                              false),
            ("run a.yaml --payload {",                                false),
            ("check a.yaml b.yaml --json",                            true),
            ("check",                                                 false),
            ("schema",                                                true),
            ("resume 12 --store x.db",                                true),
            ("resume twelve",                                         false),
            ("resume -- -12",                                         false),
            ("resume 12 --store :memory:",                            true),
            ("answer 12 t-1-2 --data {\"ok\":true} --store x.db",  true),
            ("answer 12 t --data @in.json --credential a.json",       true),
            ("answer 12 t --data {",                                  false),
            ("answer 12",                                             false),
            ("answer t 12",                                           false),
            ("replay 9223372036854775807",                            true),
            ("replay 9223372036854775808",                            false),
            ("list",                                                  true),
            ("status 12 --json",                                      true),
            ("events 12 --json",                                      true),
            ("serve",                                                 true),
            ("serve --port 0 --host ::1 --store :memory:",            true),
            ("serve --host localhost --credential a.json",            true),
            ("serve --host example.com",                              false),
            ("serve --port 65536",                                    false),
            ("esm --map http://h/0/q.fifo=event-handler:10:4 --map http://h/0/c=w --json", true),
            ("esm --every 60s:sweeper --http 8083:api --functions http://h:9000", true),
            ("esm --map q=f",                                         false),
            ("esm --every sweeper",                                   false),
            ("esm --http api",                                        false),
            ("",                                                      false),
        ];
        for (line, expect) in cases {
            let words = std::iter::once("noetl-lambda").chain(line.split_whitespace());
            assert_eq!(Args::try_parse_from(words).is_ok(), expect, "{line}");
        }
    }

    #[test]
    fn usage_errors_end_with_2() {
        let error = Args::try_parse_from(["noetl-lambda", "run"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
    }
}
