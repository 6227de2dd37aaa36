//! The catalog and the list of executions, as the API asks for them.

use std::sync::Arc;

use adapters::embedded::Embedded;
use adapters::embedded::catalog::{PlaybookVersion, SqliteCatalog};
use adapters::embedded::store::SqliteStore;
use api::http::{Directory, Listed, Registered};
use async_trait::async_trait;
use engine_core::ids::ExecutionId;
use engine_core::playbook::PlaybookRef;
use engine_core::ports::{PortError, PortErrorKind};

/// Both tables of one store.
pub(crate) struct Playbooks {
    catalog: Arc<SqliteCatalog>,
    store: Arc<SqliteStore>,
}

impl Playbooks {
    pub(crate) fn new(embedded: &Embedded) -> Self {
        Self { catalog: embedded.catalog.clone(), store: embedded.store.clone() }
    }
}

fn registered(found: PlaybookVersion) -> Registered {
    let PlaybookVersion { reference, version } = found;
    Registered { reference, version }
}

#[async_trait]
impl Directory for Playbooks {
    async fn register(&self, text: &str) -> Result<Registered, PortError> {
        self.catalog.register(text).await.map(registered)
    }

    async fn find(
        &self,
        path: &str,
        version: Option<u32>,
    ) -> Result<Option<Registered>, PortError> {
        let found = match version {
            Some(number) => self.catalog.version(path, number).await?,
            None => self.catalog.newest(path).await?,
        };
        Ok(found.map(registered))
    }

    async fn number(&self, reference: &PlaybookRef) -> Result<Option<u32>, PortError> {
        let mut found = self.catalog.newest(&reference.path).await?;
        // What runs is nearly always the newest version, or one of the last.
        while let Some(PlaybookVersion { reference: of, version }) = found {
            if of.hash == reference.hash {
                return Ok(Some(version));
            }
            found = self.catalog.version(&reference.path, version.saturating_sub(1)).await?;
        }
        Ok(None)
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
            Some(id) => Some(self.store.execution(id).await?.ok_or_else(|| {
                PortError::new(PortErrorKind::NotFound, format!("Execution {id} not found"))
            })?),
        };
        let found = self.store.executions(before.map(|one| one.position), limit).await?;
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
