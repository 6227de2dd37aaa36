//! The list of executions, and of those that run. How each stands is read from its state.

use async_nats::HeaderMap;
use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use async_nats::jetstream::stream::RawMessageErrorKind;
use async_trait::async_trait;
use engine_core::event::{Entry, Fact, Status};
use engine_core::ids::{AggregateKey, ExecutionId};
use engine_core::limits::NATS_PARALLEL_MAX;
use engine_core::ports::{PortError, PortErrorKind};
use futures_util::stream::{StreamExt as _, TryStreamExt as _, iter};
use tracing::warn;

use super::failure::unavailable;
use super::place::last;
use super::value::{Begun, Newest};
use super::{Found, NatsStore};
use crate::causes::chain;
use crate::executions::{ExecutionSummary, Executions};

impl NatsStore {
    /// Puts an execution on both lists before its first entry. One without an entry is not shown.
    pub(super) async fn announce(&self, entry: &Entry) -> Result<(), PortError> {
        let begins = entry.facts.iter().any(|fact| matches!(fact, Fact::Started { .. }));
        if !begins {
            return Ok(());
        }
        let id = entry.execution_id();
        let position = match self.position(id).await? {
            Some(position) => position,
            None => self.append(id).await?,
        };
        let put = self.place.running.store.put(id.to_string(), position.to_string().into()).await;
        put.map(drop).map_err(|error| unavailable(&self.place.running.name, error))
    }

    /// Takes an execution off the list of those that run. The commit stands, so a failure is only told.
    pub(super) async fn note_end(&self, entry: &Entry) {
        let ends = entry.facts.iter().any(|fact| matches!(fact, Fact::Finished { .. }));
        if !ends {
            return;
        }
        let id = entry.execution_id();
        if let Err(error) = self.place.running.remove(&id.to_string()).await {
            warn!(
                "execution {id} stays on the list of those that run until somebody looks: {}",
                chain(&error)
            );
        }
    }

    fn subject(&self, id: ExecutionId) -> String {
        format!("{}{id}", self.place.list.prefix)
    }

    /// The number of an execution in the order of their beginning.
    async fn position(&self, id: ExecutionId) -> Result<Option<u64>, PortError> {
        let found = last(&self.place.list.stream, &self.place.list.name, &self.subject(id)).await?;
        Ok(found.map(|message| message.sequence))
    }

    async fn append(&self, id: ExecutionId) -> Result<u64, PortError> {
        let failed = |error: async_nats::Error| unavailable(&self.place.list.name, error);
        let mut headers = HeaderMap::new();
        // Two that begin the same execution at once put it on the list once.
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "0");
        let sent =
            self.place.context.publish_with_headers(self.subject(id), headers, "".into()).await;
        match sent.map_err(|error| failed(error.into()))?.await {
            Ok(acknowledged) => Ok(acknowledged.sequence),
            Err(error) => match self.position(id).await? {
                Some(position) => Ok(position),
                None => Err(failed(error.into())),
            },
        }
    }

    /// The line of an execution; none of one that never began.
    async fn line(
        &self,
        id: ExecutionId,
        position: u64,
    ) -> Result<Option<ExecutionSummary>, PortError> {
        let found = match self.find(&AggregateKey::Execution(id)).await {
            // It must not hide the others, which are listed beside it.
            Err(error) if error.kind == PortErrorKind::Corrupt => {
                warn!(execution_id = %id, %error, "left out of a list: its state does not decode");
                None
            }
            found => found?,
        };
        let Some(Found { newest: Newest { begun: Some(begun), ended, .. }, .. }) = found else {
            return Ok(None);
        };
        let Begun { path, at_ms: started_ms } = begun;
        Ok(Some(ExecutionSummary {
            position: i64::try_from(position).unwrap_or(i64::MAX),
            execution_id: id,
            path,
            status: ended.as_ref().map_or(Status::Running, |ended| ended.status),
            started_ms,
            ended_ms: ended.map(|ended| ended.at_ms),
        }))
    }

    /// The line at a place of the list; none where nothing is, or nothing began.
    async fn at(&self, position: u64) -> Result<Option<ExecutionSummary>, PortError> {
        let message = match self.place.list.stream.get_raw_message(position).await {
            Ok(message) => message,
            Err(error) if matches!(error.kind(), RawMessageErrorKind::NoMessageFound) => {
                return Ok(None);
            }
            Err(error) => return Err(unavailable(&self.place.list.name, error)),
        };
        let id =
            message.subject.strip_prefix(&self.place.list.prefix).and_then(|id| id.parse().ok());
        match id {
            Some(id) => self.line(id, position).await,
            None => Ok(None),
        }
    }

    /// The executions that are on the list of those that run, the oldest first.
    async fn open(&self) -> Result<Vec<(u64, ExecutionId)>, PortError> {
        let running = &self.place.running;
        let names = running.names(">").await?;
        let places = iter(names).map(async |name: String| {
            let Some(message) = running.newest(&name).await? else { return Ok(None) };
            let position = std::str::from_utf8(&message.payload).ok().and_then(|n| n.parse().ok());
            if let (Some(position), Ok(id)) = (position, name.parse()) {
                return Ok(Some((position, id)));
            }
            let message = format!("`{name}` in `{}` is no line of ours", running.name);
            Err(PortError::new(PortErrorKind::Corrupt, message))
        });
        let places: Vec<_> = places.buffered(NATS_PARALLEL_MAX).try_collect().await?;
        let mut places: Vec<(u64, ExecutionId)> = places.into_iter().flatten().collect();
        places.sort_unstable();
        Ok(places)
    }
}

#[async_trait]
impl Executions for NatsStore {
    async fn executions(
        &self,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<ExecutionSummary>, PortError> {
        let newest = if let Some(before) = before {
            u64::try_from(before).unwrap_or(0).saturating_sub(1)
        } else {
            let info = self.place.list.stream.get_info().await;
            info.map_err(|error| unavailable(&self.place.list.name, error))?.state.last_sequence
        };
        let lines = iter((1..=newest).rev()).map(|position| self.at(position));
        let lines = lines.buffered(NATS_PARALLEL_MAX).try_filter_map(async |line| Ok(line));
        lines.take(limit).try_collect().await
    }

    async fn running(
        &self,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Vec<ExecutionSummary>, PortError> {
        let after = u64::try_from(after.unwrap_or(0)).unwrap_or(0);
        let open = self.open().await?.into_iter().filter(|(position, _)| *position > after);
        let mut found = Vec::new();
        for (position, id) in open {
            if found.len() == limit {
                break;
            }
            match self.line(id, position).await? {
                Some(line) if line.status == Status::Running => found.push(line),
                Some(_ended) => self.place.running.remove(&id.to_string()).await?,
                // It may be just about to begin.
                None => {}
            }
        }
        Ok(found)
    }

    async fn execution(
        &self,
        execution_id: ExecutionId,
    ) -> Result<Option<ExecutionSummary>, PortError> {
        match self.position(execution_id).await? {
            Some(position) => self.line(execution_id, position).await,
            None => Ok(None),
        }
    }
}
