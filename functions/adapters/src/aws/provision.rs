//! Makes what the template makes, where there is no template: in an emulator.

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use aws_sdk_sqs::types::QueueAttributeName;
use engine_core::limits::{COMMAND_VISIBILITY_MS, EVENT_VISIBILITY_MS};
use engine_core::ports::{PortError, PortErrorKind};

use super::Aws;
use super::config::{
    CATALOG_TABLE, COMMANDS_QUEUE_URL_PREFIX, CREDENTIALS_TABLE, EVENTS_QUEUE_URL, STATE_TABLE,
};
use super::failure::{Asked, failure};

impl Aws {
    /// Makes the tables, the bucket, the queue of events and those of commands of `kinds`, unless they are
    /// there. Queues of the same name have the URLs that the configuration says.
    ///
    /// # Errors
    /// `Refused` or `Unavailable`.
    pub async fn provision(&self, kinds: &[&str]) -> Result<(), PortError> {
        self.table(&self.config.state_table, STATE_TABLE, true).await?;
        self.table(&self.config.catalog_table, CATALOG_TABLE, true).await?;
        if let Some(name) = &self.config.credentials_table {
            self.table(name, CREDENTIALS_TABLE, false).await?;
        }
        self.clients.objects.make().await?;
        self.queue(&self.config.events_queue_url, EVENTS_QUEUE_URL).await?;
        for kind in kinds {
            let url = format!("{}{kind}", self.config.commands_queue_url_prefix);
            self.queue(&url, COMMANDS_QUEUE_URL_PREFIX).await?;
        }
        Ok(())
    }

    async fn table(&self, name: &str, variable: &str, has_sk: bool) -> Result<(), PortError> {
        let shown = format!("table `{name}`");
        let asked = Asked { action: "dynamodb:CreateTable", resource: &shown, variable };
        let mut request = self.clients.dynamodb.create_table().table_name(name);
        let keys = [
            ("pk", KeyType::Hash, ScalarAttributeType::S),
            ("sk", KeyType::Range, ScalarAttributeType::N),
        ];
        for (name, key_type, value_type) in keys.into_iter().take(1 + usize::from(has_sk)) {
            let key = KeySchemaElement::builder().attribute_name(name).key_type(key_type).build();
            let value =
                AttributeDefinition::builder().attribute_name(name).attribute_type(value_type);
            let unbuilt = |error| {
                let message = format!("{shown} cannot be described");
                PortError::caused(PortErrorKind::Refused, message, error)
            };
            request = request
                .key_schema(key.map_err(unbuilt)?)
                .attribute_definitions(value.build().map_err(unbuilt)?);
        }
        match request.billing_mode(BillingMode::PayPerRequest).send().await {
            Ok(_created) => Ok(()),
            Err(error) => match error.as_service_error() {
                Some(known) if known.is_resource_in_use_exception() => Ok(()),
                _ => Err(failure(error, &asked)),
            },
        }
    }

    async fn queue(&self, url: &str, variable: &str) -> Result<(), PortError> {
        let name = url.rsplit('/').next().unwrap_or(url);
        let shown = format!("queue `{name}`");
        let asked = Asked { action: "sqs:CreateQueue", resource: &shown, variable };
        let is_fifo = std::path::Path::new(name).extension().is_some_and(|suffix| suffix == "fifo");
        let visibility_ms = if is_fifo { EVENT_VISIBILITY_MS } else { COMMAND_VISIBILITY_MS };
        let mut request = self
            .clients
            .sqs
            .create_queue()
            .queue_name(name)
            .attributes(QueueAttributeName::VisibilityTimeout, (visibility_ms / 1_000).to_string())
            .attributes(QueueAttributeName::MaximumMessageSize, (1 << 20).to_string());
        if is_fifo {
            request = request
                .attributes(QueueAttributeName::FifoQueue, "true")
                .attributes(QueueAttributeName::DeduplicationScope, "messageGroup")
                .attributes(QueueAttributeName::FifoThroughputLimit, "perMessageGroupId");
        }
        request.send().await.map_err(|error| failure(error, &asked))?;
        Ok(())
    }
}
