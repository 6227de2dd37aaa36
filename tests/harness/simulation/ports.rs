//! The ports of the engine, made of a simulated world.

use std::sync::Arc;

use async_trait::async_trait;
use engine_core::command::Command;
use engine_core::driver::outbox;
use engine_core::event::{Entry, Envelope};
use engine_core::ids::{AggregateKey, ExecutionId, snowflake_floor};
use engine_core::load::Readers;
use engine_core::payload::{Blob, PayloadRef};
use engine_core::playbook::{Playbook, PlaybookRef};
use engine_core::ports::{
    Catalog, Clock, CommandQueue, EventQueue, IdGenerator, PayloadStore, PortError, PortErrorKind,
    Ports, StateStore, Tail,
};
use engine_core::project::event_span;
use engine_core::state::State;

use super::fault::{Fault, Site};
use super::kind::Kinds;
use super::mutant::Mutant;
use super::world::{Reply, Sim, World, silence};

/// All ports of one process, whose clock is wrong by so many milliseconds.
pub(crate) fn ports(sim: &Sim, skew_ms: i64) -> Ports {
    let port = Arc::new(Simulated { sim: sim.clone(), skew_ms });
    Ports {
        store: Arc::<Simulated>::clone(&port),
        commands: Arc::<Simulated>::clone(&port),
        events: Arc::<Simulated>::clone(&port),
        payloads: Arc::<Simulated>::clone(&port),
        catalog: Arc::<Simulated>::clone(&port),
        clock: Arc::<Simulated>::clone(&port),
        ids: port,
    }
}

/// Readers of the same world that never wait and never fail.
pub(crate) fn plain_readers(sim: &Sim) -> Readers {
    let port = Arc::new(Plain(sim.clone()));
    Readers { store: Arc::<Plain>::clone(&port), payloads: port }
}

struct Simulated {
    sim: Sim,
    skew_ms: i64,
}

impl World {
    fn tail(&mut self, key: &AggregateKey) -> Option<Tail> {
        if self.mutant == Some(Mutant::TtlOnLive) {
            self.expire(key);
        }
        let last = self.log.get(key)?.last()?;
        let span = i64::try_from(event_span(&last.facts)).unwrap_or(i64::MAX);
        Some(Tail {
            seq: last.seq,
            at_ms: last.at_ms,
            next_event_id: last.event_id.0.saturating_add(span),
            state: last.state.clone(),
        })
    }

    /// What a store with a time to live does to a loop that is still open.
    fn expire(&mut self, key: &AggregateKey) {
        const TIME_TO_LIVE_MS: i64 = 20_000;
        let first = self.log.get(key).and_then(|chain| chain.first());
        if let Some(first) = first
            && matches!(first.state, State::Loop(_))
            && first.at_ms + TIME_TO_LIVE_MS < self.now_ms
        {
            self.log.remove(key);
        }
    }

    fn entries(&self, key: &AggregateKey, from: u64, limit: usize) -> Vec<Entry> {
        let chain = self.log.get(key).into_iter().flatten();
        chain.filter(|entry| entry.seq >= from).take(limit).cloned().collect()
    }

    fn object(&self, reference: &PayloadRef) -> Result<Vec<u8>, PortError> {
        self.blobs.get(&reference.uri).cloned().ok_or_else(|| {
            PortError::new(PortErrorKind::NotFound, format!("no object `{}`", reference.uri))
        })
    }

    fn loops(&self, execution_id: ExecutionId) -> Vec<AggregateKey> {
        let keys = self.log.keys().filter(|key| key.execution_id() == execution_id);
        keys.cloned().collect()
    }
}

#[async_trait]
impl StateStore for Simulated {
    async fn tail(&self, key: &AggregateKey) -> Result<Option<Tail>, PortError> {
        self.sim.read(Site::ReadTail, |world| world.tail(key)).await
    }

    async fn commit(&self, entry: &Entry) -> Result<(), PortError> {
        let early = {
            let mut world = self.sim.lock();
            world.take_up(Kinds::of(entry));
            if self.skew_ms != 0 {
                world.pair(Fault::ClockSkew);
            }
            world.mutant == Some(Mutant::SendBeforeCommit)
        };
        if early {
            let out = outbox(entry);
            CommandQueue::send(self, &out.commands).await?;
            EventQueue::send(self, &out.envelopes).await?;
        }
        self.sim.reach(Site::Commit).await;
        let reply = self.sim.lock().write(entry);
        self.sim.reach(Site::Committed).await;
        match reply {
            Reply::Done => Ok(()),
            Reply::Conflict => Err(PortError::new(PortErrorKind::Conflict, "not the next entry")),
            Reply::Silence => Err(silence()),
        }
    }

    async fn entries(
        &self,
        key: &AggregateKey,
        from: u64,
        limit: usize,
    ) -> Result<Vec<Entry>, PortError> {
        self.sim.read(Site::ReadEntries, |world| world.entries(key, from, limit)).await
    }

    async fn aggregates(&self, execution_id: ExecutionId) -> Result<Vec<AggregateKey>, PortError> {
        self.sim.read(Site::ReadEntries, |world| world.loops(execution_id)).await
    }
}

#[async_trait]
impl CommandQueue for Simulated {
    async fn send(&self, commands: &[Command]) -> Result<(), PortError> {
        self.sim.reach(Site::SendCommands).await;
        let reply = self.sim.lock().send_all(commands, World::send_command);
        self.sim.reach(Site::SentCommands).await;
        answer(reply)
    }
}

#[async_trait]
impl EventQueue for Simulated {
    async fn send(&self, envelopes: &[Envelope]) -> Result<(), PortError> {
        self.sim.reach(Site::SendEvents).await;
        let reply = self.sim.lock().send_all(envelopes, World::send_event);
        self.sim.reach(Site::SentEvents).await;
        answer(reply)
    }
}

fn answer(reply: Reply) -> Result<(), PortError> {
    if reply == Reply::Done { Ok(()) } else { Err(silence()) }
}

#[async_trait]
impl PayloadStore for Simulated {
    async fn put(&self, blob: &Blob) -> Result<(), PortError> {
        let store = |world: &mut World| {
            world.blobs.insert(blob.reference.uri.clone(), blob.bytes.clone());
        };
        self.sim.read(Site::StorePayload, store).await
    }

    async fn get(&self, reference: &PayloadRef) -> Result<Vec<u8>, PortError> {
        self.sim.read(Site::ReadPayload, |world| world.object(reference)).await?
    }
}

#[async_trait]
impl Catalog for Simulated {
    async fn playbook(&self, reference: &PlaybookRef) -> Result<Arc<Playbook>, PortError> {
        let find = |world: &mut World| {
            let found = world.library.get(&reference.path).map(|(playbook, _)| playbook);
            found.filter(|playbook| playbook.reference == *reference).cloned()
        };
        let found = self.sim.read(Site::ReadPlaybook, find).await?;
        found.ok_or_else(|| PortError::new(PortErrorKind::NotFound, "no such playbook"))
    }

    async fn newest(&self, path: &str) -> Result<Option<PlaybookRef>, PortError> {
        let find = |world: &mut World| {
            world.library.get(path).map(|(playbook, _)| playbook.reference.clone())
        };
        self.sim.read(Site::ReadPlaybook, find).await
    }
}

impl IdGenerator for Simulated {
    fn execution_id(&self) -> ExecutionId {
        ExecutionId(snowflake_floor(self.now_ms()))
    }

    fn nonce(&self) -> Result<u128, PortError> {
        // Chance of its own would give every seed another world.
        Ok(self.now_ms().unsigned_abs().into())
    }
}

impl Clock for Simulated {
    fn now_ms(&self) -> i64 {
        self.sim.lock().now_ms + self.skew_ms
    }
}

/// Reads without awaits.
struct Plain(Sim);

#[async_trait]
impl StateStore for Plain {
    async fn tail(&self, key: &AggregateKey) -> Result<Option<Tail>, PortError> {
        Ok(self.0.lock().tail(key))
    }

    async fn commit(&self, _: &Entry) -> Result<(), PortError> {
        Err(PortError::new(PortErrorKind::Refused, "this store is for reading"))
    }

    async fn entries(
        &self,
        key: &AggregateKey,
        from: u64,
        limit: usize,
    ) -> Result<Vec<Entry>, PortError> {
        Ok(self.0.lock().entries(key, from, limit))
    }

    async fn aggregates(&self, execution_id: ExecutionId) -> Result<Vec<AggregateKey>, PortError> {
        Ok(self.0.lock().loops(execution_id))
    }
}

#[async_trait]
impl PayloadStore for Plain {
    async fn put(&self, _: &Blob) -> Result<(), PortError> {
        Err(PortError::new(PortErrorKind::Refused, "this store is for reading"))
    }

    async fn get(&self, reference: &PayloadRef) -> Result<Vec<u8>, PortError> {
        self.0.lock().object(reference)
    }
}
