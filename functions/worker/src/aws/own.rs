//! What of an account is the engine's own: its key and its data are not for playbooks.
//!
//! The role of a worker may read both, as the worker itself needs them; so each tool that reads secrets or
//! objects in the name of a playbook asks here first.

use super::AwsSettings;
use crate::tool::{Reaction, ToolError};

/// Parameters of this path are secrets of Secrets Manager under another name.
///
/// Source: AWS Systems Manager user guide, "Referencing AWS Secrets Manager secrets from Parameter Store
/// parameters".
const REFERENCE: &str = "aws/reference/secretsmanager/";
/// What an ARN of a secret says before its name.
const SECRET_ARN: &str = ":secret:";
/// Characters that Secrets Manager adds to a name in its ARN: a hyphen and six more.
const SUFFIX_CHARS: usize = 7;

/// The engine's own resources; none where it keeps nothing in AWS.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Own {
    /// Name or ARN of the secret with the key of stored credentials.
    pub secret: Option<String>,
    /// The bucket of large values and playbooks.
    pub bucket: Option<String>,
}

impl Own {
    /// Refuses the own secret, by whichever of its names.
    pub(super) fn check_secret(&self, asked: &str) -> Result<(), ToolError> {
        let Some(own) = &self.secret else { return Ok(()) };
        let [own, asked] = [names(own), names(asked)];
        if !own.iter().any(|own| asked.iter().any(|asked| own.eq_ignore_ascii_case(asked))) {
            return Ok(());
        }
        Err(forbidden(
            "this secret is the key of the stored credentials; read a secret of your own",
        ))
    }

    /// Refuses parameters that are the own secret.
    pub(super) fn check_parameter(&self, asked: &str) -> Result<(), ToolError> {
        let lower = asked.to_ascii_lowercase();
        let Some((_, name)) = lower.split_once(REFERENCE) else { return Ok(()) };
        self.check_secret(name)?;
        // A version or a label may follow.
        name.split_once(':').map_or(Ok(()), |(name, _)| self.check_secret(name))
    }

    /// Refuses the own bucket.
    pub(super) fn check_bucket(&self, asked: &str) -> Result<(), ToolError> {
        match &self.bucket {
            Some(own) if own.eq_ignore_ascii_case(asked.trim()) => Err(forbidden(
                "this bucket holds the data of all executions; use a bucket of your own",
            )),
            _ => Ok(()),
        }
    }

    /// Refuses to sign with the worker's own key for an endpoint of the playbook: a host or a path can name
    /// the own bucket as well.
    pub(super) fn check_endpoint(&self, settings: &AwsSettings) -> Result<(), ToolError> {
        let has_own = self.secret.is_some() || self.bucket.is_some();
        if has_own && settings.is_from_playbook() && !settings.has_own_keys() {
            return Err(ToolError::input(
                "an `endpoint` of the playbook needs keys of the playbook; name a credential with \
                 `access_key_id` and `secret_access_key` in `auth`",
            ));
        }
        Ok(())
    }
}

/// The names that a text may mean: itself, or what is in it if it is an ARN, with and without its suffix.
fn names(text: &str) -> Vec<&str> {
    let text = text.trim();
    let Some((_, name)) = text.split_once(SECRET_ARN) else { return vec![text] };
    let stem = name.char_indices().rev().nth(SUFFIX_CHARS - 1);
    let stem = stem.filter(|(_, first)| *first == '-').and_then(|(at, _)| name.get(..at));
    [Some(name), stem].into_iter().flatten().collect()
}

fn forbidden(message: &str) -> ToolError {
    ToolError::new(Reaction::Rejected, "Forbidden", message)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Map, Value, json};

    use super::*;
    use crate::aws::Aws;
    use crate::aws::tests::{Scripted, call, client};
    use crate::credentials::RemoteSecrets as _;
    use crate::toolbox::{Supplies, Toolbox};
    use crate::tools::http::HttpPolicy;
    use crate::tools::python::PythonPool;

    const ARN: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:noetl/key-AbC1dE";

    fn own(secret: &str) -> Own {
        Own { secret: Some(secret.to_owned()), bucket: Some("noetl-data".to_owned()) }
    }

    #[test]
    fn the_own_key_is_refused_by_each_of_its_names_and_others_are_not() {
        let part = ARN.trim_end_matches("-AbC1dE");
        for configured in [ARN, "noetl/key"] {
            for asked in [ARN, part, "noetl/key", " noetl/key ", "NOETL/key"] {
                let refused = own(configured).check_secret(asked).unwrap_err();
                assert_eq!(refused.kind(), "Forbidden", "{configured} {asked}");
            }
            let other = ARN.replace("noetl/key", "noetl/key-2");
            for asked in ["noetl/key2", "noetl/key-2", "db", &other, ""] {
                assert!(own(configured).check_secret(asked).is_ok(), "{configured} {asked}");
            }
        }
        assert!(Own::default().check_secret(ARN).is_ok());
    }

    #[test]
    fn a_parameter_that_is_the_own_key_is_refused() {
        for asked in [
            "/aws/reference/secretsmanager/noetl/key",
            "/aws/reference/secretsmanager/noetl/key:3",
            "arn:aws:ssm:eu-west-1:1:parameter/aws/reference/secretsmanager/noetl/key",
        ] {
            assert!(own(ARN).check_parameter(asked).is_err(), "{asked}");
        }
        let reference = format!("/aws/reference/secretsmanager/{ARN}");
        assert!(own(ARN).check_parameter(&reference).is_err());
        for asked in ["/noetl/key", "/aws/reference/secretsmanager/db", "noetl/key"] {
            assert!(own(ARN).check_parameter(asked).is_ok(), "{asked}");
        }
    }

    #[test]
    fn the_own_bucket_is_refused() {
        assert_eq!(own(ARN).check_bucket("noetl-data").unwrap_err().kind(), "Forbidden");
        assert!(own(ARN).check_bucket("noetl-data-2").is_ok());
        assert!(Own::default().check_bucket("noetl-data").is_ok());
    }

    #[test]
    fn an_endpoint_of_the_playbook_needs_keys_of_the_playbook() {
        let settings = |config: Value| {
            let Value::Object(config) = config else { panic!("a map") };
            AwsSettings::default().for_tool(&config).unwrap()
        };
        let keys = json!({"access_key_id": "a", "secret_access_key": "b"});
        let bare = settings(json!({"endpoint": "https://noetl-data.s3.amazonaws.com"}));
        let keyed = settings(json!({"endpoint": "https://minio:9000", "auth": keys}));
        assert!(own(ARN).check_endpoint(&bare).is_err());
        assert!(own(ARN).check_endpoint(&keyed).is_ok());
        assert!(own(ARN).check_endpoint(&settings(Map::new().into())).is_ok());
        assert!(Own::default().check_endpoint(&bare).is_ok());
    }

    fn toolbox(aws: Aws) -> Toolbox {
        Toolbox::new(Supplies {
            policy: HttpPolicy::default(),
            aws,
            python: PythonPool::new("python3", 1),
            allows_shell: false,
            files: ".".into(),
            secrets: None,
            env: BTreeMap::new(),
        })
    }

    #[tokio::test]
    async fn no_tool_asks_aws_for_what_is_the_engines_own() {
        let server = Scripted::start(vec![(200, "", "{}")]).await;
        let aws = client(&server.url).keeping(own(ARN));
        let toolbox = toolbox(aws.clone());
        let side = json!({"type": "s3", "uri": "s3://noetl-data/playbooks/x.json"});
        let target = json!({"type": "s3", "bucket": "noetl-data", "key": "x.json"});
        let other = json!({"type": "s3", "uri": "s3://other/x.json"});
        #[rustfmt::skip]
        let calls = [
            (toolbox.s3(), json!({"operation": "get", "bucket": "noetl-data", "key": "x"})),
            (toolbox.s3(), json!({"operation": "list", "uri": "s3://noetl-data/"})),
            (toolbox.s3(), json!({"operation": "put", "uri": "s3://noetl-data/x", "data": 1})),
            (toolbox.secrets(), json!({"provider": "aws", "name": "noetl/key"})),
            (toolbox.secrets(), json!({"provider": "ssm", "name": "/aws/reference/secretsmanager/noetl/key"})),
            (toolbox.transfer(), json!({"source": side, "target": other})),
            (toolbox.transfer(), json!({"source": {"type": "http", "url": &server.url}, "target": target})),
        ];
        for (tools, config) in calls {
            let (error, _result) = call(&*tools[0], config.clone()).await.unwrap_err();
            assert_eq!(error.kind, "Forbidden", "{config}: {error:?}");
        }
        for (provider, name) in [("aws", ARN), ("ssm", "/aws/reference/secretsmanager/noetl/key")] {
            let error = aws.fetch(provider, name, None).await.unwrap_err();
            assert_eq!(error.kind(), "Forbidden", "{provider}");
        }
        let asked = server.requests();
        assert!(asked.iter().all(|request| request.starts_with("GET / ")), "{asked:?}");
    }
}
