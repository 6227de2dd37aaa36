//! The PostgreSQL of the tests: `NOETL_TEST_POSTGRES`, the credential that names it, and a look at its rows.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use serde_json::json;
use tempfile::NamedTempFile;
use tokio_postgres::{Config, NoTls, SimpleQueryMessage, config::Host};

/// The server.
pub struct Postgres {
    url: String,
    config: Config,
}

impl Postgres {
    /// As the environment names it.
    ///
    /// # Panics
    /// If it names none: `make test` starts a server.
    #[must_use]
    pub fn given() -> Self {
        let address = std::env::var("NOETL_TEST_POSTGRES").unwrap_or_else(|_| {
            panic!("NOETL_TEST_POSTGRES names no PostgreSQL; `make test` starts one and sets it")
        });
        let config = address.parse();
        let config = config.unwrap_or_else(|error| panic!("NOETL_TEST_POSTGRES: {error}"));
        Self { url: address, config }
    }

    /// As the environment names it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> String {
        let host = match self.config.get_hosts().first() {
            Some(Host::Tcp(host)) => host.as_str(),
            _ => "127.0.0.1",
        };
        format!("{host}:{}", self.port())
    }

    fn port(&self) -> u16 {
        self.config.get_ports().first().copied().unwrap_or(5432)
    }

    /// The file of a credential of this name; it goes away with the value. `port`: instead of the server's
    /// own.
    ///
    /// # Panics
    /// If there is no place for a file.
    #[must_use]
    pub fn credential(&self, name: &str, port: Option<u16>) -> NamedTempFile {
        let address = self.address();
        let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
        let password = self.config.get_password().map(String::from_utf8_lossy);
        let credential = json!({
            "name": name,
            "type": "postgres",
            "data": {
                "db_host": host,
                "db_port": port.unwrap_or_else(|| self.port()).to_string(),
                "db_user": self.config.get_user(),
                "db_password": password,
                "db_name": self.config.get_dbname(),
            },
        });
        let file = NamedTempFile::with_suffix(".json").and_then(|mut file| {
            file.write_all(credential.to_string().as_bytes())?;
            Ok(file)
        });
        file.unwrap_or_else(|error| panic!("no file for a credential: {error}"))
    }

    /// The rows of a query, each as its columns joined by `|`.
    ///
    /// # Panics
    /// If the server refuses it.
    #[must_use]
    pub fn rows(&self, query: &str) -> Vec<String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.unwrap_or_else(|error| panic!("no runtime: {error}"));
        runtime.block_on(async {
            let connected = self.config.connect(NoTls).await;
            let (client, connection) =
                connected.unwrap_or_else(|error| panic!("{}: {error}", self.address()));
            let driven = tokio::spawn(connection);
            let answered = client.simple_query(query).await;
            let answered = answered.unwrap_or_else(|error| panic!("{query}: {error:?}"));
            driven.abort();
            let rows = answered.iter().filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => {
                    let columns = (0..row.len()).map(|at| row.get(at).unwrap_or("NULL"));
                    Some(columns.collect::<Vec<_>>().join("|"))
                }
                _ => None,
            });
            rows.collect()
        })
    }

    /// A port behind which the server is, until a client says `word`: then the connection is cut.
    ///
    /// # Panics
    /// If there is no port.
    #[must_use]
    pub fn cut_at(&self, word: &'static str) -> u16 {
        let listening = TcpListener::bind("127.0.0.1:0").and_then(|listener| {
            let port = listener.local_addr()?.port();
            Ok((listener, port))
        });
        let (listener, port) = listening.unwrap_or_else(|error| panic!("no port: {error}"));
        let server = self.address();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = server.clone();
                // A connection that breaks is what this is for.
                thread::spawn(move || drop(carry(&client, &server, word)));
            }
        });
        port
    }
}

fn carry(client: &TcpStream, server: &str, word: &str) -> std::io::Result<()> {
    let server = TcpStream::connect(server)?;
    let (mut answers, mut back) = (server.try_clone()?, client.try_clone()?);
    thread::spawn(move || drop(std::io::copy(&mut answers, &mut back)));
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    let mut buffer = [0; 16 << 10];
    loop {
        let read = from.read(&mut buffer)?;
        let said = &buffer[..read];
        if read == 0 || said.windows(word.len()).any(|part| part == word.as_bytes()) {
            client.shutdown(Shutdown::Both)?;
            return server.shutdown(Shutdown::Both);
        }
        to.write_all(said)?;
    }
}
