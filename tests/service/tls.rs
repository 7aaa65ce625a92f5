//! TLS: who is answered, who is not, and certificates that are changed while it runs.

use crate::world::{ROUTINE, World};
use rekeep::record::{Clock, Timestamp};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, pem::PemObject as _},
};
use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(name)
}

fn certificates(name: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(fixture(name)).unwrap().map(Result::unwrap).collect()
}

fn client_key() -> PrivateKeyDer<'static> {
    let text = fs::read_to_string(fixture("client.key")).unwrap();
    let (_, sealed) = pkcs8::SecretDocument::from_pem(&text).unwrap();
    let sealed = pkcs8::EncryptedPrivateKeyInfo::try_from(sealed.as_bytes()).unwrap();
    let opened = sealed.decrypt("key word").unwrap();
    PrivatePkcs8KeyDer::from(opened.as_bytes().to_vec()).into()
}

/// Asks for a path by TLS; gives the answer as it came.
fn ask(to: SocketAddr, authority: &str, with_certificate: bool, path: &str) -> io::Result<String> {
    ask_as(to, authority, with_certificate.then(|| ("client.pem", client_key())), path)
}

/// The same with a certificate and its key.
fn ask_as(
    to: SocketAddr,
    authority: &str,
    client: Option<(&str, PrivateKeyDer<'static>)>,
    path: &str,
) -> io::Result<String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(authority) {
        roots.add(certificate).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots);
    let config = match client {
        Some((certificate, key)) => config.with_client_auth_cert(certificates(certificate), key).unwrap(),
        None => config.with_no_client_auth(),
    };
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(Duration::from_mins(2)))?;
    let mut stream = StreamOwned::new(connection, stream);
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    match stream.read_to_string(&mut answer) {
        // Some end without a farewell of TLS.
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
        _ => Ok(answer),
    }
}

/// A connection that trusts the authority of the service's own certificate.
fn connected(to: SocketAddr) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(certificates("loopback-ca.pem").remove(0)).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    StreamOwned::new(connection, TcpStream::connect(to).unwrap())
}

fn configure(world: &World, more: &str) {
    fs::copy(fixture("loopback.pem"), world.path("cert.pem")).unwrap();
    fs::copy(fixture("loopback.key"), world.path("key.pem")).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let service = format!(
        "  http: {{ disabled: true }}\n  https:\n    address: 127.0.0.1\n    port: {free}\n    cert-file: {{dir}}/cert.pem\n    \
         key-file: {{dir}}/key.pem\n{more}"
    );
    world.configure(ROUTINE, &service);
}

fn https(world: &World) -> SocketAddr {
    world.running.as_ref().unwrap().1.https.unwrap()
}

#[test]
fn it_answers_by_tls_and_a_stranger_is_not_taken_for_it() {
    let mut world = World::new();
    configure(&world, "");
    world.start();
    assert!(world.running.as_ref().unwrap().1.http.is_none(), "nothing is answered in clear");
    let answer = ask(https(&world), "loopback-ca.pem", false, "/health").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("OK"), "{answer}");
    assert!(ask(https(&world), "ca.pem", false, "/health").is_err(), "another authority vouches for nothing");
    // Who speaks in clear gets no answer, and harms nobody.
    let mut clear = TcpStream::connect(https(&world)).unwrap();
    clear.write_all(b"GET /health HTTP/1.1\r\n\r\n").unwrap();
    let mut told = Vec::new();
    let _ = clear.read_to_end(&mut told);
    assert!(!String::from_utf8_lossy(&told).contains("200"));
    assert!(ask(https(&world), "loopback-ca.pem", false, "/health").is_ok());
}

#[test]
fn a_sender_of_too_much_by_tls_reads_why_it_was_refused() {
    let mut world = World::new();
    configure(&world, "");
    world.start();
    let mut stream = connected(https(&world));
    let length = 10 << 20;
    write!(
        stream,
        "POST /v1/restore/full HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    )
    .unwrap();
    stream.write_all(&vec![b'x'; length]).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

/// A clock that stands.
struct At(&'static str);

impl Clock for At {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }
}

/// The certificate ends at 2126-10-28, the authority of clients a week later.
#[test]
fn certificates_that_end_soon_are_told_of_before_they_end() {
    let ca = fixture("client-ca.pem");
    for (day, words) in [
        ("2026-12-01T00:00:00Z", &[][..]),
        ("2126-10-01T00:00:00Z", &[]),
        (
            "2126-10-20T00:00:00Z",
            &["cert.pem: the service’s own certificate ends at 2126-10-28", "an authority of clients ends at"],
        ),
        (
            "2126-10-29T00:00:00Z",
            &["cert.pem: the service’s own certificate ended at 2126-10-28", "an authority of clients ends at"],
        ),
    ] {
        let mut world = World::new();
        configure(&world, &format!("    client-auth: request\n    client-ca-file: {}\n", ca.display()));
        world.start_by(Arc::new(At(day)));
        let answer = ask(https(&world), "loopback-ca.pem", true, "/metrics").unwrap();
        let name = "rekeep_certificate_expiry_timestamp_seconds{use=\"";
        let told: Vec<&str> = answer.lines().filter_map(|line| line.strip_prefix(name)).collect();
        assert_eq!(told.len(), 2, "{answer}");
        let ends = |begin: &str, end: &str| told.iter().any(|line| line.starts_with(begin) && line.ends_with(end));
        assert!(
            ends("server\",file=", "cert.pem\"} 4948891015.0") && ends("client-authority\"", "} 4949497124.0"),
            "{told:?}"
        );
        let page =
            ask(https(&world), "loopback-ca.pem", true, "/console/").unwrap().replace("&#39;", "’").replace('\'', "’");
        assert_eq!(page.matches("class=\"notice").count(), words.len(), "{day}: {page}");
        assert!(words.iter().all(|words| page.contains(words)), "{day}: {page}");
    }
}

/// A session that is taken up brings along what was verified when it began, and a certificate may have ended since.
#[test]
fn a_client_with_a_certificate_shows_it_for_every_connection() {
    let ca = fixture("client-ca.pem");
    for (more, kinds) in [
        (String::new(), [HandshakeKind::Full, HandshakeKind::Resumed]),
        (
            format!("    client-auth: require-and-verify\n    client-ca-file: {}\n", ca.display()),
            [HandshakeKind::Full, HandshakeKind::Full],
        ),
    ] {
        let mut world = World::new();
        configure(&world, &more);
        world.start();
        let mut roots = RootCertStore::empty();
        roots.add(certificates("loopback-ca.pem").remove(0)).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots);
        let config = Arc::new(config.with_client_auth_cert(certificates("client.pem"), client_key()).unwrap());
        let told = kinds.map(|_| {
            let name = ServerName::try_from("127.0.0.1").unwrap();
            let connection = ClientConnection::new(Arc::clone(&config), name).unwrap();
            let mut stream = StreamOwned::new(connection, TcpStream::connect(https(&world)).unwrap());
            write!(stream, "GET /health HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").unwrap();
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer);
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            stream.conn.handshake_kind().unwrap()
        });
        assert_eq!(told, kinds);
    }
}

#[test]
fn with_client_certificates_a_certificate_is_the_key() {
    let ca = fixture("client-ca.pem");
    let mut world = World::new();
    configure(&world, &format!("    client-auth: require-and-verify\n    client-ca-file: {}\n", ca.display()));
    world.start();
    let answer = ask(https(&world), "loopback-ca.pem", true, "/v1/config").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let refused = ask(https(&world), "loopback-ca.pem", false, "/health");
    assert!(refused.as_ref().map_or(true, |answer| !answer.contains("200")), "{refused:?}");
    // An authority that did not make it.
    world.stop();
    let other = fixture("ca.pem");
    configure(&world, &format!("    client-auth: require-and-verify\n    client-ca-file: {}\n", other.display()));
    world.start();
    let refused = ask(https(&world), "loopback-ca.pem", true, "/health");
    assert!(refused.as_ref().map_or(true, |answer| !answer.contains("200")), "{refused:?}");
}

#[test]
fn a_client_whose_certificate_was_taken_back_is_refused_from_the_next_connection_on() {
    let mut world = World::new();
    let put = |world: &World, list: &str, later: u64| {
        fs::copy(fixture(list), world.path("clients.crl")).unwrap();
        let at = std::time::SystemTime::now() + Duration::from_secs(later);
        fs::File::options().write(true).open(world.path("clients.crl")).unwrap().set_modified(at).unwrap();
    };
    let ca = fixture("revoking-ca.pem").display().to_string();
    let settings = format!("    client-ca-file: {ca}\n    client-crl-file: {{dir}}/clients.crl\n");
    configure(&world, &settings);
    assert!(world.try_start().unwrap_err().to_string().contains("client-crl-file needs"));
    configure(&world, &format!("    client-auth: require-and-verify\n{settings}"));
    assert!(world.try_start().unwrap_err().to_string().contains("clients.crl"), "it is not there");
    fs::write(world.path("clients.crl"), "nothing").unwrap();
    assert!(world.try_start().unwrap_err().to_string().contains("clients.crl"), "there is no list in it");
    put(&world, "none.crl.pem", 0);
    world.start();
    let is_answered = |name: &str| {
        let key = PrivateKeyDer::from_pem_file(fixture(&format!("{name}.key"))).unwrap();
        let answer = ask_as(https(&world), "loopback-ca.pem", Some((&format!("{name}.pem"), key)), "/v1/config");
        answer.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
    };
    assert!(is_answered("kept") && is_answered("gone"));
    put(&world, "gone.crl.pem", 10);
    assert!(is_answered("kept") && !is_answered("gone"));
    // A list that is past its time says nothing of anybody.
    put(&world, "stale.crl.pem", 20);
    assert!(!is_answered("kept") && !is_answered("gone"));
    // What is no list changes nothing.
    put(&world, "gone.crl.pem", 30);
    assert!(is_answered("kept"));
    put(&world, "README.md", 40);
    assert!(is_answered("kept") && !is_answered("gone"));
}

#[test]
fn a_certificate_that_is_changed_counts_for_the_next_connection_and_a_broken_one_does_not() {
    let mut world = World::new();
    configure(&world, "");
    world.start();
    let answers = |authority: &str| ask(https(&world), authority, false, "/health").is_ok();
    assert!(answers("loopback-ca.pem"));
    // Another modification time is what a change is seen by.
    let put = |name: &str, from: &str, later: u64| {
        fs::copy(fixture(from), world.path(name)).unwrap();
        let at = std::time::SystemTime::now() + Duration::from_secs(later);
        fs::File::options().write(true).open(world.path(name)).unwrap().set_modified(at).unwrap();
    };
    put("cert.pem", "README.md", 10);
    assert!(answers("loopback-ca.pem"), "the former certificate goes on");
    put("cert.pem", "server.pem", 20);
    put("key.pem", "server.key", 20);
    assert!(!answers("loopback-ca.pem"), "it is another one now");
    put("cert.pem", "loopback.pem", 30);
    put("key.pem", "loopback.key", 30);
    assert!(answers("loopback-ca.pem"));
}

#[test]
fn what_is_wrong_with_certificates_is_said_at_the_start() {
    for (wrong, words) in [("cert.pem", "cert.pem"), ("key.pem", "key.pem")] {
        let mut world = World::new();
        configure(&world, "");
        fs::write(world.path(wrong), "nothing").unwrap();
        let error = world.try_start().unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        fs::remove_file(world.path(wrong)).unwrap();
        assert!(world.try_start().unwrap_err().to_string().contains(words));
    }
    let mut world = World::new();
    configure(&world, "    client-auth: require-and-verify\n    client-ca-file: {dir}/none.pem\n");
    assert!(world.try_start().unwrap_err().to_string().contains("none.pem"));
}

#[test]
fn a_key_that_is_encrypted_is_opened_and_only_suites_that_are_named_are_spoken() {
    let start = |more: &str| {
        let mut world = World::new();
        configure(&world, more);
        fs::copy(fixture("loopback-sealed.key"), world.path("key.pem")).unwrap();
        world.try_start().map(|()| world).map_err(|error| error.to_string())
    };
    fs::read_to_string(fixture("loopback-sealed.key")).unwrap().find("ENCRYPTED").unwrap();
    for (more, words) in [
        ("", "no password is given"),
        ("    key-file-password: other\n", "does not open it"),
        ("    key-file-password: env:REKEEP_NO_SUCH_VARIABLE\n", "REKEEP_NO_SUCH_VARIABLE"),
        ("    key-file-password: key word\n    cipher-suites: [RC4-MD5]\n", "RC4-MD5"),
        (
            "    key-file-password: key word\n    min-version: '1.3'\n    cipher-suites: ECDHE-RSA-AES256-GCM-SHA384\n",
            "TLS",
        ),
    ] {
        let error = start(more).err().unwrap();
        assert!(error.contains(words), "{more}: {error}");
    }
    let world = start("    key-file-password: key word\n    cipher-suites: [TLS_AES_128_GCM_SHA256]\n").unwrap();
    assert!(ask(https(&world), "loopback-ca.pem", false, "/health").unwrap().starts_with("HTTP/1.1 200"));
    let shown = ask(https(&world), "loopback-ca.pem", false, "/v1/config").unwrap();
    assert!(shown.contains("\"key-file-password\":\"[secret]\""), "{shown}");
}

#[test]
fn what_http_does_not_say_https_may() {
    let mut world = World::new();
    configure(
        &world,
        "    context-path: /backup\n    timeout: 2000\n    rate: { tps: 1000, size: 1000, white-list: [] }\n",
    );
    world.start();
    assert!(ask(https(&world), "loopback-ca.pem", false, "/backup/health").unwrap().starts_with("HTTP/1.1 200"));
    assert!(ask(https(&world), "loopback-ca.pem", false, "/health").unwrap().starts_with("HTTP/1.1 404"));
    let mut world = World::new();
    configure(&world, "    context-path: backup\n");
    assert!(world.try_start().unwrap_err().to_string().contains("context-path begins with"));
    let mut world = World::new();
    configure(&world, "    context-path: /b\n");
    let text = fs::read_to_string(world.path("config.yml")).unwrap();
    fs::write(world.path("config.yml"), text.replace("disabled: true", "port: 1, context-path: /a")).unwrap();
    assert!(world.try_start().unwrap_err().to_string().contains("both answer under one"));
}
