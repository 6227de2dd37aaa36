//! Registered playbooks and the list of executions, of whatever keeps them.

use std::sync::Arc;

use adapters::catalog::{PlaybookVersion, Registry};
use adapters::executions::Executions;
use async_trait::async_trait;
use engine_core::ids::ExecutionId;
use engine_core::playbook::PlaybookRef;
use engine_core::ports::{PortError, PortErrorKind};

use crate::http::{Directory, Listed, Registered};

/// A [`Directory`] over a catalog and a store.
pub struct Stored {
    /// The playbooks.
    pub catalog: Arc<dyn Registry>,
    /// The executions.
    pub executions: Arc<dyn Executions>,
}

fn registered(found: PlaybookVersion) -> Registered {
    let PlaybookVersion { reference, version } = found;
    Registered { reference, version }
}

#[async_trait]
impl Directory for Stored {
    async fn register(&self, text: &str) -> Result<Registered, PortError> {
        self.catalog.register(text).await.map(registered)
    }

    async fn find(
        &self,
        path: &str,
        version: Option<u32>,
    ) -> Result<Option<Registered>, PortError> {
        Ok(self.catalog.find(path, version).await?.map(registered))
    }

    async fn number(&self, reference: &PlaybookRef) -> Result<Option<u32>, PortError> {
        self.catalog.number(reference).await
    }

    async fn playbooks(&self) -> Result<Vec<Registered>, PortError> {
        Ok(self.catalog.list().await?.into_iter().map(registered).collect())
    }

    async fn executions(
        &self,
        before: Option<ExecutionId>,
        limit: usize,
    ) -> Result<Vec<Listed>, PortError> {
        let before = match before {
            None => None,
            Some(id) => Some(self.executions.execution(id).await?.ok_or_else(|| {
                PortError::new(PortErrorKind::NotFound, format!("Execution {id} not found"))
            })?),
        };
        let found = self.executions.executions(before.map(|one| one.position), limit).await?;
        let listed = found.into_iter().map(|one| Listed {
            execution_id: one.execution_id,
            path: one.path,
            status: one.status,
            started_ms: one.started_ms,
            ended_ms: one.ended_ms,
        });
        Ok(listed.collect())
    }
}
