//! Login, session tokens, and TLS.

use std::io::{Read, Write};
use std::time::Duration;

use rekeep_aerospike_server::codes::rc;
use rekeep_aerospike_server::wire::{self, Cursor, put_field, put_frame};
use rekeep_aerospike_server::{Config, Handle, Server, User};

use crate::support::{Client, Request};

const CREDENTIAL: &[u8] = b"$2a$10$7EqJtq98hPqEX7fNZaFWoO1mVO/4MLpGzsqojz6E9Gef6iXDjXdDa";

fn start() -> (Handle, Client) {
    let users = vec![User { name: "admin".into(), credential: CREDENTIAL.to_vec() }];
    let server = Server::start(Config { users, ..Config::default() }).unwrap();
    let client = Client::connect(server.address(0));
    (server, client)
}

/// Result code and session token.
fn security(client: &mut Client, command: u8, fields: &[(u8, &[u8])]) -> (u8, Option<Vec<u8>>) {
    let mut body = vec![0, 0, command, fields.len() as u8];
    body.extend_from_slice(&[0; 12]);
    for (kind, bytes) in fields {
        put_field(&mut body, *kind, bytes);
    }
    let mut frame = Vec::new();
    put_frame(&mut frame, wire::SECURITY, &body);
    client.send_raw(&frame);
    let (kind, body) = client.receive().unwrap();
    assert_eq!(kind, wire::SECURITY);
    let mut cursor = Cursor::new(&body[16..]);
    let mut token = None;
    for _ in 0..body[3] {
        let size = cursor.u32().unwrap() as usize;
        let kind = cursor.u8().unwrap();
        let bytes = cursor.take(size - 1).unwrap();
        if kind == 5 {
            token = Some(bytes.to_vec());
        }
    }
    (body[1], token)
}

#[test]
fn whoever_has_not_logged_in_is_refused_with_80() {
    let (_server, mut client) = start();
    assert_eq!(client.info("build"), "ERROR:80:not authenticated");
    assert_eq!(client.ask(&Request::get().digest(&[1; 20])).result, rc::NOT_AUTHENTICATED);
}

#[test]
fn a_login_gives_a_token_that_opens_other_connections() {
    let (server, mut client) = start();
    assert_eq!(security(&mut client, 20, &[(0, b"nobody"), (3, CREDENTIAL)]).0, rc::NO_USER);
    assert_eq!(security(&mut client, 20, &[(0, b"admin"), (3, b"wrong")]).0, rc::BAD_CREDENTIAL);
    let (code, token) = security(&mut client, 20, &[(0, b"admin"), (3, CREDENTIAL)]);
    assert_eq!(code, rc::OK);
    assert_eq!(client.info("build"), "8.1.2.0");
    let token = token.unwrap();
    let mut other = Client::connect(server.address(0));
    assert_eq!(security(&mut other, 0, &[(0, b"admin"), (5, b"made up")]).0, rc::BAD_CREDENTIAL);
    assert_eq!(security(&mut other, 0, &[(0, b"admin"), (5, &token)]).0, rc::OK);
    assert_eq!(other.ask(&Request::get().digest(&[1; 20])).result, rc::NOT_FOUND);
}

#[test]
fn a_token_expires_and_can_be_taken_back() {
    let (server, mut client) = start();
    let (_, token) = security(&mut client, 20, &[(0, b"admin"), (3, CREDENTIAL)]);
    let token = token.unwrap();
    let open = |token: &[u8]| security(&mut Client::connect(server.address(0)), 0, &[(0, b"admin"), (5, token)]).0;
    assert_eq!(open(&token), rc::OK);
    server.advance(Duration::from_hours(24));
    assert_eq!(open(&token), rc::SESSION_EXPIRED);
    server.expire_sessions();
    assert_eq!(open(&token), rc::BAD_CREDENTIAL);
}

#[test]
fn where_security_is_off_a_login_is_answered_with_52() {
    let server = Server::start(Config::default()).unwrap();
    let mut client = Client::connect(server.address(0));
    assert_eq!(security(&mut client, 20, &[(0, b"admin"), (3, CREDENTIAL)]).0, rc::SECURITY_OFF);
    assert_eq!(client.info("build"), "8.1.2.0");
}

#[cfg(feature = "tls")]
#[test]
fn with_tls_only_tls_is_spoken_and_peers_are_told_by_name() {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, ServerName};

    let file = |name: &str| std::fs::read(format!("{}/tests/tls/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let tls = rekeep_aerospike_server::TlsConfig::from_pem("cluster.test", &file("server.pem"), &file("server.key"));
    let server = Server::start(Config { tls: Some(tls.unwrap()), ..Config::with_nodes(2) }).unwrap();

    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&file("ca.pem")).unwrap()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("cluster.test").unwrap();
    let connection = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
    let tcp = std::net::TcpStream::connect(server.address(0)).unwrap();
    let mut stream = rustls::StreamOwned::new(connection, tcp);
    let mut frame = Vec::new();
    put_frame(&mut frame, wire::INFO, b"peers-tls-std\nservice-tls-std\npeers-clear-std\n");
    stream.write_all(&frame).unwrap();
    let (_, body) = wire::read_frame(&mut stream).unwrap().unwrap();
    let (own, peer) = (server.address(0), server.address(1));
    let wanted = format!(
        "peers-tls-std\t0,3000,[[{},cluster.test,[{peer}]]]\nservice-tls-std\t{own}\npeers-clear-std\t0,3000,[]\n",
        server.node_id(1)
    );
    assert_eq!(String::from_utf8(body).unwrap(), wanted);

    let mut clear = std::net::TcpStream::connect(server.address(0)).unwrap();
    clear.write_all(&frame).unwrap();
    let mut answer = Vec::new();
    let _ = clear.read_to_end(&mut answer);
    assert_ne!(answer.first(), Some(&2), "no frame is answered in clear");
}
