//! Logs and metrics of a function, as `CloudWatch` reads both: lines of JSON on stdout.

use std::io::{self, Write as _};

use serde_json::{Map, Value, json};
use tracing::warn;
use tracing_subscriber::EnvFilter;

/// The variable that holds the filter of the logs, such as `info` or `info,worker=debug`.
pub const LOG: &str = "NOETL_LOG";
/// The variable that holds the namespace of the metrics.
pub const NAMESPACE: &str = "NOETL_METRICS_NAMESPACE";

/// Directives that win over the filter: these crates log values.
const UNLOGGED: [&str; 1] = ["tokio_postgres=warn"];
/// What is logged when nothing is said.
const DEFAULT_FILTER: &str = "info";
/// The namespace when none is said.
const DEFAULT_NAMESPACE: &str = "noetl-lambda";
/// Values of one metric in one line, as `CloudWatch` bounds them.
const VALUES_MAX: usize = 100;

/// Begins to log, once for the process. A second call changes nothing.
pub fn log(lookup: impl Fn(&str) -> Option<String>) {
    let wanted = lookup(LOG).filter(|text| !text.trim().is_empty());
    let parsed = wanted.as_deref().map(EnvFilter::try_new);
    let (filter, wrong) = match parsed {
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (EnvFilter::new(DEFAULT_FILTER), Some(error)),
        None => (EnvFilter::new(DEFAULT_FILTER), None),
    };
    // It tells statements and what is bound to them.
    let unlogged = UNLOGGED.iter().filter_map(|directive| directive.parse().ok());
    let filter = unlogged.fold(filter, EnvFilter::add_directive);
    let logs = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_span_list(false)
        .with_env_filter(filter)
        .with_writer(io::stdout);
    // It fails where logging has begun before: that one stays.
    let _ = logs.try_init();
    if let Some(error) = wrong {
        warn!("`{LOG}` is no filter ({error}); `{DEFAULT_FILTER}` is used");
    }
}

/// What the values of a metric are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unit {
    /// How many.
    Count,
    /// How long.
    Milliseconds,
    /// Which share, from 0 to 100.
    Percent,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Count => "Count",
            Self::Milliseconds => "Milliseconds",
            Self::Percent => "Percent",
        }
    }
}

/// Values of one metric.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Metric {
    /// Its name, as the dashboard has it.
    pub name: &'static str,
    /// What its values are.
    pub unit: Unit,
    /// The values; those after the first hundred are left out, as `CloudWatch` does not take them.
    pub values: Vec<u64>,
}

impl Metric {
    /// A number of something.
    #[must_use]
    pub fn count(name: &'static str, count: u64) -> Self {
        Self { name, unit: Unit::Count, values: vec![count] }
    }
}

/// Metrics of one function, in the embedded metric format: a line of the log, which `CloudWatch` counts.
///
/// Source: Amazon `CloudWatch` user guide, "Specification: Embedded metric format".
#[derive(Clone, Debug)]
pub struct Metrics {
    namespace: String,
    function: String,
}

impl Metrics {
    /// Metrics in the namespace that the environment names, of the function that it is.
    #[must_use]
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let given = |name: &str| lookup(name).filter(|text| !text.trim().is_empty());
        Self {
            namespace: given(NAMESPACE).unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()),
            function: given("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default(),
        }
    }

    /// Tells what was measured at `at_ms` (Unix milliseconds); nothing where nothing was.
    pub fn emit(&self, at_ms: i64, metrics: &[Metric]) {
        if let Some(line) = self.line(at_ms, metrics) {
            // One write, so that no log line comes into it. Who cannot be told is not told of that either.
            let _ = io::stdout().lock().write_all(format!("{line}\n").as_bytes());
        }
    }

    /// The line; none if every value is 0, for a metric costs what it is told.
    fn line(&self, at_ms: i64, metrics: &[Metric]) -> Option<String> {
        let told: Vec<&Metric> = metrics.iter().filter(|one| !one.values.is_empty()).collect();
        if told.iter().all(|one| one.values.iter().all(|value| *value == 0)) {
            return None;
        }
        let names: Vec<Value> =
            told.iter().map(|one| json!({"Name": one.name, "Unit": one.unit.name()})).collect();
        let about = json!({
            "Timestamp": at_ms,
            "CloudWatchMetrics": [{
                "Namespace": self.namespace,
                "Dimensions": [["Function"]],
                "Metrics": names,
            }],
        });
        let mut line = Map::new();
        line.insert("_aws".to_owned(), about);
        line.insert("Function".to_owned(), self.function.as_str().into());
        for one in told {
            let value = match one.values.as_slice() {
                [value] => json!(value),
                values => json!(values.get(..VALUES_MAX).unwrap_or(values)),
            };
            line.insert(one.name.to_owned(), value);
        }
        Some(Value::Object(line).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics() -> Metrics {
        Metrics::from_lookup(|name| {
            (name == "AWS_LAMBDA_FUNCTION_NAME").then(|| "demo-event-handler".to_owned())
        })
    }

    fn latencies(values: Vec<u64>) -> Metric {
        Metric { name: "EventLatency", unit: Unit::Milliseconds, values }
    }

    #[test]
    fn a_line_names_its_metrics_and_has_their_values() {
        let told = [latencies(vec![12, 40]), Metric::count("CommandsIssued", 3)];
        let expect = concat!(
            r#"{"_aws":{"Timestamp":1700000000000,"CloudWatchMetrics":[{"Namespace":"noetl-lambda","#,
            r#""Dimensions":[["Function"]],"Metrics":[{"Name":"EventLatency","Unit":"Milliseconds"},"#,
            r#"{"Name":"CommandsIssued","Unit":"Count"}]}]},"Function":"demo-event-handler","#,
            r#""EventLatency":[12,40],"CommandsIssued":3}"#,
        );
        assert_eq!(metrics().line(1_700_000_000_000, &told).as_deref(), Some(expect));
    }

    #[test]
    fn nothing_is_told_where_nothing_happened() {
        assert_eq!(metrics().line(0, &[]), None);
        assert_eq!(metrics().line(0, &[latencies(vec![]), Metric::count("DeadLetters", 0)]), None);
        let line = metrics().line(0, &[latencies(vec![7]), Metric::count("DeadLetters", 0)]);
        assert!(line.is_some_and(|line| line.ends_with(r#""EventLatency":7,"DeadLetters":0}"#)));
    }

    #[test]
    fn a_metric_has_no_more_values_than_cloudwatch_takes() {
        let line = metrics().line(0, &[latencies((0..300).collect())]).unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["EventLatency"].as_array().unwrap().len(), 100);
    }
}
