//! A server that tells everything that it was told, in several forms: the worst that can happen to a secret.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// The server; it answers for as long as the test runs.
pub struct Echo {
    address: SocketAddr,
}

impl Echo {
    /// Begins to listen; `POST /token` answers with `token`, and `/fail` with the status 500.
    ///
    /// # Panics
    /// If there is no port.
    #[must_use]
    pub fn start(token: &'static str) -> Self {
        let listening = TcpListener::bind("127.0.0.1:0").and_then(|listener| {
            let address = listener.local_addr()?;
            Ok((listener, address))
        });
        let (listener, address) = listening.unwrap_or_else(|error| panic!("no port: {error}"));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A caller that goes away gets no answer.
                thread::spawn(move || drop(serve(stream, token)));
            }
        });
        Self { address }
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn host(&self) -> String {
        self.address.to_string()
    }
}

fn serve(stream: TcpStream, token: &str) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = String::from_utf8_lossy(&body).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default();
    let status = if path.starts_with("/fail") { "500 No" } else { "200 OK" };
    let answer = if path.starts_with("/token") {
        json!({"access_token": token, "token_type": "Bearer", "expires_in": 3_600})
    } else {
        told(&head, &body)
    };
    let answer = answer.to_string();
    let length = answer.len();
    let stream = reader.get_mut();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{answer}"
    )
}

/// The request, as it is, in base64 and in hexadecimal; the body also as its own JSON, whose keys stay keys.
fn told(head: &str, body: &str) -> Value {
    let all = format!("{head}{body}");
    let hex = all.bytes().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap_or_default();
        hex
    });
    let json: Value = serde_json::from_str(body).unwrap_or_default();
    json!({"head": head, "body": body, "json": json, "base64": STANDARD.encode(&all), "hex": hex})
}
