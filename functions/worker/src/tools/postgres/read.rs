//! Statements that are run, and rows that are read: one after the other, never all at once.

use std::pin::Pin;

use futures_util::StreamExt as _;
use serde_json::{Map, Value};
use tokio_postgres::types::{Kind, Type};
use tokio_postgres::{Client, RowStream, SimpleQueryMessage, SimpleQueryStream, Statement};

use super::decode::{Decoded, from_text, is_known};
use super::error;
use super::param::{Text, encode};
use super::pool::Session;
use crate::save::Row;
use crate::sql::lexer::{first_word, tokens};
use crate::sql::unique_columns;
use crate::tool::ToolError;

/// A statement that the server has understood, and how its rows are read.
pub(crate) struct Prepared {
    /// Names of its columns, each once; none if it produces no rows.
    pub(crate) columns: Vec<String>,
    /// Types of its parameters.
    pub(super) params: Vec<Type>,
    types: Vec<Type>,
    form: Form,
}

enum Form {
    /// Every value is sent in a known form.
    Sent(Statement),
    /// Some types are known to the server alone, which must send all as text.
    Told(String),
}

/// Rows as they come; `None` of [`Rows::next`] is the end.
pub(crate) struct Rows {
    columns: Vec<String>,
    types: Vec<Type>,
    stream: Stream,
    sql: String,
}

enum Stream {
    Sent(Pin<Box<RowStream>>),
    Told(Pin<Box<SimpleQueryStream>>, u64),
}

/// An error of the driver, with the statement that it is about.
#[derive(Debug)]
pub(super) enum Failure {
    Driver(tokio_postgres::Error),
    Tool(ToolError),
}

impl Failure {
    pub(super) fn into_error(self, place: &str, sql: &str) -> ToolError {
        match self {
            Self::Driver(error) => error::statement(&error, place, sql),
            Self::Tool(error) => error,
        }
    }

    /// Whether nothing else can run on the connection.
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Driver(error) if error::is_over(error))
    }
}

/// Has a statement checked by the server; nothing runs yet.
pub(super) async fn prepare(client: &Client, sql: &str) -> Result<Prepared, Failure> {
    if is_stream(sql) {
        return Err(Failure::Tool(ToolError::input(
            "a `COPY` from or to the client needs a stream, which a playbook cannot give; save rows \
             with `table` and `data`, or use the tool `transfer`",
        )));
    }
    let statement = client.prepare(sql).await.map_err(Failure::Driver)?;
    let columns = unique_columns(statement.columns().iter().map(tokio_postgres::Column::name));
    let types: Vec<Type> =
        statement.columns().iter().map(|column| column.type_().clone()).collect();
    let params = statement.params().to_vec();
    if types.iter().all(is_known) {
        return Ok(Prepared { columns, params, types, form: Form::Sent(statement) });
    }
    match client.prepare(&as_text(sql, &types)).await {
        Ok(statement) => {
            let types = statement.columns().iter().map(|column| column.type_().clone()).collect();
            Ok(Prepared { columns, params, types, form: Form::Sent(statement) })
        }
        Err(_) if params.is_empty() => {
            Ok(Prepared { columns, params, types, form: Form::Told(sql.to_owned()) })
        }
        Err(_) => {
            let unknown = columns.iter().zip(&types).find(|(_, ty)| !is_known(ty));
            let (column, ty) = unknown.map_or(("", String::new()), |(c, ty)| (c, ty.to_string()));
            Err(Failure::Tool(ToolError::input(format!(
                "the column `{column}` has the type `{ty}`, which cannot be read from this statement \
                 with `params`; cast it there, as in `{column}::text`"
            ))))
        }
    }
}

/// The server would wait for data that nobody sends.
fn is_stream(sql: &str) -> bool {
    let is = |word: &str, name: &str| word.eq_ignore_ascii_case(name);
    is(first_word(sql), "copy")
        && tokens(sql).any(|token| is(token.text, "stdin") || is(token.text, "stdout"))
}

/// The statement with the columns of unknown types as the server's text.
fn as_text(sql: &str, types: &[Type]) -> String {
    let names: Vec<String> = (0..types.len()).map(|index| format!("c{index}")).collect();
    let casts = names.iter().zip(types).map(|(name, ty)| match ty.kind() {
        _ if is_known(ty) => name.clone(),
        // The cast adds the length of the mask, which nobody wrote.
        _ if *ty == Type::INET => format!("to_jsonb({name}) #>> '{{}}'"),
        Kind::Array(_) => format!("{name}::text[]"),
        _ => format!("{name}::text"),
    });
    let casts: Vec<String> = casts.collect();
    // The line ends keep a comment at the end of the statement from hiding the rest.
    format!("WITH q({}) AS (\n{sql}\n) SELECT {} FROM q", names.join(", "), casts.join(", "))
}

impl Prepared {
    /// Runs it with these values.
    pub(super) async fn run(
        &self,
        client: &Client,
        sql: &str,
        values: &[Value],
    ) -> Result<Rows, Failure> {
        let params = encode(values, &self.params).map_err(Failure::Tool)?;
        self.run_encoded(client, sql, &params).await
    }

    /// Runs it with values that are text already.
    pub(super) async fn run_encoded(
        &self,
        client: &Client,
        sql: &str,
        params: &[Text],
    ) -> Result<Rows, Failure> {
        let stream = match &self.form {
            Form::Sent(statement) => {
                let stream = client.query_raw(statement, params).await.map_err(Failure::Driver)?;
                Stream::Sent(Box::pin(stream))
            }
            Form::Told(text) => {
                let stream = client.simple_query_raw(text).await.map_err(Failure::Driver)?;
                Stream::Told(Box::pin(stream), 0)
            }
        };
        let (columns, types) = (self.columns.clone(), self.types.clone());
        Ok(Rows { columns, types, stream, sql: sql.to_owned() })
    }
}

impl Rows {
    /// The next row, and about how many bytes it has as JSON.
    pub(super) async fn next(&mut self) -> Option<Result<(Row, usize), Failure>> {
        let names: usize = self.columns.iter().map(|name| name.len() + 6).sum();
        match &mut self.stream {
            Stream::Sent(stream) => {
                let row = match stream.next().await? {
                    Ok(row) => row,
                    Err(error) => return Some(Err(Failure::Driver(error))),
                };
                let value = |(index, name): (usize, &String)| {
                    let Decoded(value) = row.try_get(index)?;
                    Ok((name.clone(), value))
                };
                let values: Result<Map<String, Value>, _> =
                    self.columns.iter().enumerate().map(value).collect();
                let bytes = row.raw_size_bytes() + names;
                Some(values.map(|row| (row, bytes)).map_err(Failure::Driver))
            }
            Stream::Told(stream, affected) => loop {
                match stream.next().await? {
                    Ok(SimpleQueryMessage::Row(row)) => {
                        let mut bytes = names;
                        let value = |(index, (name, ty)): (usize, (&String, &Type))| {
                            let text = row.get(index);
                            bytes += text.map_or(4, str::len);
                            (name.clone(), text.map_or(Value::Null, |text| from_text(ty, text)))
                        };
                        let columns = self.columns.iter().zip(&self.types);
                        let row: Row = columns.enumerate().map(value).collect();
                        return Some(Ok((row, bytes)));
                    }
                    Ok(SimpleQueryMessage::CommandComplete(count)) => *affected = count,
                    Ok(_) => {}
                    Err(error) => return Some(Err(Failure::Driver(error))),
                }
            },
        }
    }

    /// How many rows the statement changed; known at the end of the rows.
    pub(super) fn affected(&self) -> u64 {
        match &self.stream {
            Stream::Sent(stream) => stream.rows_affected().unwrap_or(0),
            Stream::Told(_, affected) => *affected,
        }
    }
}

/// A statement's rows in pieces, in memory that does not grow with their number.
pub(crate) struct Cursor {
    session: Session,
    rows: Rows,
    /// The driver must not be asked again after the end.
    is_done: bool,
}

impl Cursor {
    /// Runs a statement; the server sends on only while rows are taken.
    ///
    /// # Errors
    /// [`ToolError`] of the statement.
    pub(crate) async fn open(
        session: Session,
        sql: &str,
        values: &[Value],
    ) -> Result<Self, ToolError> {
        let client = session.client()?;
        let opened = async { prepare(client, sql).await?.run(client, sql, values).await };
        match opened.await {
            Ok(rows) => Ok(Self { session, rows, is_done: false }),
            Err(failure) => {
                let error = failure.into_error(session.place(), sql);
                session.finish().await;
                Err(error)
            }
        }
    }

    /// At most `rows_max` rows; fewer only at the end, and none after it.
    ///
    /// # Errors
    /// [`ToolError`] of the statement, or a lost connection.
    pub(crate) async fn next(&mut self, rows_max: usize) -> Result<Vec<Row>, ToolError> {
        let mut found = Vec::new();
        while found.len() < rows_max && !self.is_done {
            match self.rows.next().await {
                None => self.is_done = true,
                Some(Ok((row, _))) => found.push(row),
                Some(Err(failure)) => {
                    return Err(failure.into_error(self.session.place(), &self.rows.sql));
                }
            }
        }
        Ok(found)
    }

    /// Gives the connection back; to be called at the end of the rows. A cursor that is dropped before is
    /// cancelled.
    pub(crate) async fn close(self) {
        self.session.finish().await;
    }
}
