//! What the worker and `duckdb-engine` say to each other: frames of a big-endian length and JSON.
//!
//! One conversation carries many sessions. A session answers one request after the other; only
//! [`Ask::Close`] may come while it works, and has no answer.

use std::io::{self, Read, Write};

use engine_core::limits::DUCKDB_FRAME_BYTES_MAX;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One request; its answer has the same `id`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Request {
    /// Names the answer; 0 is the greeting's.
    pub id: u64,
    /// The session; [`Ask::Open`] makes it.
    pub session: u64,
    /// What is asked.
    pub ask: Ask,
}

/// What a session can be asked.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Connects to a database: [`Answer::Done`].
    Open(Box<Opening>),
    /// Runs one statement to its end: [`Answer::Table`].
    Execute {
        /// The statement.
        sql: String,
        /// A list for `$1`, a map for `$name`.
        params: Value,
        /// Bytes that the rows may have.
        bytes_max: usize,
    },
    /// Begins to read; the rows follow one [`Ask::Next`] after the other: [`Answer::Table`] without rows.
    Read {
        /// The query.
        sql: String,
        /// A list for `$1`, a map for `$name`.
        params: Value,
    },
    /// The next rows of a [`Ask::Read`]: [`Answer::Rows`], empty after the last one.
    Next {
        /// Rows wanted at most.
        rows_max: usize,
    },
    /// Stops what the session does, and ends it; an open transaction is rolled back.
    Close,
    /// Closes a database that nobody uses, so that another process can have its file: [`Answer::Done`].
    Release {
        /// The file.
        path: String,
        /// Milliseconds to wait for those who use it.
        wait_ms: u64,
    },
}

/// Which database a session uses, and what it may do there.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Opening {
    /// The file; none is a database in memory, of this session alone.
    pub path: Option<String>,
    /// What is declared.
    pub rules: Rules,
    /// What it is opened for; who joins others in a database takes it as it is.
    pub usage: Usage,
    /// Milliseconds to wait for the file, or for users of the database with other rules.
    pub wait_ms: u64,
}

/// What a database is opened for.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Usage {
    /// Statements of playbooks, which may sort and join.
    #[default]
    Queries,
    /// Rows that pass into tables or out of them, and are not looked at again.
    Rows,
}

/// What a database may touch outside of its own file: nothing, unless it is declared.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Rules {
    /// Everything may be touched.
    pub external_access: bool,
    /// Folders (or prefixes of addresses) in which files may be read and written.
    pub folders: Vec<String>,
    /// Extensions to load.
    pub extensions: Vec<String>,
    /// Statements that create secrets and attach databases, before the rules hold.
    pub setup: Vec<String>,
    /// Files that the statements attach; they count as in use.
    pub files: Vec<String>,
}

/// One answer.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Reply {
    /// The request's.
    pub id: u64,
    /// What came of it.
    pub answer: Answer,
}

/// What came of a request.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The process is up.
    Hello {
        /// `DuckDB`'s version.
        version: String,
    },
    /// It is done.
    Done,
    /// What a statement left.
    Table(Table),
    /// The next rows.
    Rows(Vec<Vec<Value>>),
    /// It did not work.
    Failed(Failure),
}

/// What a statement left.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Table {
    /// Names, made unique; empty if the statement has no rows.
    pub columns: Vec<String>,
    /// The rows' values in the order of the columns.
    pub rows: Vec<Vec<Value>>,
    /// Rows that the statement changed; none if it returns rows.
    pub changed: Option<u64>,
}

/// Why something did not work, in `DuckDB`'s words.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Failure {
    /// `DuckDB`'s name of the error without `Error`, or one of ours: `Busy`, `TooLarge`, `Extension`.
    pub class: String,
    /// What happened.
    pub message: String,
}

/// The bytes of one frame.
///
/// # Errors
/// If `message` is longer than a frame may be.
pub fn frame(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - 4;
    if length > DUCKDB_FRAME_BYTES_MAX {
        let text = format!("a frame of {length} bytes; at most {DUCKDB_FRAME_BYTES_MAX}");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    let length = u32::try_from(length).map_err(io::Error::other)?;
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    Ok(bytes)
}

/// Writes one frame.
///
/// # Errors
/// If `message` is too long, or the pipe is closed.
pub fn write(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    to.write_all(&frame(message)?)?;
    to.flush()
}

/// Reads one frame; none at the end.
///
/// # Errors
/// If the pipe breaks within a frame, or what it holds is not one.
pub fn read<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut head = [0; 4];
    match from.read_exact(&mut head) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let mut body = vec![0; length(head)?];
    from.read_exact(&mut body)?;
    Ok(Some(serde_json::from_slice(&body)?))
}

/// The length that a frame's head says.
///
/// # Errors
/// If no frame may be that long.
pub fn length(head: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_be_bytes(head) as usize;
    if length > DUCKDB_FRAME_BYTES_MAX {
        return Err(io::Error::other(format!("a frame of {length} bytes")));
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_framed_is_read_again() {
        let ask = Ask::Execute { sql: "select 1".to_owned(), params: json!({}), bytes_max: 7 };
        let request = Request { id: 1, session: 2, ask };
        let mut bytes = frame(&request).unwrap();
        bytes.extend(frame(&request).unwrap());
        let mut from = bytes.as_slice();
        for _ in 0..2 {
            let read: Request = read(&mut from).unwrap().unwrap();
            assert_eq!(format!("{read:?}"), format!("{request:?}"));
        }
        assert!(read::<Request>(&mut from).unwrap().is_none());
    }

    #[test]
    fn a_frame_is_bounded() {
        assert!(frame(&"x".repeat(DUCKDB_FRAME_BYTES_MAX)).is_err());
        assert!(read::<Value>(&mut [255, 255, 255, 255, 0].as_slice()).is_err());
        assert!(read::<Value>(&mut [0, 0, 0, 9, b'1'].as_slice()).is_err(), "cut short");
        assert!(read::<Value>(&mut [0, 0, 0, 1, b'{'].as_slice()).is_err(), "not JSON");
    }
}
