//! TLS on every port of a server.

use std::fmt;
use std::io;
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion};

/// A certificate, its key, and the name peers are told.
#[derive(Clone)]
pub struct TlsConfig {
    name: String,
    config: Arc<ServerConfig>,
    chain: Vec<CertificateDer<'static>>,
    key: Arc<PrivateKeyDer<'static>>,
    versions: Vec<&'static SupportedProtocolVersion>,
    authority: Option<Vec<u8>>,
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsConfig({})", self.name)
    }
}

fn built(
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
    versions: &[&'static SupportedProtocolVersion],
    authority: Option<&[u8]>,
) -> io::Result<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions);
    let builder = builder.map_err(io::Error::other)?;
    let builder = match authority {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.allow_unauthenticated().build().map_err(io::Error::other)?)
        }
    };
    builder.with_single_cert(chain.to_vec(), key.clone_key()).map_err(io::Error::other)
}

impl TlsConfig {
    /// From PEM texts. `name` is the TLS name that `peers-tls-std` tells and the certificate must hold.
    ///
    /// # Errors
    /// If certificate and key are none, or do not belong together.
    pub fn from_pem(name: &str, certificate: &[u8], key: &[u8]) -> io::Result<Self> {
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(certificate).collect::<Result<_, _>>().map_err(io::Error::other)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(io::Error::other)?;
        let versions = rustls::ALL_VERSIONS.to_vec();
        let config = Arc::new(built(&chain, &key, &versions, None)?);
        Ok(Self { name: name.to_owned(), config, chain, key: Arc::new(key), versions, authority: None })
    }

    /// Asks clients for certificates of an authority, and takes those that show none all the same.
    ///
    /// # Errors
    /// If it is none.
    pub fn with_client_authority(mut self, authority: &[u8]) -> io::Result<Self> {
        self.authority = Some(authority.to_vec());
        self.rebuild()?;
        Ok(self)
    }

    /// Speaks one version only: 1.2 or 1.3.
    ///
    /// # Errors
    /// If it cannot be spoken with this key.
    pub fn with_only(mut self, is_13: bool) -> io::Result<Self> {
        self.versions = vec![if is_13 { &rustls::version::TLS13 } else { &rustls::version::TLS12 }];
        self.rebuild()?;
        Ok(self)
    }

    fn rebuild(&mut self) -> io::Result<()> {
        self.config = Arc::new(built(&self.chain, &self.key, &self.versions, self.authority.as_deref())?);
        Ok(())
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn accept(&self, stream: TcpStream) -> io::Result<StreamOwned<ServerConnection, TcpStream>> {
        let connection = ServerConnection::new(Arc::clone(&self.config)).map_err(io::Error::other)?;
        Ok(StreamOwned::new(connection, stream))
    }
}
