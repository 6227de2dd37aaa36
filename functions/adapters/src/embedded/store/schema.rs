//! Whose file it is, and which version of the tables it holds.

use engine_core::ports::{PortError, PortErrorKind};
use rusqlite::{Connection, TransactionBehavior};

use super::failure::failure;

/// `NOET`: what `file` and `PRAGMA application_id` tell about the file.
const APPLICATION_ID: i32 = 0x4E4F_4554;

/// What leads from each version to the next; the first from an empty file.
const MIGRATIONS: [&str; 2] = [include_str!("schema.sql"), include_str!("credential.sql")];

/// The version that this program writes.
const VERSION: usize = MIGRATIONS.len();

/// Brings the tables to this program's version, after a look at whose they are.
pub(super) fn migrate(name: &str, connection: &mut Connection) -> Result<(), PortError> {
    let version = version(name, connection)?;
    let migrate = |connection: &mut Connection| {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for migration in &MIGRATIONS[version..] {
            transaction.execute_batch(migration)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.execute_batch(&format!("PRAGMA user_version = {VERSION}"))?;
        transaction.commit()
    };
    if version < VERSION {
        migrate(connection).map_err(|error| failure(name, error))?;
    }
    Ok(())
}

/// Refuses a file whose tables this program cannot read as they are.
pub(super) fn check(name: &str, connection: &Connection) -> Result<(), PortError> {
    match version(name, connection)? {
        VERSION => Ok(()),
        version => Err(refused(format!(
            "`{name}` has tables of version {version}, this program reads {VERSION}; run something \
             with `--store {name}` once to bring it up to date"
        ))),
    }
}

/// The version of the tables, 0 for none, if they are ours and not of a newer program.
fn version(name: &str, connection: &Connection) -> Result<usize, PortError> {
    let number = |sql: &str| {
        connection
            .query_row(sql, [], |row| row.get::<_, i64>(0))
            .map_err(|error| failure(name, error))
    };
    let tables = number("SELECT count(*) FROM sqlite_schema")?;
    let application_id = number("PRAGMA application_id")?;
    let version = number("PRAGMA user_version")?;
    if tables == 0 && version == 0 {
        return Ok(0);
    }
    if application_id != i64::from(APPLICATION_ID) {
        return Err(refused(format!(
            "`{name}` is a database of another program; choose another file with `--store`"
        )));
    }
    match usize::try_from(version) {
        Ok(version) if (1..=VERSION).contains(&version) => Ok(version),
        _ => Err(refused(format!(
            "`{name}` was written by a newer noetl-lambda (tables of version {version}, this one \
             knows {VERSION}); install the newer one"
        ))),
    }
}

fn refused(message: String) -> PortError {
    PortError::new(PortErrorKind::Refused, message)
}
