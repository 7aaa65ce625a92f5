//! TLS to nodes, by rustls.

use super::{error::Error, options::TlsOptions};
use crate::{connector::ConnectorError, report::Remedy};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, pem::PemObject as _},
    version::{TLS12, TLS13},
};
use std::{net::TcpStream, path::Path, sync::Arc};
use zeroize::Zeroizing;

/// How to open TLS connections.
#[derive(Debug, Clone)]
pub(super) struct Tls {
    config: Arc<ClientConfig>,
    name: Option<String>,
}

/// The name that one node's certificate bears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TlsName {
    /// A person said so, of this node.
    Typed(String),
    /// Its peers say so.
    Told(String),
}

/// A connection under TLS.
pub(super) type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// The suites that are spoken: IANA's name, and OpenSSL's where it is another one.
const SUITES: [(&str, &str); 9] = [
    ("TLS_AES_256_GCM_SHA384", ""),
    ("TLS_AES_128_GCM_SHA256", ""),
    ("TLS_CHACHA20_POLY1305_SHA256", ""),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"),
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "ECDHE-RSA-AES256-GCM-SHA384"),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-CHACHA20-POLY1305"),
];

impl Tls {
    pub(super) fn new(options: &TlsOptions) -> Result<Self, Error> {
        let config = client_config(options)?;
        Ok(Self { config: Arc::new(config), name: options.name.clone() })
    }

    /// Shakes hands over `stream` with a node whose certificate must bear the name that was typed for it, else the one that
    /// was asked for of all, else the one that its peers give it, else `host`.
    pub(super) fn connect(
        &self,
        host: &str,
        name: Option<&TlsName>,
        mut stream: TcpStream,
    ) -> std::io::Result<TlsStream> {
        let name = match (name, &self.name) {
            (Some(TlsName::Typed(name)), _) | (_, Some(name)) | (Some(TlsName::Told(name)), None) => name,
            (None, None) => host,
        };
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| std::io::Error::other(format!("`{name}` is no name that a certificate can bear")))?;
        let mut session = ClientConnection::new(Arc::clone(&self.config), name).map_err(std::io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        Ok(StreamOwned::new(session, stream))
    }
}

/// What the options come to.
pub(super) fn client_config(options: &TlsOptions) -> Result<ClientConfig, Error> {
    let mut provider = rustls::crypto::ring::default_provider();
    if let Some(text) = &options.cipher_suites {
        keep_suites(&mut provider, text)?;
    }
    let versions = options.protocols.as_deref().map_or_else(|| Ok(vec![&TLS13, &TLS12]), versions)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&versions)
        .map_err(|error| Error::Usage(format!("TLS cannot be set up with these versions and suites: {error}")))?
        .with_root_certificates(roots(options)?);
    match (&options.cert_file, &options.key_file) {
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(cert), Some(key)) => {
            let chain = certificates(cert)?;
            let key = private_key(key, options.key_password.as_deref().map(String::as_str))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| Error::Usage(format!("the TLS certificate and key do not fit: {error}")))
        }
        _ => {
            Err(Error::Usage("a certificate and its key belong together".to_owned())
                .with(Remedy::GiveCertificateAndKey))
        }
    }
}

/// What a listener takes from files and settings as connections to nodes do: its key, decrypted if it must be, and the suites that
/// it speaks, all that are safe if none are named.
///
/// # Errors
/// [`ConnectorError::Url`], in words.
pub fn for_listener(
    key_file: &Path,
    password: Option<&str>,
    suites: Option<&str>,
) -> Result<(PrivateKeyDer<'static>, CryptoProvider), ConnectorError> {
    let mut provider = rustls::crypto::ring::default_provider();
    if let Some(suites) = suites {
        keep_suites(&mut provider, suites).map_err(|error| error.into_connector("cipher suites"))?;
    }
    let key = private_key(key_file, password).map_err(|error| error.into_connector("key"))?;
    Ok((key, provider))
}

/// Keeps the suites that are named, by IANA's names or OpenSSL's. As OpenSSL does, it passes over those that are not spoken at all.
fn keep_suites(provider: &mut CryptoProvider, text: &str) -> Result<(), Error> {
    let named: Vec<&str> = text.split([':', ',', ' ']).map(str::trim).filter(|name| !name.is_empty()).collect();
    let is_named = |iana: &str| {
        let openssl = SUITES.iter().find(|(name, _)| *name == iana).map_or("", |(_, openssl)| *openssl);
        named.iter().any(|name| name.eq_ignore_ascii_case(iana) || name.eq_ignore_ascii_case(openssl))
    };
    provider.cipher_suites.retain(|suite| {
        let name = format!("{:?}", suite.suite());
        // The library calls those of TLS 1.3 after their version.
        is_named(&name.replace("TLS13_", "TLS_"))
    });
    if !provider.cipher_suites.is_empty() {
        return Ok(());
    }
    let all: Vec<&str> =
        SUITES.iter().map(|(iana, openssl)| if openssl.is_empty() { *iana } else { *openssl }).collect();
    Err(Error::Usage(format!("`{text}` names no cipher suite that is spoken; those are {}", all.join(", "))))
}

/// The versions in a list such as `TLSv1.3`, `all` or `-all +TLSv1.2`. Those before 1.2 are never spoken.
fn versions(text: &str) -> Result<Vec<&'static SupportedProtocolVersion>, Error> {
    let mut spoken = [false; 2];
    for word in text.split([' ', ',', ':']).filter(|word| !word.is_empty()) {
        let (wanted, name) = match word.strip_prefix('-') {
            Some(name) => (false, name),
            None => (true, word.strip_prefix('+').unwrap_or(word)),
        };
        match name.to_ascii_lowercase().as_str() {
            "all" => spoken = [wanted; 2],
            "tlsv1.2" => spoken[0] = wanted,
            "tlsv1.3" => spoken[1] = wanted,
            "sslv2" | "sslv3" | "tlsv1" | "tlsv1.0" | "tlsv1.1" => {}
            _ => return Err(Error::Usage(format!("`{word}` is no version of TLS: write TLSv1.2, TLSv1.3 or all"))),
        }
    }
    let all = [&TLS12, &TLS13];
    let chosen: Vec<_> =
        all.into_iter().zip(spoken).filter(|(_, wanted)| *wanted).map(|(version, _)| version).collect();
    if chosen.is_empty() {
        return Err(Error::Usage(format!(
            "`{text}` leaves no version of TLS: 1.2 and 1.3 are spoken, older ones never"
        )));
    }
    Ok(chosen)
}

fn roots(options: &TlsOptions) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = &options.ca_file {
        for certificate in certificates(file)? {
            roots.add(certificate).map_err(|error| unreadable(file, &error))?;
        }
    }
    if let Some(folder) = &options.ca_path {
        add_folder(&mut roots, folder)?;
    }
    if options.ca_file.is_none() && options.ca_path.is_none() {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
    }
    if roots.is_empty() {
        return Err(Error::Usage("there is no certificate of an authority".to_owned()).with(Remedy::GiveAuthority));
    }
    Ok(roots)
}

/// Adds what a folder holds; files in it that are no certificates (revocation lists, notes) are passed over.
fn add_folder(roots: &mut RootCertStore, folder: &Path) -> Result<(), Error> {
    let failed = |error: std::io::Error| unreadable(folder, &error);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        // A link to nowhere stays behind when an authority is removed.
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    for file in files {
        let found = CertificateDer::pem_file_iter(&file).map_err(|error| unreadable(&file, &error))?;
        roots.add_parsable_certificates(found.filter_map(Result::ok));
    }
    if roots.is_empty() {
        let error = Error::Usage(format!("{} holds no certificate of an authority", folder.display()));
        return Err(error.with(Remedy::GiveAuthority));
    }
    Ok(())
}

/// What a file holds. A text that begins as PEM does is none's name but what it would hold: secret agents give such.
fn content(file: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
    match file.to_str().filter(|text| text.trim_start().starts_with("-----BEGIN")) {
        Some(text) => Ok(Zeroizing::new(text.as_bytes().to_vec())),
        None => std::fs::read(file).map(Zeroizing::new).map_err(|error| unreadable(file, &error)),
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let text = content(file)?;
    let all: Vec<_> =
        CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>().map_err(|error| unreadable(file, &error))?;
    if all.is_empty() { Err(unreadable(file, &"there is no certificate in it")) } else { Ok(all) }
}

/// Our own key, decrypted if it must be.
fn private_key(file: &Path, password: Option<&str>) -> Result<PrivateKeyDer<'static>, Error> {
    let text = content(file)?;
    let has = |label: &str| text.windows(label.len()).any(|window| window == label.as_bytes());
    if has("Proc-Type: 4,ENCRYPTED") {
        return Err(unreadable(
            file,
            &"it is encrypted in OpenSSL's old form; `openssl pkcs8 -topk8 -in OLD -out NEW` makes one of today's form",
        ));
    }
    if !has("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
        return PrivateKeyDer::from_pem_slice(&text).map_err(|error| unreadable(file, &error));
    }
    let Some(password) = password else {
        return Err(unreadable(file, &"it is encrypted, and no password is given").with(Remedy::GiveKeyPassword));
    };
    let text = std::str::from_utf8(&text).map_err(|error| unreadable(file, &error))?;
    let begin = text.find("-----BEGIN ENCRYPTED PRIVATE KEY-----").unwrap_or(0);
    let (_, sealed) = pkcs8::SecretDocument::from_pem(&text[begin..]).map_err(|error| unreadable(file, &error))?;
    let sealed = pkcs8::EncryptedPrivateKeyInfo::try_from(sealed.as_bytes())
        .map_err(|error| unreadable(file, &format!("it is encrypted in a way that is not known: {error}")))?;
    let opened = sealed.decrypt(password).map_err(|_| unreadable(file, &"the password does not open it"))?;
    Ok(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(opened.as_bytes().to_vec())))
}

fn unreadable(file: &Path, error: &dyn std::fmt::Display) -> Error {
    let is_text = file.to_str().is_some_and(|text| text.trim_start().starts_with("-----BEGIN"));
    let shown = if is_text { "the PEM text that was given".to_owned() } else { file.display().to_string() };
    Error::Usage(format!("{shown}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<Vec<rustls::ProtocolVersion>, String> {
        versions(text).map(|all| all.iter().map(|it| it.version).collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn versions_are_chosen_as_tools_write_them() {
        use rustls::ProtocolVersion::{TLSv1_2, TLSv1_3};
        assert_eq!(shown("TLSv1.2"), Ok(vec![TLSv1_2]));
        assert_eq!(shown("-all +TLSv1.3"), Ok(vec![TLSv1_3]));
        assert_eq!(shown("all -TLSv1.2"), Ok(vec![TLSv1_3]));
        assert_eq!(shown("TLSv1.1,TLSv1.2,TLSv1.3"), Ok(vec![TLSv1_2, TLSv1_3]));
        assert!(shown("TLSv1.1").unwrap_err().contains("older ones never"));
        assert!(shown("").is_err() && shown("TLSv1.4").unwrap_err().contains("TLSv1.4"));
    }

    #[test]
    fn suites_are_known_by_both_names() {
        let kept = |text: &str| {
            let mut provider = rustls::crypto::ring::default_provider();
            keep_suites(&mut provider, text).map(|()| provider.cipher_suites.len()).map_err(|error| error.to_string())
        };
        assert_eq!(kept("ECDHE-RSA-AES256-GCM-SHA384:AES256-SHA"), Ok(1));
        assert_eq!(kept("TLS_AES_128_GCM_SHA256,TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"), Ok(2));
        assert!(kept("RC4-MD5").unwrap_err().contains("ECDHE-RSA-AES256-GCM-SHA384"));
        let all: Vec<String> = SUITES.iter().map(|(iana, _)| (*iana).to_owned()).collect();
        assert_eq!(kept(&all.join(":")), Ok(rustls::crypto::ring::default_provider().cipher_suites.len()));
    }
}
