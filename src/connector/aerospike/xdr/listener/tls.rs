//! How the listener speaks TLS: a certificate and its key from files, and the authority that nodes' own certificates are of, if
//! they are to show some.

use crate::connector::ConnectorError;
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
    version::{TLS12, TLS13},
};
use std::{path::Path, sync::Arc};

fn wrong(path: &Path, reason: impl std::fmt::Display) -> ConnectorError {
    ConnectorError::Unreadable { object: path.display().to_string(), reason: reason.to_string() }
}

/// What connections are made with.
///
/// # Errors
/// [`ConnectorError::Unreadable`] that names the file that is wrong.
pub fn server_config(
    cert_file: &Path,
    key_file: &Path,
    client_ca_file: Option<&Path>,
) -> Result<Arc<ServerConfig>, ConnectorError> {
    let chain = certificates(cert_file)?;
    let key = PrivateKeyDer::from_pem_file(key_file).map_err(|error| wrong(key_file, error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| wrong(cert_file, error))?;
    let builder = match client_ca_file {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| wrong(path, error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| wrong(path, error))?)
        }
    };
    builder.with_single_cert(chain, key).map(Arc::new).map_err(|error| wrong(cert_file, error))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ConnectorError> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| wrong(path, error))?;
    let chain: Vec<_> = read.collect::<Result<_, _>>().map_err(|error| wrong(path, error))?;
    if chain.is_empty() { Err(wrong(path, "there is no certificate in it")) } else { Ok(chain) }
}
