//! TLS to a server, with the certificates that libpq would look at.

use super::address::{Address, SslMode};
use crate::connector::ConnectorError;
use postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
};
use std::{
    future::Future,
    io,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsConnector;

/// How connections are secured.
#[derive(Clone)]
pub(super) struct Tls(Arc<ClientConfig>);

impl Tls {
    pub(super) fn of(address: &Address) -> Result<Self, ConnectorError> {
        let wrong = |reason: String| ConnectorError::Usage { object: address.shown(), reason };
        let mode = address.ssl_mode().map_err(wrong)?;
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(format!("TLS cannot be set up: {error}")))?;
        let authorities = address.ssl_file("sslrootcert", "root.crt");
        let verifier: Arc<dyn ServerCertVerifier> = match (mode, &authorities) {
            (SslMode::VerifyFull | SslMode::VerifyCa, None) => {
                return Err(wrong(
                    "verifying the server needs its authority: sslrootcert=FILE or sslrootcert=system".to_owned(),
                ));
            }
            // As libpq: where an authority is named, `require` verifies it.
            (SslMode::VerifyFull | SslMode::VerifyCa | SslMode::Require, Some(file)) => {
                let roots = Arc::new(roots(file).map_err(wrong)?);
                let inner = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
                let inner = inner.build().map_err(|error| wrong(format!("{}: {error}", file.display())))?;
                // `system` is meaningful only with the name.
                let is_system = file == Path::new("system");
                Arc::new(Verifier { inner: Some(inner), name: mode == SslMode::VerifyFull || is_system, provider })
            }
            _ => Arc::new(Verifier { inner: None, name: false, provider }),
        };
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let own = (address.ssl_file("sslcert", "postgresql.crt"), address.ssl_file("sslkey", "postgresql.key"));
        let config = match own {
            (Some(cert), Some(key)) => {
                let chain = certificates(&cert).map_err(wrong)?;
                let key =
                    PrivateKeyDer::from_pem_file(&key).map_err(|error| wrong(format!("{}: {error}", key.display())))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| wrong(format!("sslcert and sslkey: {error}")))?
            }
            (None, None) => builder.with_no_client_auth(),
            _ => return Err(wrong("sslcert and sslkey belong together".to_owned())),
        };
        Ok(Self(Arc::new(config)))
    }
}

fn roots(file: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    if file == Path::new("system") {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    } else {
        for certificate in certificates(file)? {
            roots.add(certificate).map_err(|error| format!("{}: {error}", file.display()))?;
        }
    }
    if roots.is_empty() { Err(format!("{} holds no certificate", file.display())) } else { Ok(roots) }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    read.map_err(|error| format!("{}: {error}", file.display()))
}

/// What of a server's certificate is looked at.
#[derive(Debug)]
struct Verifier {
    /// Who signed it; nobody in particular.
    inner: Option<Arc<WebPkiServerVerifier>>,
    /// Whether it must bear the host's name.
    name: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use rustls::CertificateError::{NotValidForName, NotValidForNameContext};
        let Some(inner) = &self.inner else { return Ok(ServerCertVerified::assertion()) };
        match inner.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            Err(rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. })) if !self.name => {
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl<S> MakeTlsConnect<S> for Tls
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Secured<S>;
    type TlsConnect = Shake;
    type Error = io::Error;

    fn make_tls_connect(&mut self, domain: &str) -> io::Result<Shake> {
        // It is asked for also where no TLS follows: a socket has no name.
        let name = ServerName::try_from(domain.to_owned()).map_err(|_| domain.to_owned());
        Ok(Shake { connector: TlsConnector::from(Arc::clone(&self.0)), name })
    }
}

/// A handshake to come.
pub(super) struct Shake {
    connector: TlsConnector,
    /// The server's; `Err` if no certificate can bear it.
    name: Result<ServerName<'static>, String>,
}

impl<S> TlsConnect<S> for Shake
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Secured<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Secured<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let no_name = |name| io::Error::other(format!("`{name}` is no name that a certificate can bear"));
            Ok(Secured(self.connector.connect(self.name.map_err(no_name)?, stream).await?))
        })
    }
}

/// A connection under TLS.
pub(super) struct Secured<S>(tokio_rustls::client::TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Secured<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Secured<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Secured<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
