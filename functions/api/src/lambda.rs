//! The routes behind an HTTP API of AWS.
//!
//! # Layout
//!
//! * `gateway`: its requests and answers, as Lambda has them.
//! * `inputs`: what requests want done goes to the queue of events. `keyring`: credentials in their table.

mod gateway;
mod inputs;
mod keyring;

use std::sync::Arc;

use adapters::lambda::{Function, Handler, Invocation, Refused};
use async_trait::async_trait;
use axum::Router;
use engine_core::load::Readers;
use engine_core::playbook::support::refused_on_lambda;
use serde_json::Value;
use tower::ServiceExt as _;

use self::inputs::Queued;
use self::keyring::Sealed;
use crate::http::{Api, Door, router};
use crate::stored::Stored;

/// The function `api`.
pub struct ApiFunction {
    router: Router,
}

impl ApiFunction {
    /// All routes over an account.
    #[must_use]
    pub fn new(function: Function) -> Self {
        let Function { aws, store, executions, .. } = function;
        let api = Api {
            readers: Readers { store: store.clone(), payloads: aws.payloads.clone() },
            catalog: aws.catalog.clone(),
            refused: refused_on_lambda,
            directory: Arc::new(Stored { catalog: aws.catalog.clone(), executions }),
            credentials: Arc::new(Sealed {
                store: aws.credentials.clone(),
                clock: aws.clock.clone(),
            }),
            inputs: Arc::new(Queued {
                events: aws.events.clone(),
                store,
                clock: aws.clock.clone(),
            }),
            ids: aws.ids.clone(),
        };
        Self { router: router(api, Door::Gateway) }
    }
}

#[async_trait]
impl Handler for ApiFunction {
    async fn handle(&self, invocation: Invocation) -> Result<Value, Refused> {
        let request = gateway::request(&invocation.event).map_err(Refused::Event)?;
        let answered = self.router.clone().oneshot(request).await;
        let response = answered.unwrap_or_else(|never| match never {});
        Ok(gateway::answer(response).await)
    }
}
