//! The way to AWS: one pool of connections for all services, over rustls with ring.

use std::time::Duration;

use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::{
    HttpConnectorSettings, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use engine_core::limits::AWS_CONNECT_MS;

/// Connections to whatever the endpoints are. Whoever wraps it sees every try of every request.
#[must_use]
pub fn transport() -> SharedHttpConnector {
    let settings = HttpConnectorSettings::builder()
        .connect_timeout(Duration::from_millis(AWS_CONNECT_MS))
        .build();
    SharedHttpConnector::new(
        Connector::builder()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .connector_settings(settings)
            .build(),
    )
}

/// The same connections, as the SDK asks for them. Its settings are not asked: every client has the same,
/// and its timeouts are around each try.
pub(super) fn client(connector: SharedHttpConnector) -> SharedHttpClient {
    http_client_fn(move |_settings, _components| connector.clone())
}
