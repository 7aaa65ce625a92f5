//! TLS: certificate and key read again when their files change, client certificates asked for where that is configured.

use crate::{
    connector::aerospike::tls::for_listener,
    service::{
        ServiceError,
        config::{Config, HttpsSettings, Secrets, Suites},
    },
};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, CertificateRevocationListDer, pem::PemObject as _},
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
    version::{TLS12, TLS13},
};
use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

/// When files were last changed, and how long they are.
type Stamps = Vec<Option<(SystemTime, u64)>>;

/// What connections are made with, as the files are.
pub(super) struct Tls {
    settings: HttpsSettings,
    /// Where the key's password is looked up.
    config: Arc<Config>,
    current: Mutex<(Arc<ServerConfig>, Stamps)>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`ServiceError::Listen`] that names the one that is wrong.
    pub(super) fn new(config: &Arc<Config>, settings: &HttpsSettings) -> Result<Self, ServiceError> {
        let stamps = stamps(settings);
        let current = Mutex::new((Arc::new(read(config, settings)?), stamps));
        Ok(Self { settings: settings.clone(), config: Arc::clone(config), current })
    }

    /// As the files are now; as they were if they are wrong.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stamps(&self.settings);
        if now != current.1 {
            match read(&self.config, &self.settings) {
                Ok(config) => {
                    current.0 = Arc::new(config);
                    tracing::info!("read certificate and key again");
                }
                Err(error) => tracing::error!("the former certificate goes on: {error}"),
            }
            current.1 = now;
        }
        Arc::clone(&current.0)
    }
}

fn stamps(settings: &HttpsSettings) -> Stamps {
    [&settings.cert_file, &settings.key_file, &settings.client_ca_file, &settings.client_crl_file]
        .into_iter()
        .map(|path| {
            let found = std::fs::metadata(path.as_ref()?).ok()?;
            Some((found.modified().ok()?, found.len()))
        })
        .collect()
}

fn wrong(place: &str, reason: impl std::fmt::Display) -> ServiceError {
    ServiceError::Listen { place: place.to_owned(), reason: reason.to_string() }
}

fn read(config: &Config, settings: &HttpsSettings) -> Result<ServerConfig, ServiceError> {
    let cert_file = settings.cert_file.as_deref().unwrap_or_default();
    let key_file = settings.key_file.as_deref().unwrap_or_default();
    let chain = certificates(cert_file)?;
    let password = settings.key_file_password.as_ref();
    let password = password.map(|password| Secrets::new(config, None, None)?.get(&password.0)).transpose();
    let password = password.map_err(|words| wrong("service.https.key-file-password", words))?;
    let suites = settings.cipher_suites.as_ref().map(Suites::text);
    let (key, provider) = for_listener(Path::new(key_file), password.as_deref(), suites.as_deref())
        .map_err(|error| wrong("service.https", error))?;
    let versions: &[_] = if settings.min_version.as_deref() == Some("1.3") { &[&TLS13] } else { &[&TLS13, &TLS12] };
    let provider = Arc::new(provider);
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_protocol_versions(versions).map_err(|error| wrong("TLS", error))?;
    let mut config = match verifier(settings, &provider)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    }
    .with_single_cert(chain, key)
    .map_err(|error| wrong(cert_file, error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    if asks_for_certificates(settings) {
        // A session that is taken up shows no certificate anew: it may have ended, or been taken back, since.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(config)
}

fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, ServiceError> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| wrong(path, error))?;
    let chain: Vec<_> = read.collect::<Result<_, _>>().map_err(|error| wrong(path, error))?;
    if chain.is_empty() { Err(wrong(path, "there is no certificate in it")) } else { Ok(chain) }
}

/// Whether a handshake failed by what the client showed.
pub(super) fn is_of_certificate(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::InvalidCertificate(_)))
}

/// Lists of revoked certificates, at least one.
fn revoked(path: &str) -> Result<Vec<CertificateRevocationListDer<'static>>, ServiceError> {
    let read = CertificateRevocationListDer::pem_file_iter(path).map_err(|error| wrong(path, error))?;
    let lists: Vec<_> = read.collect::<Result<_, _>>().map_err(|error| wrong(path, error))?;
    if lists.is_empty() { Err(wrong(path, "there is no list of revoked certificates in it")) } else { Ok(lists) }
}

/// Whether clients are asked for a certificate.
fn asks_for_certificates(settings: &HttpsSettings) -> bool {
    settings.client_auth.as_deref().is_some_and(|mode| mode != "none")
}

fn verifier(
    settings: &HttpsSettings,
    provider: &Arc<rustls::crypto::CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, ServiceError> {
    let mode = settings.client_auth.as_deref().unwrap_or("none");
    if mode == "none" {
        return Ok(None);
    }
    let path = settings.client_ca_file.as_deref();
    let path = path.ok_or_else(|| wrong("service.https", format!("client-auth {mode} needs client-ca-file")))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| wrong(path, error))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = if mode == "request" { builder.allow_unauthenticated() } else { builder };
    let (builder, path) = match settings.client_crl_file.as_deref() {
        None => (builder, path),
        Some(path) => (builder.with_crls(revoked(path)?).enforce_revocation_expiration(), path),
    };
    builder.build().map(Some).map_err(|error| wrong(path, error))
}
