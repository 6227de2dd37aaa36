//! Rows into a table: one statement for each batch, whose values are one parameter.

use serde_json::Value;
use tokio_postgres::Client;

use super::catalog::{self, Column, Known, has_nul};
use super::param::{self, Text};
use super::pool::Session;
use super::transaction::{begin, commit, roll_back};
use super::{error, read};
use crate::save::rows::{batches, check, last_of_each};
use crate::save::{Mode, Row, Table};
use crate::sql::identifier::quote_part;
use crate::tool::{Reaction, ToolError};

/// A table that is known to be there, and how rows go into it.
pub(crate) struct Target {
    known: Known,
    table: Table,
    keys: Vec<String>,
    place: String,
}

impl Target {
    /// Looks the table up, or creates it with the columns of `rows` if `create` asks for it.
    ///
    /// # Errors
    /// A table or key that does not exist, with those that do.
    pub(crate) async fn open(
        session: &Session,
        table: &Table,
        rows: &[Row],
    ) -> Result<Self, ToolError> {
        let (client, place) = (session.client()?, session.place());
        let known = catalog::table(client, place, table, rows).await?;
        let key = |key: &String| known.expect(key, place).map(|column| column.name.clone());
        let keys = table.keys.iter().map(key).collect::<Result<_, _>>()?;
        Ok(Self { known, table: table.clone(), keys, place: place.to_owned() })
    }

    /// Writes rows, all or none; how many rows of the table changed. `clear` empties it before.
    ///
    /// # Errors
    /// A row that the table refuses, with its number and column, and nothing is written; a lost connection.
    pub(crate) async fn write_rows(
        &self,
        session: &Session,
        rows: &[Row],
        clear: bool,
    ) -> Result<u64, ToolError> {
        let client = session.client()?;
        let mut parts = batches(rows, self.table.batch_rows);
        let is_one = parts.next().is_some() && parts.next().is_none();
        if is_one && !clear {
            let written = self.write_within(session, rows).await;
            return self.explained(client, rows, written).await;
        }
        begin(client, &self.place).await?;
        let written = async {
            if clear {
                self.clear_within(session).await?;
            }
            self.write_within(session, rows).await
        };
        match written.await {
            Ok(changed) => commit(client, &self.place).await.map(|()| changed),
            Err(error) => {
                roll_back(client).await;
                self.explained(client, rows, Err(error)).await
            }
        }
    }

    /// Empties the table, in the transaction that is open.
    ///
    /// # Errors
    /// As any statement.
    pub(crate) async fn clear_within(&self, session: &Session) -> Result<(), ToolError> {
        let text = format!("DELETE FROM {}", self.known.name);
        let cleared = session.client()?.batch_execute(&text).await;
        cleared.map_err(|error| error::statement(&error, &self.place, &text))
    }

    /// Writes rows in the transaction that is open; how many rows of the table changed.
    ///
    /// # Errors
    /// As [`Target::write_rows`], without the number of the row.
    pub(crate) async fn write_within(
        &self,
        session: &Session,
        rows: &[Row],
    ) -> Result<u64, ToolError> {
        check(&self.table, rows)?;
        let mut changed = 0;
        let mut first = 0;
        for batch in batches(rows, self.table.batch_rows) {
            changed += self.write_batch(session.client()?, first, batch).await?;
            first += batch.len();
        }
        Ok(changed)
    }

    async fn write_batch(
        &self,
        client: &Client,
        first: usize,
        rows: &[Row],
    ) -> Result<u64, ToolError> {
        let columns = self.columns(rows)?;
        let text = self.statement(&columns)?;
        let json = Self::json(first, rows, &columns)?;
        let mut keys: Vec<String> = self.keys.clone();
        keys.retain(|_| self.table.mode == Mode::Upsert);
        let json = if keys.is_empty() {
            serde_json::to_string(&json)
        } else {
            serde_json::to_string(&last_of_each(&json, &keys))
        };
        let json = json.map_err(|error| ToolError::input(format!("rows are no JSON: {error}")))?;
        let ran = async {
            let prepared = read::prepare(client, &text).await?;
            let mut rows = prepared.run_encoded(client, &text, &[Text::of(json)]).await?;
            while let Some(row) = rows.next().await {
                row?;
            }
            Ok(rows.affected())
        };
        ran.await.map_err(|failure: read::Failure| failure.into_error(&self.place, &text))
    }

    /// The table's columns that a batch has; the first row stands for all.
    fn columns(&self, rows: &[Row]) -> Result<Vec<(String, &Column)>, ToolError> {
        let names = rows.first().into_iter().flat_map(|row| row.keys());
        names.map(|name| Ok((name.clone(), self.known.expect(name, &self.place)?))).collect()
    }

    /// The rows with the table's own names, and values as its columns read them.
    fn json(
        first: usize,
        rows: &[Row],
        columns: &[(String, &Column)],
    ) -> Result<Vec<Row>, ToolError> {
        let fit = |(index, row): (usize, &Row)| {
            let value = |(name, column): &(String, &Column)| {
                let value = row.get(name).unwrap_or(&Value::Null);
                if has_nul(value) {
                    let row = first + index;
                    return Err(param::nul(&format!("row {row}, column `{name}`")));
                }
                let value = match value {
                    value if column.is_json => param::json(value).into_owned(),
                    value if column.is_integer => param::whole(value),
                    value => value.clone(),
                };
                Ok((column.name.clone(), value))
            };
            columns.iter().map(value).collect()
        };
        rows.iter().enumerate().map(fit).collect()
    }

    /// The statement for a batch with these columns; `$1` is the batch as JSON.
    fn statement(&self, columns: &[(String, &Column)]) -> Result<String, ToolError> {
        let names: Vec<String> =
            columns.iter().map(|(_, column)| quote_part(&column.name)).collect();
        let is_key = |name: &String| self.keys.iter().any(|key| quote_part(key) == *name);
        let (keys, others): (Vec<&String>, Vec<&String>) =
            names.iter().partition(|name| is_key(name));
        let (table, source) = (&self.known.name, recordset(columns));
        let list = names.join(", ");
        let insert = format!("INSERT INTO {table} ({list}) SELECT {list} FROM {source}");
        let set = |source: &str| -> String {
            let each = others.iter().map(|name| format!("{name} = {source}.{name}"));
            each.collect::<Vec<_>>().join(", ")
        };
        match self.table.mode {
            Mode::Append | Mode::Overwrite => Ok(insert),
            Mode::Upsert => {
                let keys: Vec<String> = self.keys.iter().map(|key| quote_part(key)).collect();
                let action = match others.as_slice() {
                    [] => "NOTHING".to_owned(),
                    _ => format!("UPDATE SET {}", set("EXCLUDED")),
                };
                Ok(format!("{insert} ON CONFLICT ({}) DO {action}", keys.join(", ")))
            }
            Mode::Update if others.is_empty() => Err(ToolError::input(format!(
                "`mode: update` of {table} has only its keys, and nothing to change; add a column"
            ))),
            Mode::Update => {
                let same = keys.iter().map(|name| format!("t.{name} = x.{name}"));
                let same = same.collect::<Vec<_>>().join(" AND ");
                Ok(format!("UPDATE {table} AS t SET {} FROM {source} WHERE {same}", set("x")))
            }
        }
    }

    /// An error about a value, with the row and the column that it is about.
    async fn explained(
        &self,
        client: &Client,
        rows: &[Row],
        written: Result<u64, ToolError>,
    ) -> Result<u64, ToolError> {
        let error = match written {
            Err(error) if error.kind() == "DataError" && !error.message().starts_with("row ") => {
                error
            }
            other => return other,
        };
        let Some((row, column)) = self.culprit(client, rows).await else { return Err(error) };
        let message = format!("row {row}, column `{column}`: {}", error.message());
        Err(ToolError::new(Reaction::Rejected, "DataError", message))
    }

    /// The first row that the server cannot read, and its column; asks without writing, halving each time.
    async fn culprit(&self, client: &Client, rows: &[Row]) -> Option<(usize, String)> {
        let mut first = 0;
        for batch in batches(rows, self.table.batch_rows) {
            let columns = self.columns(batch).ok()?;
            if self.reads(client, batch, &columns).await {
                first += batch.len();
                continue;
            }
            let mut rest = batch;
            while rest.len() > 1 {
                let (front, back) = rest.split_at(rest.len() / 2);
                if self.reads(client, front, &columns).await {
                    first += front.len();
                    rest = back;
                } else {
                    rest = front;
                }
            }
            for column in columns {
                let name = column.0.clone();
                if !self.reads(client, rest, &[column]).await {
                    return Some((first, name));
                }
            }
            return None;
        }
        None
    }

    async fn reads(&self, client: &Client, rows: &[Row], columns: &[(String, &Column)]) -> bool {
        let Ok(json) = Self::json(0, rows, columns) else { return false };
        let text = format!("SELECT 1 AS n FROM {}", recordset(columns));
        let asked = async {
            let prepared = read::prepare(client, &text).await?;
            let json = Text::of(
                Value::from(json.into_iter().map(Value::Object).collect::<Vec<_>>()).to_string(),
            );
            let mut rows = prepared.run_encoded(client, &text, &[json]).await?;
            while let Some(row) = rows.next().await {
                row?;
            }
            Ok::<_, read::Failure>(())
        };
        asked.await.is_ok()
    }
}

/// The batch as a table, every column with the type that it has in the real one.
fn recordset(columns: &[(String, &Column)]) -> String {
    let column =
        |(_, column): &(String, &Column)| format!("{} {}", quote_part(&column.name), column.ty);
    let columns: Vec<String> = columns.iter().map(column).collect();
    format!("json_to_recordset($1::json) AS x({})", columns.join(", "))
}
