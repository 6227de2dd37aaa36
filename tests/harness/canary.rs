//! A search for secrets in everything that a run leaves, in every form.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use memchr::memmem::Finder;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

/// Where something may be found, and what is there.
pub type Place = (String, Vec<u8>);

/// Every file below a folder, and every table of every store in it, row by row: a long value of a row is not
/// in one piece in its file.
///
/// # Panics
/// If something cannot be read.
#[must_use]
pub fn places(folder: &Path) -> Vec<Place> {
    let mut places = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(path) = open.pop() {
        let shown = path.display().to_string();
        if path.is_dir() {
            let entries = fs::read_dir(&path).unwrap_or_else(|error| panic!("{shown}: {error}"));
            open.extend(entries.flatten().map(|entry| entry.path()));
            continue;
        }
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{shown}: {error}"));
        if path.extension().is_some_and(|end| end == "db") {
            places.extend(tables(&path));
        }
        places.push((format!("file {shown}"), bytes));
    }
    places
}

fn tables(path: &Path) -> Vec<Place> {
    let read = || -> rusqlite::Result<Vec<Place>> {
        let store = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let mut names = store.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?;
        let names = names.query_map([], |row| row.get::<_, String>(0))?;
        let mut found = Vec::new();
        for name in names {
            let name = name?;
            let mut rows = store.prepare(&format!("SELECT * FROM \"{name}\""))?;
            let columns = rows.column_count();
            let mut rows = rows.query([])?;
            let mut bytes = Vec::new();
            while let Some(row) = rows.next()? {
                for column in 0..columns {
                    match row.get_ref(column)? {
                        ValueRef::Text(value) | ValueRef::Blob(value) => bytes.extend(value),
                        _ => {}
                    }
                    bytes.push(b'\n');
                }
            }
            found.push((format!("table {name}"), bytes));
        }
        Ok(found)
    };
    read().unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The places that hold a secret, with the form in which they do.
#[must_use]
pub fn found(secret: &str, places: &[Place]) -> BTreeSet<(String, &'static str)> {
    let mut hits = BTreeSet::new();
    for (form, text) in forms(secret) {
        let finder = Finder::new(&text);
        for (place, bytes) in places {
            if finder.find(bytes).is_some() {
                hits.insert((place.clone(), form));
            }
        }
    }
    hits
}

/// The forms of a secret: written without a look at how the program masks them.
fn forms(secret: &str) -> Vec<(&'static str, String)> {
    let by_byte = |each: &dyn Fn(u8) -> String| secret.bytes().map(each).collect::<String>();
    let percent = |small: bool| {
        by_byte(&|byte| match byte {
            byte if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) => {
                char::from(byte).to_string()
            }
            byte if small => format!("%{byte:02x}"),
            byte => format!("%{byte:02X}"),
        })
    };
    let mut forms = vec![
        ("plain", secret.to_owned()),
        ("JSON", secret.replace('\\', "\\\\").replace('"', "\\\"")),
        ("URL", percent(false)),
        ("URL", percent(true)),
        ("hex", by_byte(&|byte| format!("{byte:02x}"))),
        ("hex", by_byte(&|byte| format!("{byte:02X}"))),
    ];
    for ahead in 0..3 {
        let encoded =
            STANDARD_NO_PAD.encode([vec![0; ahead].as_slice(), secret.as_bytes()].concat());
        // The first characters mix with what stands ahead, the last one with what follows.
        let inner =
            encoded.get(ahead + usize::from(ahead > 0)..encoded.len() - 1).unwrap_or_default();
        forms.push(("base64", inner.replace('+', "-").replace('/', "_")));
        forms.push(("base64", inner.to_owned()));
    }
    forms
}

/// A sentence for each hit; empty if there is none.
#[must_use]
pub fn report(name: &str, hits: &BTreeSet<(String, &'static str)>) -> String {
    let mut text = String::new();
    for (place, form) in hits {
        writeln!(text, "the secret of `{name}` is in {place}, as {form}").unwrap_or_default();
    }
    text
}
