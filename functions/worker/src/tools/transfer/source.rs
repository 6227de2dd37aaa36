//! Where rows come from: a few at a time, never all.

mod bytes;
mod duckdb;
mod http;
mod postgres;
mod sqlite;

use async_trait::async_trait;

pub(super) use self::bytes::format_of;
use self::bytes::{BytesSource, Pieces};
pub(super) use self::duckdb::DuckDbSource;
use self::http::HttpSource;
use self::postgres::PostgresSource;
use self::sqlite::SqliteSource;
use super::decode::{Csv, Decoder, Json, Malformed, Paths};
use super::folder::failed;
use super::object::Object;
use super::parquet::{self, is_parquet};
use super::plan::{Kind, Plan, Side};
use super::query::{Column, Query};
use super::{Connectors, Row, duckdb_settings};
use crate::tool::{Call, Reaction, ToolError};

/// A source that has been opened.
#[async_trait]
pub(super) trait Source: Send {
    /// The next rows: at most `rows_max`, fewer if they are wide or the last; none at the end.
    async fn next(&mut self, rows_max: usize) -> Result<Vec<Row>, ToolError>;

    /// The columns, if the source knows them before the first row.
    fn columns(&self) -> &[Column] {
        &[]
    }
}

/// Opens the source of a plan.
pub(super) async fn open<'a>(
    connectors: &'a Connectors,
    plan: &Plan,
    call: &Call<'a>,
) -> Result<Box<dyn Source + 'a>, ToolError> {
    let side = &plan.source;
    match side.kind {
        Kind::Http => Ok(Box::new(HttpSource::new(&connectors.http, side, call)?)),
        Kind::Postgres => {
            Ok(Box::new(PostgresSource::open(&connectors.postgres, side, call).await?))
        }
        Kind::DuckDb => {
            let (query, settings) = (Query::of(side)?, duckdb_settings(side, call)?);
            let source = DuckDbSource::open(&connectors.duckdb, &settings, &query, call);
            Ok(Box::new(source.await?))
        }
        Kind::File => {
            let path = connectors.files.file(side)?;
            if is_parquet(side) {
                let source = parquet::source(&connectors.duckdb, path, None, call);
                return Ok(Box::new(source.await?));
            }
            let file = tokio::fs::File::open(&path).await;
            let file = file.map_err(|error| failed("read", &path, &error))?;
            let place = path.display().to_string();
            Ok(Box::new(BytesSource::new(place, Pieces::File(file), side)?))
        }
        Kind::S3 => {
            let object = Object::of(&connectors.aws, side, call)?;
            let reader = object.bucket.read(&object.key).await?;
            if is_parquet(side) {
                return Ok(Box::new(parquet::fetched(&connectors.duckdb, reader, call).await?));
            }
            Ok(Box::new(BytesSource::new(object.uri, Pieces::Object(reader), side)?))
        }
        Kind::Sqlite => Ok(Box::new(SqliteSource::open(side, plan.chunk_rows, call)?)),
    }
}

/// How the bytes of a source are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Format {
    /// A list of maps at a path of one document.
    Json,
    /// One map per line.
    Lines,
    /// Comma separated values.
    Csv,
}

impl Format {
    /// What `format` names; none if it is not there.
    pub(super) fn told(side: &Side) -> Result<Option<Self>, ToolError> {
        let Some(name) = side.text("format") else { return Ok(None) };
        match name.trim().to_ascii_lowercase().as_str() {
            "json" => Ok(Some(Self::Json)),
            "jsonl" | "ndjson" | "jsonlines" => Ok(Some(Self::Lines)),
            "csv" => Ok(Some(Self::Csv)),
            other => Err(ToolError::input(format!(
                "`format: {other}` is not known to `{}`; there is json, jsonl, csv",
                side.kind.name()
            ))),
        }
    }

    /// The decoder of a format, as a side sets it.
    pub(super) fn decoder(self, side: &Side) -> Result<Decoder, ToolError> {
        match self {
            Self::Csv => Ok(Decoder::Csv(Csv::new(delimiter(side)?))),
            Self::Json => Ok(Decoder::Json(Json::new(paths(side)?))),
            Self::Lines => Ok(Decoder::Json(Json::new(Paths::default()))),
        }
    }
}

/// `data_path` and `next_url_path`.
fn paths(side: &Side) -> Result<Paths, ToolError> {
    let path = |key| {
        let path = side.text(key)?.trim();
        let path = path.strip_prefix('$').unwrap_or(path).trim_start_matches('.');
        (!path.is_empty()).then(|| path.split('.').map(str::to_owned).collect::<Vec<_>>())
    };
    let paths = Paths { data: path("data_path").unwrap_or_default(), next: path("next_url_path") };
    if paths.next.is_some() && paths.data.is_empty() {
        return Err(ToolError::input(
            "`next_url_path` names a place beside the rows, so `data_path` must say where the rows are",
        ));
    }
    Ok(paths)
}

/// The one byte between two fields.
pub(super) fn delimiter(side: &Side) -> Result<u8, ToolError> {
    match side.config.get("delimiter").and_then(serde_json::Value::as_str) {
        None | Some("") => Ok(b','),
        Some("\\t") => Ok(b'\t'),
        Some(text) => match text.as_bytes() {
            [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => Ok(*byte),
            _ => Err(ToolError::input(format!(
                "`delimiter: {text}` is no single ASCII character that can stand between two fields"
            ))),
        },
    }
}

/// Bytes that are no rows, at `place`; a source that ended too early may do better the next time.
pub(super) fn malformed(error: &Malformed, place: &str) -> ToolError {
    let message = format!("{place}: {}", error.message);
    if error.is_cut {
        ToolError::new(Reaction::Transient, "ConnectionError", message)
    } else {
        ToolError::new(Reaction::Rejected, "DecodeError", message)
    }
}
