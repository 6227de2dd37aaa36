//! What is mapped to what, as it is written on the command line.

use std::str::FromStr;
use std::time::Duration;

use engine_core::limits::{
    ESM_BATCH_MAX, ESM_CONCURRENCY_DEFAULT, ESM_CONCURRENCY_MAX, ESM_EVERY_MS_MAX, ESM_EVERY_MS_MIN,
};

/// A queue whose messages go to a function: `QUEUE_URL=FUNCTION[:BATCH[:CONCURRENCY]]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Mapping {
    pub(crate) queue_url: String,
    pub(crate) function: String,
    /// Messages of one invocation, at most.
    pub(crate) batch: usize,
    /// Invocations at a time, at most.
    pub(crate) concurrency: usize,
}

/// A function that is called again and again: `DURATION:FUNCTION`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Schedule {
    pub(crate) every: Duration,
    pub(crate) function: String,
}

/// A port whose HTTP requests go to a function: `PORT:FUNCTION`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Front {
    pub(crate) port: u16,
    pub(crate) function: String,
}

impl FromStr for Mapping {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A URL may hold `=` and `:`, the name of a function neither.
        let (queue_url, target) = text.rsplit_once('=').ok_or_else(|| {
            format!(
                "`{text}` is no QUEUE_URL=FUNCTION, such as `http://host/000000000000/q=worker`"
            )
        })?;
        if !queue_url.starts_with("http://") && !queue_url.starts_with("https://") {
            return Err(format!(
                "`{queue_url}` is no URL of a queue; SQS gives it as `https://...`"
            ));
        }
        let mut parts = target.split(':');
        let function = function(parts.next().unwrap_or_default())?;
        let batch = bounded(parts.next(), "a batch", ESM_BATCH_MAX, ESM_BATCH_MAX)?;
        let (usual, most) = (ESM_CONCURRENCY_DEFAULT, ESM_CONCURRENCY_MAX);
        let concurrency = bounded(parts.next(), "a concurrency", usual, most)?;
        match parts.next() {
            None => Ok(Self { queue_url: queue_url.to_owned(), function, batch, concurrency }),
            Some(more) => {
                Err(format!("`:{more}` is too much; a target is FUNCTION:BATCH:CONCURRENCY"))
            }
        }
    }
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("`{text}` is no DURATION:FUNCTION, such as `60s:sweeper`");
        let (every, name) = text.split_once(':').ok_or_else(expected)?;
        let unit = every.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(expected)?;
        let (number, unit) = every.split_at(unit);
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(format!("`{unit}` is no unit; a duration ends with ms, s, m or h")),
        };
        let number = number.parse::<u64>().map_err(|_no_number| expected())?;
        let ms = number.saturating_mul(unit_ms);
        if !(ESM_EVERY_MS_MIN..=ESM_EVERY_MS_MAX).contains(&ms) {
            return Err(format!(
                "`{every}` is out of bounds; a schedule is between {ESM_EVERY_MS_MIN} ms and {} h",
                ESM_EVERY_MS_MAX / 3_600_000
            ));
        }
        Ok(Self { every: Duration::from_millis(ms), function: function(name)? })
    }
}

impl FromStr for Front {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("`{text}` is no PORT:FUNCTION, such as `8083:api`");
        let (port, name) = text.split_once(':').ok_or_else(expected)?;
        let port = port.parse().map_err(|_no_port| expected())?;
        Ok(Self { port, function: function(name)? })
    }
}

/// A name becomes part of a path, so it must be one.
fn function(name: &str) -> Result<String, String> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if !name.is_empty() && name.len() <= 64 && name.bytes().all(is_name) {
        return Ok(name.to_owned());
    }
    Err(format!("`{name}` is no function; a name has up to 64 letters, digits, `-` and `_`"))
}

fn bounded(text: Option<&str>, what: &str, usual: usize, most: usize) -> Result<usize, String> {
    let Some(text) = text else { return Ok(usual) };
    match text.parse() {
        Ok(number) if (1..=most).contains(&number) => Ok(number),
        _ => Err(format!("`{text}` is not {what}; it is a number from 1 to {most}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_names_a_queue_a_function_and_its_bounds() {
        let url = "http://127.0.0.1:4566/000000000000/q.fifo";
        #[rustfmt::skip]
        let cases = [
            ("=event-handler",        Ok(("event-handler", 10, 5))),
            ("=worker_http:5",        Ok(("worker_http", 5, 5))),
            ("=worker-http:1:64",     Ok(("worker-http", 1, 64))),
            ("",                      Err("is no QUEUE_URL=FUNCTION")),
            ("=",                     Err("is no function")),
            ("=a/b",                  Err("is no function")),
            ("=f:0",                  Err("from 1 to 10")),
            ("=f:11",                 Err("from 1 to 10")),
            ("=f:10:0",               Err("from 1 to 64")),
            ("=f:10:65",              Err("from 1 to 64")),
            ("=f:10:x",               Err("from 1 to 64")),
            ("=f:10:1:1",             Err("is too much")),
        ];
        for (rest, expect) in cases {
            match (format!("{url}{rest}").parse::<Mapping>(), expect) {
                (Ok(mapping), Ok((function, batch, concurrency))) => {
                    let function = function.to_owned();
                    let queue_url = url.to_owned();
                    assert_eq!(mapping, Mapping { queue_url, function, batch, concurrency });
                }
                (Err(error), Err(says)) => assert!(error.contains(says), "{rest}: {error}"),
                (ended, _) => panic!("{rest}: {ended:?}"),
            }
        }
        assert!("events=f".parse::<Mapping>().unwrap_err().contains("no URL of a queue"));
    }

    #[test]
    fn a_schedule_has_a_duration_with_a_unit() {
        #[rustfmt::skip]
        let cases = [
            ("60s:sweeper",     Ok(60_000)),
            ("100ms:sweeper",   Ok(100)),
            ("5m:sweeper",      Ok(300_000)),
            ("24h:sweeper",     Ok(86_400_000)),
            ("25h:sweeper",     Err("out of bounds")),
            ("99ms:sweeper",    Err("out of bounds")),
            ("99999999999999999h:sweeper", Err("out of bounds")),
            ("99999999999999999999999s:sweeper", Err("is no DURATION")),
            ("60:sweeper",      Err("is no DURATION")),
            ("s:sweeper",       Err("is no DURATION")),
            ("1d:sweeper",      Err("is no unit")),
            ("60s",             Err("is no DURATION")),
            ("60s:",            Err("is no function")),
        ];
        for (text, expect) in cases {
            match (text.parse::<Schedule>(), expect) {
                (Ok(schedule), Ok(ms)) => assert_eq!(schedule.every, Duration::from_millis(ms)),
                (Err(error), Err(says)) => assert!(error.contains(says), "{text}: {error}"),
                (ended, _) => panic!("{text}: {ended:?}"),
            }
        }
    }

    #[test]
    fn a_front_has_a_port_and_a_function() {
        let front = Front { port: 8083, function: "api".to_owned() };
        assert_eq!("8083:api".parse(), Ok(front));
        for text in ["8083", "api", "65536:api", ":api"] {
            assert!(text.parse::<Front>().unwrap_err().contains("is no PORT:FUNCTION"), "{text}");
        }
        assert!("0:a b".parse::<Front>().unwrap_err().contains("is no function"));
    }
}
