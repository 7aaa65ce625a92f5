//! TLS to nodes, by rustls.

use super::{error::Error, options::TlsOptions};
use crate::report::Remedy;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use std::{net::TcpStream, path::Path, sync::Arc};

/// How to open TLS connections.
#[derive(Debug, Clone)]
pub(super) struct Tls {
    config: Arc<ClientConfig>,
    name: Option<String>,
}

/// A connection under TLS.
pub(super) type TlsStream = StreamOwned<ClientConnection, TcpStream>;

impl Tls {
    pub(super) fn new(options: &TlsOptions) -> Result<Self, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Usage(format!("TLS cannot be set up: {error}")))?
            .with_root_certificates(roots(options.ca_file.as_deref())?);
        let config = match (&options.cert_file, &options.key_file) {
            (None, None) => builder.with_no_client_auth(),
            (Some(cert), Some(key)) => {
                let chain = certificates(cert)?;
                let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| Error::Usage(format!("the TLS certificate and key do not fit: {error}")))?
            }
            _ => {
                return Err(Error::Usage("a certificate and its key belong together".to_owned())
                    .with(Remedy::GiveCertificateAndKey));
            }
        };
        Ok(Self { config: Arc::new(config), name: options.name.clone() })
    }

    /// Shakes hands over `stream` with a node whose certificate must bear the name that was asked for, else the one that
    /// its peers give it, else `host`.
    pub(super) fn connect(
        &self,
        host: &str,
        peer_name: Option<&str>,
        mut stream: TcpStream,
    ) -> std::io::Result<TlsStream> {
        let name = self.name.as_deref().or(peer_name).unwrap_or(host);
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| std::io::Error::other(format!("`{name}` is no name that a certificate can bear")))?;
        let mut session = ClientConnection::new(Arc::clone(&self.config), name).map_err(std::io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        Ok(StreamOwned::new(session, stream))
    }
}

fn roots(file: Option<&Path>) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = file {
        for certificate in certificates(file)? {
            roots.add(certificate).map_err(|error| Error::Usage(format!("{}: {error}", file.display())))?;
        }
    } else {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
    }
    if roots.is_empty() {
        return Err(Error::Usage("there is no certificate of an authority".to_owned()).with(Remedy::GiveAuthority));
    }
    Ok(roots)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    CertificateDer::pem_file_iter(file).and_then(Iterator::collect).map_err(|error| unreadable(file, &error))
}

fn unreadable(file: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::Usage(format!("{}: {error}", file.display()))
}
