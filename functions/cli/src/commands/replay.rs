//! `replay`: proves that the stored states are what the log says.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;

use api::timeline::Timeline;
use clap::Args as ClapArgs;
use engine_core::ids::AggregateKey;
use engine_core::ports::StateStore;
use engine_core::project::expand;
use engine_core::state::State;
use serde_json::{Value, json};

use super::{find, look, stdout};
use crate::args::ExecutionArgs;
use crate::ending::Ending;
use crate::place::readers;
use crate::render::{Styles, events, number};

/// Differences that are shown of one aggregate.
const DIFFERENCES_SHOWN: usize = 10;

/// Recomputes every state of an execution from its log; ends with 1 if a stored state differs
#[derive(ClapArgs, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    execution: ExecutionArgs,
    /// Do not print the events
    #[arg(long)]
    quiet: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Ending> {
    let embedded = args.execution.place.store.look()?;
    look(async {
        let execution = find(&embedded, &args.execution).await?;
        let store = readers(&embedded).store;
        let (mut out, styles) = (stdout(), Styles::stdout());
        let mut timeline = Timeline::new(store.clone(), args.execution.id);
        let mut folds: BTreeMap<AggregateKey, Fold> = BTreeMap::new();
        while let Some(entry) = timeline.next().await? {
            if !args.quiet {
                for event in expand(&entry) {
                    writeln!(out, "{}", events::line(&event, execution.started_ms, &styles))?;
                }
            }
            let fold = folds.entry(entry.key.clone()).or_default();
            fold.is_gapless &= entry.seq == fold.entries + 1;
            fold.entries += 1;
            fold.state = State::advance(fold.state.take(), &entry);
        }
        let differences = compare(&store, &folds).await?;
        let entries: u64 = folds.values().map(|fold| fold.entries).sum();
        let (states, entries) = (number(folds.len() as u64), number(entries));
        if differences.is_empty() {
            let mark = styles.good.apply_to("✔");
            writeln!(out, "{mark} {entries} entries give the {states} states that are stored")?;
        } else {
            let mark = styles.bad.apply_to("✘");
            writeln!(out, "{mark} {entries} entries do not give the {states} stored states:")?;
            differences.iter().try_for_each(|text| writeln!(out, "  {text}"))?;
        }
        out.flush()?;
        Ok(if differences.is_empty() { Ending::Completed } else { Ending::Failed })
    })
}

/// The log of one aggregate so far.
struct Fold {
    entries: u64,
    is_gapless: bool,
    state: Option<State>,
}

impl Default for Fold {
    fn default() -> Self {
        Self { entries: 0, is_gapless: true, state: None }
    }
}

/// Everything in the store that is not what the log says.
async fn compare(
    store: &Arc<dyn StateStore>,
    folds: &BTreeMap<AggregateKey, Fold>,
) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for (key, fold) in folds {
        if !fold.is_gapless {
            found.push(format!("`{key}`: an entry is missing in its log"));
        }
        let stored = store.tail(key).await?;
        let entries = stored.as_ref().map_or(0, |tail| tail.seq);
        if entries != fold.entries {
            let logged = fold.entries;
            found.push(format!("`{key}`: stored after entry {entries}, the log has {logged}"));
        }
        let (stored, logged) = (json!(stored.map(|tail| tail.state)), json!(fold.state));
        let mut paths = Vec::new();
        differences(&stored, &logged, "", &mut paths);
        let more = paths.len().saturating_sub(DIFFERENCES_SHOWN);
        found.extend(paths.iter().take(DIFFERENCES_SHOWN).map(|path| format!("`{key}`: {path}")));
        if more > 0 {
            found.push(format!("`{key}`: and {more} more"));
        }
    }
    Ok(found)
}

/// The places where two values differ, deepest first named by their path.
fn differences(stored: &Value, logged: &Value, path: &str, found: &mut Vec<String>) {
    match (stored, logged) {
        (Value::Object(stored), Value::Object(logged)) => {
            let missing = logged.keys().filter(|key| !stored.contains_key(*key));
            for key in stored.keys().chain(missing) {
                let of = |map: &serde_json::Map<String, Value>| map.get(key).cloned();
                let (stored, logged) = (of(stored), of(logged));
                let path = format!("{path}/{key}");
                differences(&stored.unwrap_or_default(), &logged.unwrap_or_default(), &path, found);
            }
        }
        (stored, logged) if stored != logged => {
            found.push(format!("`{path}` is stored as `{stored}`, the log says `{logged}`"));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_named_by_their_path() {
        let found = |stored: Value, logged: Value| {
            let mut found = Vec::new();
            differences(&stored, &logged, "", &mut found);
            found
        };
        assert!(found(json!({"a": [1, {"b": 2}]}), json!({"a": [1, {"b": 2}]})).is_empty());
        #[rustfmt::skip]
        let cases = [
            (json!({"a": {"b": 1}}), json!({"a": {"b": 2}}), "`/a/b` is stored as `1`, the log says `2`"),
            (json!({"a": 1}),        json!({}),              "`/a` is stored as `1`, the log says `null`"),
            (json!({}),              json!({"a": 1}),        "`/a` is stored as `null`, the log says `1`"),
            (json!([1]),             json!([2]),             "`` is stored as `[1]`, the log says `[2]`"),
        ];
        for (stored, logged, expect) in cases {
            assert_eq!(found(stored, logged), [expect]);
        }
    }
}
