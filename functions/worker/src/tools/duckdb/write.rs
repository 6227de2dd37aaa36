//! Rows into a table: one statement per batch, the values beside it as one JSON text.

use serde_json::{Value, json};

use super::client::Session;
use crate::save::columns::{self, ColumnType};
use crate::save::rows::{batches, last_of_each};
use crate::save::{Mode, Row, Table};
use crate::sql::identifier::{quote, quote_part};
use crate::tool::{Reaction, ToolError};

/// A table that is written to, as it is in the database.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    table: Table,
    /// Its name, quoted.
    name: String,
    columns: Vec<Column>,
}

#[derive(Clone, Debug)]
struct Column {
    name: String,
    /// As DuckDB writes it.
    of_type: String,
}

impl Target {
    /// Looks the table up; creates it with the columns of `rows` if that is asked and it is missing.
    ///
    /// # Errors
    /// As the tool's: a table that is not there.
    pub(crate) async fn of(
        session: &Session,
        table: &Table,
        rows: &[Row],
    ) -> Result<Self, ToolError> {
        let name = quote(&table.name)?;
        if table.create {
            session.run(&creation(&name, table, rows), &Value::Null).await?;
        }
        let described = session.run(&format!("DESCRIBE {name}"), &Value::Null).await;
        let described = described.map_err(|error| absent(error, table))?;
        let columns = described.rows.into_iter().filter_map(|row| {
            let mut texts = row.into_iter().map(|value| value.as_str().map(str::to_owned));
            Some(Column { name: texts.next()??, of_type: texts.next()?? })
        });
        Ok(Self { table: table.clone(), name, columns: columns.collect() })
    }

    /// Removes all rows.
    ///
    /// # Errors
    /// As the tool's.
    pub(crate) async fn clear(&self, session: &Session) -> Result<(), ToolError> {
        session.run(&format!("DELETE FROM {}", self.name), &Value::Null).await.map(drop)
    }

    /// Writes rows, one statement for each batch; how many rows of the table have changed.
    ///
    /// `overwrite` adds them: [`Target::clear`] comes before the first ones.
    ///
    /// # Errors
    /// As the tool's: a column that the table does not have, a value that does not fit, a constraint.
    pub(crate) async fn write(&self, session: &Session, rows: &[Row]) -> Result<u64, ToolError> {
        let mut changed = 0_u64;
        for batch in batches(rows, self.table.batch_rows) {
            let newest: Vec<&Row> = match self.table.mode {
                Mode::Upsert => last_of_each(batch, &self.table.keys),
                Mode::Append | Mode::Overwrite | Mode::Update => batch.iter().collect(),
            };
            let Some(first) = newest.first() else { continue };
            let columns: Vec<&Column> =
                first.keys().map(|name| self.column(name)).collect::<Result<_, _>>()?;
            let names: Vec<&String> = first.keys().collect();
            let lines: Vec<Value> = newest.iter().map(|row| line(row, &names, &columns)).collect();
            let params = json!([Value::Array(lines).to_string()]);
            let done = session.run(&self.statement(&columns)?, &params).await;
            let done = done.map_err(|error| self.explained(&error))?;
            changed = changed.saturating_add(done.changed.unwrap_or(0));
        }
        Ok(changed)
    }

    fn column(&self, name: &str) -> Result<&Column, ToolError> {
        let exact = self.columns.iter().find(|column| column.name == name);
        let alike = || self.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name));
        exact.or_else(alike).ok_or_else(|| {
            let known: Vec<_> =
                self.columns.iter().map(|column| format!("`{}`", column.name)).collect();
            ToolError::new(
                Reaction::Rejected,
                "SqlError",
                format!(
                    "the table `{}` has no column `{name}`; it has {}",
                    self.table.name,
                    known.join(", ")
                ),
            )
        })
    }

    fn statement(&self, columns: &[&Column]) -> Result<String, ToolError> {
        let list = |names: Vec<String>| names.join(", ");
        let all = list(columns.iter().map(|column| quote_part(&column.name)).collect());
        let values = columns.iter().enumerate().map(|(index, column)| {
            format!("{} AS {}", value_of(index, &column.of_type), quote_part(&column.name))
        });
        let fields = columns.iter().enumerate().map(|(index, column)| {
            format!("c{index} {}", if is_structured(&column.of_type) { "JSON" } else { "VARCHAR" })
        });
        // One structure, which is parsed once: `r->>0, r->>1, ..` parse the whole row for each column,
        // and 200 columns of 1,000 rows took a gigabyte.
        let source = format!(
            "(SELECT {} FROM (SELECT unnest(CAST(CAST($1 AS JSON) AS STRUCT({})[])) AS r))",
            list(values.collect()),
            list(fields.collect())
        );
        let name = &self.name;
        let keys: Vec<String> = self
            .table
            .keys
            .iter()
            .map(|key| Ok(quote_part(&self.column(key)?.name)))
            .collect::<Result<_, ToolError>>()?;
        let others: Vec<String> = columns.iter().map(|column| quote_part(&column.name)).collect();
        let others: Vec<&String> = others.iter().filter(|name| !keys.contains(name)).collect();
        let set = |from: &str| {
            list(others.iter().map(|name| format!("{name} = {from}.{name}")).collect())
        };
        Ok(match self.table.mode {
            Mode::Append | Mode::Overwrite => {
                format!("INSERT INTO {name} ({all}) SELECT {all} FROM {source}")
            }
            Mode::Upsert => {
                let action = if others.is_empty() {
                    "NOTHING".to_owned()
                } else {
                    format!("UPDATE SET {}", set("excluded"))
                };
                format!(
                    "INSERT INTO {name} ({all}) SELECT {all} FROM {source} \
                     ON CONFLICT ({}) DO {action}",
                    keys.join(", ")
                )
            }
            Mode::Update if others.is_empty() => {
                return Err(ToolError::input(format!(
                    "`mode: update` for `{}` has only its `keys`; give a column to change",
                    self.table.name
                )));
            }
            Mode::Update => {
                let same = keys.iter().map(|key| format!("{name}.{key} = s.{key}"));
                let same = same.collect::<Vec<_>>().join(" AND ");
                format!("UPDATE {name} SET {} FROM {source} AS s WHERE {same}", set("s"))
            }
        })
    }

    /// Adds where, and what helps, to what DuckDB says.
    fn explained(&self, error: &ToolError) -> ToolError {
        let advice = if error.message().contains("not referenced by a UNIQUE") {
            format!(
                "; give `{}` a primary key or a unique index on {}",
                self.table.name,
                self.table.keys.join(", ")
            )
        } else {
            String::new()
        };
        // What follows shows the statement that was made for it, which nobody has written.
        let said = error.message().split("\n\nLINE ").next().unwrap_or_default();
        let message = format!("table `{}`: {said}{advice}", self.table.name);
        ToolError::new(error.reaction(), error.kind(), message)
    }
}

fn absent(error: ToolError, table: &Table) -> ToolError {
    if error.kind() != "SqlError" {
        return error;
    }
    let message = format!(
        "table `{}`: {}; create it in a step before, or say `create: true`",
        table.name,
        error.message()
    );
    ToolError::new(error.reaction(), error.kind(), message)
}

fn creation(name: &str, table: &Table, rows: &[Row]) -> String {
    let columns = columns::of(rows).into_iter().map(|(column, of_type)| {
        let of_type = match of_type {
            ColumnType::Boolean => "BOOLEAN",
            ColumnType::Integer => "BIGINT",
            ColumnType::Float => "DOUBLE",
            ColumnType::Big => "DECIMAL(38, 9)",
            ColumnType::Text => "VARCHAR",
            ColumnType::Json => "JSON",
        };
        format!("{} {of_type}", quote_part(&column))
    });
    let mut parts: Vec<String> = columns.collect();
    if !table.keys.is_empty() {
        let keys: Vec<String> = table.keys.iter().map(|key| quote_part(key)).collect();
        parts.push(format!("PRIMARY KEY ({})", keys.join(", ")));
    }
    format!("CREATE TABLE IF NOT EXISTS {name} ({})", parts.join(", "))
}

/// A row's values as `c0`, `c1`, .. in the order of the columns.
fn line(row: &Row, names: &[&String], columns: &[&Column]) -> Value {
    let values = names.iter().zip(columns).enumerate().map(|(index, (name, column))| {
        let value = row.get(*name).cloned().unwrap_or(Value::Null);
        let value = match &value {
            // A structure that a filter such as `tojson` has made a text of.
            Value::String(text)
                if is_structured(&column.of_type) && text.trim_start().starts_with(['{', '[']) =>
            {
                serde_json::from_str(text).unwrap_or(value)
            }
            _ => value,
        };
        (format!("c{index}"), value)
    });
    Value::Object(values.collect())
}

fn is_structured(of_type: &str) -> bool {
    let outer = ["STRUCT(", "MAP(", "JSON"];
    of_type.ends_with(']') || outer.iter().any(|start| of_type.starts_with(start))
}

/// One value of a line as a column's type; nothing is rounded, as numbers pass as their own text.
fn value_of(index: usize, of_type: &str) -> String {
    match of_type {
        "JSON" => format!("nullif(r.c{index}, 'null')"),
        "BLOB" => format!(
            "CASE WHEN starts_with(r.c{index}, '\\x') THEN unhex(substr(r.c{index}, 3)) \
             ELSE encode(r.c{index}) END"
        ),
        _ => format!("CAST(r.c{index} AS {of_type})"),
    }
}
