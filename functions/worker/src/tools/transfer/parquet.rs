//! Parquet files, which DuckDB reads and writes.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use engine_core::limits::{
    PARQUET_GROUP_BYTES, PARQUET_GROUP_ROWS, PARQUET_PART_CHUNKS, TRANSFER_PIECE_BYTES,
};
use serde_json::{Map, Value, json};
use tempfile::{NamedTempFile, TempDir};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Row;
use super::folder::failed;
use super::object::Object;
use super::plan::Side;
use super::query::{Column, Query};
use super::source::{DuckDbSource, Source};
use super::target::{DuckDbTarget, Target, beside};
use crate::save::Table;
use crate::sql::params::Params;
use crate::tool::{Call, ToolError};
use crate::tools::duckdb::client::{Client, Session};
use crate::tools::duckdb::settings::Settings;
use crate::tools::s3::{Reader, Writer};

/// Whether a side holds Parquet: `format` says it, or the name does.
pub(super) fn is_parquet(side: &Side) -> bool {
    match side.text("format") {
        Some(format) => format.trim().eq_ignore_ascii_case("parquet"),
        None => ["path", "key", "uri", "url"].iter().any(|key| {
            let name = side.text(key).unwrap_or_default();
            Path::new(name).extension().is_some_and(|end| end.eq_ignore_ascii_case("parquet"))
        }),
    }
}

/// A file that is being read, and where it is if nobody else needs it.
pub(super) struct ParquetSource {
    rows: DuckDbSource,
    _fetched: Option<TempDir>,
}

#[async_trait]
impl Source for ParquetSource {
    async fn next(&mut self, rows_max: usize) -> Result<Vec<Row>, ToolError> {
        self.rows.next(rows_max).await
    }

    fn columns(&self) -> &[Column] {
        self.rows.columns()
    }
}

/// Reads a file; `fetched` is dropped with its source.
pub(super) async fn source(
    client: &Client,
    path: PathBuf,
    fetched: Option<TempDir>,
    call: &Call<'_>,
) -> Result<ParquetSource, ToolError> {
    if let Err(error) = std::fs::metadata(&path) {
        return Err(failed("read", &path, &error));
    }
    let settings = settings(&[folder_of(&path)], call)?;
    let text = format!("SELECT * FROM read_parquet({})", literal(&path));
    let query = Query { text, params: Params::None };
    let rows = DuckDbSource::open(client, &settings, &query, call).await?;
    Ok(ParquetSource { rows, _fetched: fetched })
}

/// Fetches an object into a file, then reads that: Parquet begins at its end.
pub(super) async fn fetched(
    client: &Client,
    mut reader: Reader,
    call: &Call<'_>,
) -> Result<ParquetSource, ToolError> {
    let (folder, path) = temporary()?;
    let unwritten = |error| failed("written", &path, &error);
    let mut file = tokio::fs::File::create(&path).await.map_err(unwritten)?;
    while let Some(bytes) = reader.next().await? {
        file.write_all(&bytes).await.map_err(unwritten)?;
    }
    file.flush().await.map_err(unwritten)?;
    source(client, path, Some(folder), call).await
}

/// Where a Parquet file goes.
pub(super) enum Place {
    /// The file, and the one that takes its name.
    File(PathBuf, NamedTempFile),
    /// The object, and a folder with the file that is sent.
    Object(Box<Writer>, TempDir, PathBuf),
}

impl Place {
    /// A file that appears whole.
    pub(super) fn file(path: PathBuf) -> Result<Self, ToolError> {
        let part = beside(&path)?;
        Ok(Self::File(path, part))
    }

    /// An object.
    pub(super) fn object(object: &Object) -> Result<Self, ToolError> {
        let writer = object.bucket.write(&object.key, "application/vnd.apache.parquet")?;
        let (folder, path) = temporary()?;
        Ok(Self::Object(Box::new(writer), folder, path))
    }

    /// The file that DuckDB writes.
    fn part(&self) -> &Path {
        match self {
            Self::File(_, part) => part.path(),
            Self::Object(_, _, part) => part,
        }
    }

    /// Makes what is written visible; how many bytes it has.
    async fn publish(self) -> Result<u64, ToolError> {
        match self {
            Self::File(path, part) => {
                let size = std::fs::metadata(part.path()).map(|known| known.len());
                let kept =
                    part.persist(&path).map_err(|error| failed("written", &path, &error.error));
                kept?;
                size.map_err(|error| failed("read", &path, &error))
            }
            Self::Object(mut writer, _folder, part) => {
                let unread = |error| failed("read", &part, &error);
                let mut file = tokio::fs::File::open(&part).await.map_err(unread)?;
                let mut piece = vec![0; TRANSFER_PIECE_BYTES];
                loop {
                    let read = file.read(&mut piece).await.map_err(unread)?;
                    if read == 0 {
                        return Ok(writer.finish().await?.bytes);
                    }
                    writer.write(piece.get(..read).unwrap_or_default()).await?;
                }
            }
        }
    }
}

/// A file that appears whole when all rows are written.
///
/// Until then some chunks are in a table in memory, and those before them in parts, which are files of
/// their own: what is in memory does not grow with the rows.
pub(super) struct ParquetTarget {
    table: DuckDbTarget,
    has_columns: bool,
    /// Chunks in the table.
    waiting: usize,
    parts: Vec<PathBuf>,
    place: Place,
    folder: TempDir,
}

const TABLE: &str = "rows";

impl ParquetTarget {
    /// Begins a file; `columns` are the source's, empty where only the rows tell.
    pub(super) async fn open(
        client: &Client,
        place: Place,
        columns: Vec<Column>,
        chunk_rows: usize,
        call: &Call<'_>,
    ) -> Result<Self, ToolError> {
        let (folder, _) = temporary()?;
        let mut settings = settings(&[folder_of(place.part()), folder.path()], call)?;
        // Else the bytes of a group have no limit; one thread keeps the order too.
        settings.rules.setup.push("SET preserve_insertion_order = false".to_owned());
        let mut table = Table::of(&fields(json!({"table": TABLE, "create": true})))?;
        table.batch_rows = chunk_rows;
        let has_columns = !columns.is_empty();
        let table = DuckDbTarget::open(client, &settings, table, columns, call).await?;
        Ok(Self { table, has_columns, waiting: 0, parts: Vec::new(), place, folder })
    }

    /// Carries what waits in the table into a part.
    async fn part(&mut self) -> Result<(), ToolError> {
        let path = self.folder.path().join(format!("part-{}.parquet", self.parts.len()));
        copy(&self.table.session, TABLE, &path).await?;
        // Rows that are deleted stay in memory; a table that is replaced does not.
        let empty = format!("CREATE OR REPLACE TABLE {TABLE} AS FROM {TABLE} LIMIT 0");
        self.table.session.run(&empty, &Value::Null).await?;
        self.parts.push(path);
        self.waiting = 0;
        Ok(())
    }
}

/// Writes rows into a file.
async fn copy(session: &Session, from: &str, path: &Path) -> Result<(), ToolError> {
    let copy = format!(
        "COPY {from} TO {} (FORMAT parquet, ROW_GROUP_SIZE {PARQUET_GROUP_ROWS}, \
         ROW_GROUP_SIZE_BYTES {PARQUET_GROUP_BYTES})",
        literal(path)
    );
    session.run(&copy, &Value::Null).await.map(drop)
}

#[async_trait]
impl Target for ParquetTarget {
    async fn write(&mut self, rows: &[Row]) -> Result<u64, ToolError> {
        if self.waiting == PARQUET_PART_CHUNKS {
            self.part().await?;
        }
        self.has_columns |= !rows.is_empty();
        self.waiting += 1;
        self.table.write(rows).await
    }

    async fn probe(&mut self, rows: &[Row]) -> Option<Result<(), ToolError>> {
        self.table.probe(rows).await
    }

    fn keeps(&self) -> bool {
        false
    }

    async fn finish(mut self: Box<Self>) -> Result<Option<u64>, ToolError> {
        if !self.has_columns {
            return Err(ToolError::input(
                "there are no rows, and nothing says which columns the Parquet file has; check the \
                 source",
            ));
        }
        if self.parts.is_empty() {
            // A source with columns and no rows gives a file with columns and no rows.
            self.table.write(&[]).await?;
            copy(&self.table.session, TABLE, self.place.part()).await?;
        } else {
            self.part().await?;
            let parts: Vec<String> = self.parts.iter().map(|part| literal(part)).collect();
            let all = format!("(SELECT * FROM read_parquet([{}]))", parts.join(", "));
            copy(&self.table.session, &all, self.place.part()).await?;
        }
        let Self { place, .. } = *self;
        place.publish().await.map(Some)
    }
}

/// A database in memory that may touch folders.
fn settings(folders: &[&Path], call: &Call<'_>) -> Result<Settings, ToolError> {
    let folders: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
    let config = fields(json!({"database": ":memory:", "files": folders}));
    Settings::of(&config, call.execution_id, Path::new(".")).map(Settings::of_rows)
}

fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// A folder of its own, and a file in it.
fn temporary() -> Result<(TempDir, PathBuf), ToolError> {
    let made = tempfile::Builder::new().prefix("noetl-transfer-").tempdir();
    let folder = made.map_err(|error| failed("written", &std::env::temp_dir(), &error))?;
    let path = folder.path().join("rows.parquet");
    Ok((folder, path))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or_else(|| Path::new("."))
}

fn literal(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "''"))
}
