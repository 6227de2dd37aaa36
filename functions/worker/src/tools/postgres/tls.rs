//! What a server's certificate must prove, as `sslmode` says.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::settings::{Protection, Settings};
use crate::tool::ToolError;

/// How connections to that server are encrypted.
///
/// # Errors
/// [`ToolError::input`] for a `sslrootcert` that has no certificate.
pub(super) fn connector(settings: &Settings) -> Result<MakeRustlsConnect, ToolError> {
    let provider = Arc::new(ring::default_provider());
    let broken = |error: &dyn std::fmt::Display| {
        ToolError::input(format!("`sslrootcert` cannot be used: {error}"))
    };
    let authorities = settings.authorities();
    let checks_authority = settings.protection() >= Protection::VerifyCa
        || (settings.protection() == Protection::Require && authorities.is_some());
    let authority = checks_authority
        .then(|| {
            let roots = Arc::new(roots(authorities)?);
            WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
                .build()
                .map_err(|error| broken(&error))
        })
        .transpose()?;
    let verifier = Verifier {
        authority,
        checks_name: settings.protection() == Protection::VerifyFull,
        provider: Arc::clone(&provider),
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| broken(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

fn roots(pem: Option<&str>) -> Result<RootCertStore, ToolError> {
    let Some(pem) = pem else {
        return Ok(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() });
    };
    let mut store = RootCertStore::empty();
    let mut text = pem.as_bytes();
    let found = rustls_pemfile::certs(&mut text).filter_map(Result::ok);
    let (added, _) = store.add_parsable_certificates(found);
    if added == 0 {
        return Err(ToolError::input(
            "`sslrootcert` has no certificate; give the text of the PEM file, from \
             `-----BEGIN CERTIFICATE-----` on",
        ));
    }
    Ok(store)
}

/// Checks what `sslmode` asks for; the handshake's signature is checked in every mode.
#[derive(Debug)]
struct Verifier {
    /// None if any certificate is taken, as `prefer` and a plain `require` do in libpq.
    authority: Option<Arc<WebPkiServerVerifier>>,
    checks_name: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(authority) = &self.authority else { return Ok(ServerCertVerified::assertion()) };
        let verified = authority.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match verified {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.checks_name => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
