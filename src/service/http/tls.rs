//! TLS: certificate and key read again when their files change, client certificates asked for where that is configured.

use crate::{
    connector::aerospike::tls::for_listener,
    service::{
        Service, ServiceError,
        certificates::{End, Nearness, Use, end_of},
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
    /// Who is told when certificates end.
    service: Arc<Service>,
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
    pub(super) fn new(
        service: &Arc<Service>,
        config: &Arc<Config>,
        settings: &HttpsSettings,
    ) -> Result<Self, ServiceError> {
        let stamps = stamps(settings);
        let (read, ends) = read(config, settings)?;
        let current = Mutex::new((Arc::new(read), stamps));
        let (service, config) = (Arc::clone(service), Arc::clone(config));
        service.certificates.put(ends);
        let tls = Self { service, settings: settings.clone(), config, current };
        tls.tell_ends();
        Ok(tls)
    }

    /// Says what ends soon, or has ended.
    pub(super) fn tell_ends(&self) {
        let now = self.service.now();
        for end in self.service.certificates.near(now) {
            let words = end.words(now);
            if end.nearness(now) == Nearness::Over {
                tracing::error!("{words}");
            } else {
                tracing::warn!("{words}");
            }
        }
    }

    /// As the files are now; as they were if they are wrong.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stamps(&self.settings);
        if now != current.1 {
            match read(&self.config, &self.settings) {
                Ok((config, ends)) => {
                    current.0 = Arc::new(config);
                    tracing::info!("read certificate and key again");
                    self.service.certificates.put(ends);
                    self.tell_ends();
                }
                Err(error) => tracing::error!("the former certificate goes on: {error}"),
            }
            current.1 = now;
        }
        Arc::clone(&current.0)
    }
}

/// Whether the next start could listen by TLS with what a configuration names.
///
/// # Errors
/// [`ServiceError::Invalid`] that names the file that is wrong.
pub fn check_files(config: &Config) -> Result<(), ServiceError> {
    let https = config.service.https.as_ref().filter(|https| https.disabled != Some(true));
    let read = https.map_or(Ok(()), |https| read(config, https).map(drop));
    read.map_err(|error| ServiceError::Invalid(error.to_string()))
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

/// How connections are made, and when what that takes ends.
fn read(config: &Config, settings: &HttpsSettings) -> Result<(ServerConfig, Vec<End>), ServiceError> {
    let cert_file = settings.cert_file.as_deref().unwrap_or_default();
    let key_file = settings.key_file.as_deref().unwrap_or_default();
    let chain = certificates(cert_file)?;
    let mut ends: Vec<End> = end_of(Use::Server, cert_file, chain.iter().map(AsRef::as_ref)).into_iter().collect();
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
    let mut config = match verifier(settings, &provider, &mut ends)? {
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
    Ok((config, ends))
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
    ends: &mut Vec<End>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, ServiceError> {
    let mode = settings.client_auth.as_deref().unwrap_or("none");
    if mode == "none" {
        return Ok(None);
    }
    let path = settings.client_ca_file.as_deref();
    let path = path.ok_or_else(|| wrong("service.https", format!("client-auth {mode} needs client-ca-file")))?;
    let mut roots = RootCertStore::empty();
    let authorities = certificates(path)?;
    ends.extend(end_of(Use::ClientAuthority, path, authorities.iter().map(AsRef::as_ref)));
    for certificate in authorities {
        roots.add(certificate).map_err(|error| wrong(path, error))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = if mode == "request" { builder.allow_unauthenticated() } else { builder };
    let (builder, path) = match settings.client_crl_file.as_deref() {
        None => (builder, path),
        Some(path) => {
            let lists = revoked(path)?;
            ends.extend(end_of(Use::RevocationList, path, lists.iter().map(AsRef::as_ref)));
            (builder.with_crls(lists).enforce_revocation_expiration(), path)
        }
    };
    builder.build().map(Some).map_err(|error| wrong(path, error))
}
