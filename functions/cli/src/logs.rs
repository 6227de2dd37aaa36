//! The program's own log, on stderr.

use tracing_subscriber::EnvFilter;

/// What is logged when `NOETL_LOG` says nothing: the terminal reports failed batches in its own words.
const DEFAULT_FILTER: &str = "warn,event_handler=off";

/// Begins logging: `NOETL_LOG` is the level or filter, `NOETL_LOG_FORMAT=json` the form.
pub(crate) fn init() {
    let filter = EnvFilter::try_from_env("NOETL_LOG")
        .unwrap_or_else(|_unset_or_wrong| EnvFilter::new(DEFAULT_FILTER));
    let unlogged = worker::UNLOGGED.iter().filter_map(|directive| directive.parse().ok());
    let filter = unlogged.fold(filter, EnvFilter::add_directive);
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(console::colors_enabled_stderr())
        .with_writer(std::io::stderr);
    if std::env::var("NOETL_LOG_FORMAT").is_ok_and(|format| format == "json") {
        subscriber.json().init();
    } else {
        subscriber.init();
    }
}
