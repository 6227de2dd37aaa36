//! The real program as a server, and a client for it.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::binary::{command, start};

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often a test looks.
const LOOK: Duration = Duration::from_millis(10);

/// A server that ends with the test.
pub struct Served {
    child: Child,
    address: String,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body; a text if it is no JSON.
    pub body: Value,
}

impl Served {
    /// Starts a server on `store`, on a port that the system chooses.
    ///
    /// # Panics
    /// If it does not say where it listens.
    #[must_use]
    pub fn start<'a>(store: &'a str, more: impl IntoIterator<Item = &'a str>) -> Self {
        let arguments = ["serve", "--port", "0", "--store", store];
        Self::of(start(arguments.into_iter().chain(more)))
    }

    /// The same with more variables, and with its own log in a file.
    ///
    /// # Panics
    /// If it does not say where it listens.
    #[must_use]
    pub fn logged(store: &str, variables: &[(String, String)], log: &Path) -> Self {
        let arguments = ["serve", "--port", "0", "--store", store];
        let mut command = command(arguments);
        let log = File::create(log).unwrap_or_else(|error| panic!("{}: {error}", log.display()));
        command.envs(variables.iter().cloned()).stdout(Stdio::piped()).stderr(log);
        Self::of(command.spawn().unwrap_or_else(|error| panic!("cannot start the server: {error}")))
    }

    fn of(mut child: Child) -> Self {
        let mut line = String::new();
        if let Some(stdout) = &mut child.stdout {
            BufReader::new(stdout).read_line(&mut line).unwrap_or_default();
        }
        let Some(address) = line.trim_end().strip_prefix("listening on http://") else {
            let _ = child.kill();
            let mut errors = String::new();
            if let Some(stderr) = &mut child.stderr {
                stderr.read_to_string(&mut errors).unwrap_or_default();
            }
            panic!("the server says {line:?}: {errors}")
        };
        Self { address: address.to_owned(), child }
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// `GET`s a path.
    #[must_use]
    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"")
    }

    /// `POST`s JSON to a path.
    #[must_use]
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, &[], body.to_string().as_bytes())
    }

    /// Sends a request with these header lines and this body.
    ///
    /// # Panics
    /// If there is no answer that is HTTP.
    #[must_use]
    pub fn ask(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|line| line.starts_with("Host:")) {
            head.push_str("Host: ");
            head.push_str(&self.address);
            head.push_str("\r\n");
        }
        for line in headers {
            head.push_str(line);
            head.push_str("\r\n");
        }
        let length = body.len().to_string();
        for part in ["Content-Length: ", &length, "\r\n\r\n"] {
            head.push_str(part);
        }
        let sent = TcpStream::connect(&self.address).and_then(|mut stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(head.as_bytes())?;
            // A server that refuses a body may close before it has all of it.
            let _ = stream.write_all(body);
            let mut answer = Vec::new();
            let read = stream.read_to_end(&mut answer);
            if answer.is_empty() { read.map(|_| answer) } else { Ok(answer) }
        });
        let answer = sent.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let text = String::from_utf8_lossy(&answer);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("{method} {path}: no HTTP in {text:?}"));
        let body = serde_json::from_str(body).unwrap_or_else(|_no_json| body.into());
        Answer { status, body }
    }

    /// Registers a playbook and begins an execution of it; its id.
    ///
    /// # Panics
    /// If either is refused.
    #[must_use]
    pub fn execute(&self, playbook: &str, payload: &Value) -> String {
        let found = self.ask("POST", "/api/catalog/register", &[], playbook.as_bytes());
        assert_eq!(found.status, 200, "{}", found.body);
        let body = serde_json::json!({"path": found.body["path"], "payload": payload});
        let found = self.post("/api/execute", &body);
        assert_eq!(found.status, 200, "{}", found.body);
        found.body["execution_id"].as_str().unwrap_or_default().to_owned()
    }

    /// Asks for a path until the answer is as wanted, and returns that.
    ///
    /// # Panics
    /// If it never is.
    pub fn wait_for(&self, path: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let found = self.get(path).body;
            if is_wanted(&found) {
                return found;
            }
            assert!(began.elapsed() < PATIENCE, "{path} stays {found}");
            thread::park_timeout(LOOK);
        }
    }

    /// Waits until an execution has ended; what is shown of it.
    ///
    /// # Panics
    /// If it does not end.
    #[must_use]
    pub fn ended(&self, id: &str) -> Value {
        self.wait_for(&format!("/api/executions/{id}"), |found| {
            matches!(found["status"].as_str(), Some("COMPLETED" | "FAILED" | "CANCELLED"))
        })
    }

    /// Sends a signal such as `-TERM`, waits for the end, and returns it with what was written to the errors.
    ///
    /// # Panics
    /// If the server does not end.
    #[must_use]
    pub fn stop(mut self, signal: &str) -> (ExitStatus, String) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill {signal} {id} failed");
        let began = Instant::now();
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                _ => assert!(began.elapsed() < PATIENCE, "the server does not end"),
            }
            thread::park_timeout(LOOK);
        };
        let mut errors = String::new();
        if let Some(stderr) = &mut self.child.stderr {
            stderr.read_to_string(&mut errors).unwrap_or_default();
        }
        (status, errors)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
