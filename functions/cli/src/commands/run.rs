//! `run`: a playbook, from its text to its result, in this process.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use adapters::catalog::Registry as _;
use adapters::embedded::Embedded;
use anyhow::anyhow;
use clap::Args as ClapArgs;
use engine_core::event::Start;
use engine_core::playbook::PlaybookRef;

use crate::args::{StoreArgs, ToolArgs};
use crate::conclusion::{Wanted, conclude};
use crate::ending::{Ending, invalid};
use crate::inputs::{Given, Setting, payload};
use crate::local::{Local, Silent, Watch, runtime};
use crate::place::Place;
use crate::playbooks::{Source, Target, has_errors};
use crate::render::progress::{Bars, Lines};
use crate::render::{Styles, diagnostic, note};

/// Runs a playbook to its end, in this process
///
/// The execution is kept in the store, a SQLite file (by default `.noetl/runs.db` in the current folder,
/// which git is told to ignore), so that it can be resumed and looked at. `--store :memory:` keeps nothing.
#[derive(ClapArgs, Debug)]
pub(crate) struct Args {
    /// A playbook file, or the path of a playbook that is registered in the store
    playbook: String,
    /// An input, at a dotted path; JSON or text; wins over the payload
    #[arg(long = "set", value_name = "K=V")]
    settings: Vec<Setting>,
    /// Inputs as a JSON object, or `@FILE` to read one
    #[arg(long, value_name = "JSON|@FILE")]
    payload: Option<Given>,
    #[command(flatten)]
    place: StoreArgs,
    /// Write all events to this file, one JSON object a line
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    /// Print one JSON object about the execution, and nothing else
    #[arg(long)]
    json: bool,
    /// Another playbook that this one may call
    #[arg(long = "register", value_name = "FILE")]
    registered: Vec<PathBuf>,
    #[command(flatten)]
    tools: ToolArgs,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Ending> {
    let payload = payload(args.payload.as_ref(), &args.settings).map_err(invalid)?;
    let given = given(args)?;
    let mut others = Vec::new();
    for file in &args.registered {
        others.push(checked(Source::read(file).map_err(invalid)?, Target::Anywhere)?);
    }
    let place = args.place.store.clone();
    let local = Arc::new(Local::new(place.open()?, &args.tools, watch(args.json))?);
    let runtime = runtime()?;
    let ending = runtime.block_on(async {
        for other in &others {
            local.embedded.catalog.register(&other.text).await.map_err(invalid)?;
        }
        let (source, reference) = register(&local.embedded, given, &place).await?;
        let start = Start { playbook: reference.clone(), payload, parent: None };
        let id = local.start(start).await?;
        if !args.json {
            let styles = Styles::stderr();
            let path = styles.strong.apply_to(&reference.path);
            note(format_args!("{path}  {}", styles.faint.apply_to(format!("execution {id}"))));
        }
        let wanted = Wanted {
            json: args.json,
            events: args.events.as_deref(),
            place: &place,
            credentials: &args.tools.credentials,
            source: Some(source),
        };
        let stopped = local.drive(id, &reference).await;
        conclude(&local, id, stopped, wanted).await
    });
    // Calls that did not finish in time are left behind.
    runtime.shutdown_background();
    ending
}

/// What is to run: a file that was read and checked, or something in the catalog.
enum Playbook {
    File(Source),
    Registered(String),
}

fn given(args: &Args) -> anyhow::Result<Playbook> {
    let path = Path::new(&args.playbook);
    // Also a pipe: a playbook may come from another program.
    if path.exists() && !path.is_dir() {
        let source = Source::read(path).map_err(invalid)?;
        return Ok(Playbook::File(checked(source, Target::Here)?));
    }
    // A name that can only be meant as a file must not create a store.
    let is_store = matches!(&args.place.store, Place::File(store) if store.exists());
    if !is_store {
        return Err(invalid(anyhow!("there is no playbook file `{}`", args.playbook)));
    }
    Ok(Playbook::Registered(args.playbook.clone()))
}

/// Reports all findings; an error among them ends the command.
fn checked(source: Source, target: Target) -> anyhow::Result<Source> {
    let diagnostics = source.check(target).diagnostics;
    let colored = console::colors_enabled_stderr();
    for found in &diagnostics {
        note(diagnostic::render(&source, found, colored).trim_end());
    }
    if has_errors(&diagnostics) {
        return Err(invalid(anyhow!("`{}` cannot run; nothing was started", source.name)));
    }
    Ok(source)
}

/// The text and the version to run.
async fn register(
    embedded: &Embedded,
    playbook: Playbook,
    place: &Place,
) -> anyhow::Result<(Source, PlaybookRef)> {
    let catalog = &embedded.catalog;
    match playbook {
        Playbook::File(source) => {
            let version = catalog.register(&source.text).await.map_err(invalid)?;
            Ok((source, version.reference))
        }
        Playbook::Registered(path) => {
            let Some(version) = catalog.find(&path, None).await? else {
                let mut known: Vec<String> = catalog
                    .list()
                    .await?
                    .into_iter()
                    .map(|version| format!("`{}`", version.reference.path))
                    .collect();
                known.sort_unstable();
                known.dedup();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(invalid(anyhow!(
                    "`{path}` is no file, and no playbook of `{place}`; there is: {known}"
                )));
            };
            let text = catalog.text(&version.reference).await?;
            let source = checked(Source { name: path, text }, Target::Here)?;
            Ok((source, version.reference))
        }
    }
}

/// Who is told about progress.
pub(super) fn watch(json: bool) -> Arc<dyn Watch> {
    if json {
        Arc::new(Silent)
    } else if std::io::stderr().is_terminal() {
        Arc::new(Bars::new())
    } else {
        Arc::new(Lines::new(std::io::stderr(), Styles::stderr()))
    }
}
