//! What AWS bills, counted as it is used.
//!
//! Units are reckoned from sizes by the published rules, so that an emulator, which bills nothing, gives
//! the same numbers. Requests that the SDK repeats by itself count once: one that was throttled is free.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of one write unit of `DynamoDB`.
pub(super) const WRITE_UNIT_BYTES: u64 = 1 << 10;
/// Bytes of one read unit of `DynamoDB`, read consistently.
const READ_UNIT_BYTES: u64 = 4 << 10;
/// Bytes that SQS bills as one request.
const SQS_UNIT_BYTES: u64 = 64 << 10;

/// Counts for one process.
#[derive(Debug, Default)]
pub struct Meter {
    dynamodb_requests: AtomicU64,
    write_units: AtomicU64,
    half_read_units: AtomicU64,
    sqs_requests: AtomicU64,
    s3_writes: AtomicU64,
    s3_reads: AtomicU64,
    secret_reads: AtomicU64,
}

/// What was used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Calls of `DynamoDB`; they cost nothing by themselves.
    pub dynamodb_requests: u64,
    /// Write request units.
    pub write_units: u64,
    /// Read request units; a half for each 4 KB that were not read consistently.
    pub read_units: f64,
    /// Requests to SQS, each of 64 KB.
    pub sqs_requests: u64,
    /// `PutObject`.
    pub s3_writes: u64,
    /// `GetObject`.
    pub s3_reads: u64,
    /// `GetSecretValue`.
    pub secret_reads: u64,
}

impl Meter {
    /// What was used since the process began.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let halves = u32::try_from(read(&self.half_read_units)).unwrap_or(u32::MAX);
        Usage {
            dynamodb_requests: read(&self.dynamodb_requests),
            write_units: read(&self.write_units),
            read_units: f64::from(halves) / 2.0,
            sqs_requests: read(&self.sqs_requests),
            s3_writes: read(&self.s3_writes),
            s3_reads: read(&self.s3_reads),
            secret_reads: read(&self.secret_reads),
        }
    }

    /// A write of an item of so many bytes, also one whose condition failed.
    pub(super) fn written(&self, bytes: u64) {
        self.dynamodb_requests.fetch_add(1, Ordering::Relaxed);
        self.write_units.fetch_add(write_units(bytes), Ordering::Relaxed);
    }

    /// A consistent read of items of so many bytes together; nothing found is billed as one unit.
    pub(super) fn read(&self, bytes: u64) {
        self.dynamodb_requests.fetch_add(1, Ordering::Relaxed);
        let units = bytes.div_ceil(READ_UNIT_BYTES).max(1);
        self.half_read_units.fetch_add(2 * units, Ordering::Relaxed);
    }

    /// A request to SQS with so many bytes of messages.
    pub(super) fn queued(&self, bytes: u64) {
        self.sqs_requests.fetch_add(bytes.div_ceil(SQS_UNIT_BYTES).max(1), Ordering::Relaxed);
    }

    pub(super) fn object_written(&self) {
        self.s3_writes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn object_read(&self) {
        self.s3_reads.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn secret_read(&self) {
        self.secret_reads.fetch_add(1, Ordering::Relaxed);
    }
}

/// Write units of an item of so many bytes.
pub(super) fn write_units(bytes: u64) -> u64 {
    bytes.div_ceil(WRITE_UNIT_BYTES).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_begun_as_a_whole() {
        let meter = Meter::default();
        for bytes in [0, 1, 1024, 1025] {
            meter.written(bytes);
        }
        for bytes in [0, 4096, 4097] {
            meter.read(bytes);
        }
        meter.queued(0);
        meter.queued(65_537);
        meter.object_written();
        meter.object_read();
        meter.secret_read();
        let expect = Usage {
            dynamodb_requests: 7,
            write_units: 5,
            read_units: 4.0,
            sqs_requests: 3,
            s3_writes: 1,
            s3_reads: 1,
            secret_reads: 1,
        };
        assert_eq!(meter.usage(), expect);
    }
}
