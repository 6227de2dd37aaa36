//! One open database: its limits, what is attached to it, and what is closed to it.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use duckdb::{Config, Connection};
use engine_core::limits::{
    DUCKDB_MEMORY_BYTES, DUCKDB_ROWS_MEMORY_BYTES, DUCKDB_ROWS_THREADS, DUCKDB_TEMP_BYTES,
    DUCKDB_THREADS_MAX,
};
use worker::tools::duckdb::protocol::{Failure, Rules, Usage};

use crate::failure::{failed, of};

/// Counts what was opened, for names.
static OPENED: AtomicU64 = AtomicU64::new(0);
/// What a statement may still set, as it only changes how values look.
const SETTABLE: &str = "'TimeZone', 'Calendar', 'default_order', 'default_null_order'";
/// What [`crate::cache`] sets where rows pass; `guard` keeps it from statements.
const SETTABLE_HERE: &str = "'memory_limit', 'max_vacuum_tasks', 'wal_autocheckpoint'";
/// What it may set besides, where everything is open.
const SETTABLE_OUTSIDE: &str = "'s3_region', 's3_endpoint', 's3_url_style', 's3_use_ssl', \
    's3_access_key_id', 's3_secret_access_key', 's3_session_token'";

/// Opens a file, or memory, under `rules`.
pub(crate) fn open(
    path: Option<&str>,
    rules: &Rules,
    usage: Usage,
    home: &Path,
) -> Result<Connection, Failure> {
    let config = config(rules, home).and_then(|config| sized(config, usage)).map_err(of)?;
    let database = match path {
        Some(path) => Connection::open_with_flags(path, config),
        None => Connection::open_in_memory_with_flags(config),
    };
    let database = database.map_err(of)?;
    for extension in &rules.extensions {
        load(&database, extension, home)?;
    }
    for statement in &rules.setup {
        database.execute_batch(statement).map_err(of)?;
    }
    database.execute_batch(&closing(rules, usage)).map_err(of)?;
    Ok(database)
}

/// The statements that close off what is not declared.
fn closing(rules: &Rules, usage: Usage) -> String {
    let lock = "SET lock_configuration = true";
    let inside = match usage {
        Usage::Queries => SETTABLE.to_owned(),
        Usage::Rows => format!("{SETTABLE}, {SETTABLE_HERE}"),
    };
    if rules.external_access {
        return format!("SET allowed_configs = [{inside}, {SETTABLE_OUTSIDE}]; {lock}");
    }
    let folders: Vec<String> = rules.folders.iter().map(|folder| text(folder)).collect();
    let folders = if folders.is_empty() {
        String::new()
    } else {
        format!("SET allowed_directories = [{}]; ", folders.join(", "))
    };
    format!("SET allowed_configs = [{inside}]; {folders}SET enable_external_access = false; {lock}")
}

fn config(rules: &Rules, home: &Path) -> duckdb::Result<Config> {
    // A database may read and write in its folder for temporary files: nobody else's are there.
    let number = OPENED.fetch_add(1, Ordering::Relaxed);
    let own = format!("duckdb-engine-{}-{number}", std::process::id());
    let spill = std::env::temp_dir().join(own);
    let automatic = if rules.external_access { "true" } else { "false" };
    Config::default()
        .with("temp_directory", spill.to_string_lossy())?
        .with("max_temp_directory_size", format!("{DUCKDB_TEMP_BYTES}B"))?
        .with("extension_directory", home.join("extensions").to_string_lossy())?
        .with("autoload_known_extensions", automatic)?
        .with("autoinstall_known_extensions", "false")?
        .with("allow_community_extensions", "false")?
        .with("allow_persistent_secrets", "false")
}

/// With what a usage needs.
fn sized(config: Config, usage: Usage) -> duckdb::Result<Config> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    match usage {
        Usage::Queries => config
            .with("threads", cores.min(DUCKDB_THREADS_MAX).to_string())?
            .with("memory_limit", format!("{DUCKDB_MEMORY_BYTES}B")),
        // What is read of a file is not read again.
        Usage::Rows => config
            .with("threads", DUCKDB_ROWS_THREADS.to_string())?
            .with("memory_limit", format!("{DUCKDB_ROWS_MEMORY_BYTES}B"))?
            .with("enable_external_file_cache", "false"),
    }
}

fn load(database: &Connection, extension: &str, home: &Path) -> Result<(), Failure> {
    database.execute_batch(&format!("LOAD {extension}")).map_err(|error| {
        let folder = home.join("extensions");
        failed(
            "Extension",
            format!("`{extension}` is not in {}: {}", folder.display(), of(error).message),
        )
    })
}

/// A text as SQL writes it.
fn text(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}
