//! A small HTTP site for playbooks to call: lists in pages, and a place to save things.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde_json::{Value, json};

/// The items of every list.
pub const ITEMS: u64 = 35;

/// Where it is how warm; anywhere else it is too warm to be true.
const CITIES: [(&str, f64); 3] = [("London", 11.5), ("Paris", 14.0), ("Berlin", 9.0)];

/// The site; it answers for as long as the test runs.
pub struct Site {
    address: SocketAddr,
    log: Arc<Mutex<Vec<Request>>>,
}

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `POST`.
    pub method: String,
    /// With its query.
    pub path: String,
    /// Null if there was none.
    pub body: Value,
}

impl Site {
    /// Begins to listen, on a port that the system chooses.
    ///
    /// # Panics
    /// If there is no port.
    #[must_use]
    pub fn start() -> Self {
        let listening = TcpListener::bind("127.0.0.1:0").and_then(|listener| {
            let address = listener.local_addr()?;
            Ok((listener, address))
        });
        let (listener, address) = listening.unwrap_or_else(|error| panic!("no port: {error}"));
        let log = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&log);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let log = Arc::clone(&kept);
                // A caller that goes away gets no answer.
                thread::spawn(move || drop(serve(stream, &log)));
            }
        });
        Self { address, log }
    }

    /// `api_url=http://127.0.0.1:PORT`, for `--set`.
    #[must_use]
    pub fn api_url(&self) -> String {
        format!("api_url=http://{}", self.address)
    }

    /// What was asked for under paths that begin so, in order.
    #[must_use]
    pub fn asked(&self, prefix: &str) -> Vec<Request> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().filter(|request| request.path.starts_with(prefix)).cloned().collect()
    }
}

fn serve(stream: TcpStream, log: &Mutex<Vec<Request>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut length = 0;
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            break;
        }
        let (name, value) = header.split_once(':').unwrap_or_default();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let request = Request { method, path, body };
    let (status, answer) = answer(&request);
    log.lock().unwrap_or_else(PoisonError::into_inner).push(request);
    let answer = answer.to_string();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        answer.len()
    );
    let stream = reader.get_mut();
    stream.write_all(head.as_bytes())?;
    stream.write_all(answer.as_bytes())
}

/// `/api/...`: a page of a list. `/data`: the same, with other names. `/weather?city=`: how warm it is. `/save`: takes anything. `/STATUS`:
/// answers that.
fn answer(request: &Request) -> (String, Value) {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let parameter = |name: &str, default: u64| {
        let found = query.split('&').filter_map(|pair| pair.split_once('='));
        let mut found = found.filter(|(key, _)| *key == name).map(|(_, value)| value.parse());
        found.next().and_then(Result::ok).unwrap_or(default)
    };
    match path {
        "/weather" => {
            let named = query.split('&').find_map(|pair| pair.strip_prefix("city="));
            let city = named.unwrap_or_default();
            let warm = CITIES.iter().find(|(name, _)| *name == city).map_or(99.0, |(_, t)| *t);
            ("200 OK".to_owned(), json!({"city": city, "temperature": warm}))
        }
        "/save" => ("200 OK".to_owned(), json!({"saved": request.body})),
        path if path == "/data" || path.starts_with("/api/") => {
            let (page, size) = (parameter("page", 1), parameter("pageSize", 10));
            let items = (page - 1) * size + 1..=(page * size).min(ITEMS);
            let data: Vec<Value> = items.map(|id| json!({"id": id, "of": path})).collect();
            let more = page * size < ITEMS;
            let paging = json!({"hasMore": more, "page": page, "pageSize": size});
            let body = match path {
                "/data" => json!({"items": data, "hasMore": more, "page": page}),
                _ => json!({"data": data, "paging": paging}),
            };
            ("200 OK".to_owned(), body)
        }
        path => (format!("{} Told", path.trim_start_matches('/')), json!({"told": path})),
    }
}
