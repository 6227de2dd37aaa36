//! Which object of which bucket a side names.

use super::plan::Side;
use crate::aws::Aws;
use crate::tool::{Call, ToolError};
use crate::tools::s3::Bucket;

/// An object, and the way to it.
pub(super) struct Object {
    pub(super) bucket: Bucket,
    pub(super) key: String,
    /// `s3://bucket/key`.
    pub(super) uri: String,
}

impl Object {
    /// Reads `uri: s3://bucket/key`, or `bucket` and `key`.
    pub(super) fn of(aws: &Aws, side: &Side, call: &Call<'_>) -> Result<Self, ToolError> {
        let uri = ["uri", "url", "path"].iter().find_map(|key| side.text(key));
        let parts = uri.and_then(|uri| uri.trim().strip_prefix("s3://")?.split_once('/'));
        let (bucket, key) = match (parts, side.text("bucket"), side.text("key")) {
            (Some(parts), _, _) => parts,
            (None, Some(bucket), Some(key)) => (bucket.trim(), key.trim()),
            _ => {
                return Err(ToolError::input(
                    "a side of type s3 needs `uri: s3://bucket/key`, or `bucket` and `key`",
                ));
            }
        };
        let uri = format!("s3://{bucket}/{key}");
        let bucket = Bucket::open(&aws.for_tool(&side.config)?, bucket, call.deadline)?;
        Ok(Self { bucket, key: key.to_owned(), uri })
    }
}
