//! Objects of one bucket that are created and never changed.

use std::sync::Arc;
use std::time::Duration;

use engine_core::limits::AWS_OBJECT_MS;
use engine_core::payload::sha256_hex;
use engine_core::ports::PortError;

use super::config::{Access, PAYLOADS_BUCKET};
use super::failure::Asked;
use super::meter::Meter;
use super::signed::{Request, Signer};

/// A bucket. Keys hold letters, digits, `/` and `-` only: nothing of them has to be escaped.
#[derive(Clone)]
pub(super) struct Objects {
    signer: Signer,
    base: String,
    shown: String,
    meter: Arc<Meter>,
}

impl Objects {
    pub(super) fn new(signer: Signer, access: &Access, bucket: &str, meter: Arc<Meter>) -> Self {
        let base = base(access, bucket);
        Self { signer, base, shown: format!("bucket `{bucket}`"), meter }
    }

    /// The bucket, as a person would name it.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    fn asked(&self, action: &'static str) -> Asked<'_> {
        Asked { action, resource: &self.shown, variable: PAYLOADS_BUCKET }
    }

    /// Writes an object unless it is there; whether it was not. S3 compares the bytes with the checksum.
    pub(super) async fn create(
        &self,
        key: &str,
        bytes: &[u8],
        sha256: &str,
    ) -> Result<bool, PortError> {
        let asked = self.asked("s3:PutObject");
        let request = Request {
            service: "s3",
            method: "PUT",
            url: format!("{}/{key}", self.base),
            headers: vec![("if-none-match", "*")],
            body: bytes,
            sha256,
            answer_max: u64::MAX,
            patience: Duration::from_millis(AWS_OBJECT_MS),
            asked,
        };
        let answer = self.signer.send(&request).await?;
        self.meter.object_written();
        match answer.status {
            200..=299 => Ok(true),
            // It is there, and an object never changes.
            412 => Ok(false),
            _ => Err(answer.failure(&asked)),
        }
    }

    /// Returns an object of at most `bytes_max` bytes; none if there is none.
    pub(super) async fn read(
        &self,
        key: &str,
        bytes_max: u64,
    ) -> Result<Option<Vec<u8>>, PortError> {
        let asked = self.asked("s3:GetObject");
        let sha256 = sha256_hex(&[]);
        let request = Request {
            service: "s3",
            method: "GET",
            url: format!("{}/{key}", self.base),
            headers: vec![],
            body: &[],
            sha256: &sha256,
            answer_max: bytes_max,
            patience: Duration::from_millis(AWS_OBJECT_MS),
            asked,
        };
        let answer = self.signer.send(&request).await?;
        self.meter.object_read();
        match answer.status {
            200..=299 => Ok(Some(answer.body)),
            404 if !answer.says("NoSuchBucket") => Ok(None),
            _ => Err(answer.failure(&asked)),
        }
    }

    /// Makes the bucket, for those who have no template.
    pub(super) async fn make(&self) -> Result<(), PortError> {
        let asked = self.asked("s3:CreateBucket");
        let sha256 = sha256_hex(&[]);
        let request = Request {
            service: "s3",
            method: "PUT",
            url: self.base.clone(),
            headers: vec![],
            body: &[],
            sha256: &sha256,
            answer_max: u64::MAX,
            patience: Duration::from_millis(AWS_OBJECT_MS),
            asked,
        };
        let answer = self.signer.send(&request).await?;
        if answer.status < 300 || answer.says("BucketAlreadyOwnedByYou") {
            return Ok(());
        }
        Err(answer.failure(&asked))
    }
}

/// The address of a bucket: a host of its own, unless its name cannot be one.
fn base(access: &Access, bucket: &str) -> String {
    let region = &access.region;
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    match &access.s3 {
        Some(endpoint) => format!("{endpoint}/{bucket}"),
        // A dot is one level more than the certificate is for.
        None if bucket.contains('.') => format!("https://s3.{region}.{domain}/{bucket}"),
        None => format!("https://{bucket}.s3.{region}.{domain}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_has_a_host_of_its_own_where_it_can() {
        let mut access = Access {
            region: "eu-central-1".to_owned(),
            credentials: None,
            dynamodb: None,
            sqs: None,
            s3: None,
            secrets_manager: None,
        };
        assert_eq!(base(&access, "b"), "https://b.s3.eu-central-1.amazonaws.com");
        assert_eq!(base(&access, "a.b"), "https://s3.eu-central-1.amazonaws.com/a.b");
        access.s3 = Some("http://localhost:1".to_owned());
        assert_eq!(base(&access, "b"), "http://localhost:1/b");
    }
}
