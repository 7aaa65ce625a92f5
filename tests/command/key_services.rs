//! Key services of clouds and of Vault, each against a server that behaves as its interface is documented.

use crate::world::{Ran, World, many_rows};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde_json::{Value as Json, json};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

/// One request that a server got.
#[derive(Debug, Clone)]
struct Asked {
    line: String,
    headers: Vec<String>,
    body: String,
}

impl Asked {
    fn header(&self, name: &str) -> Option<&str> {
        let lower = |line: &&String| line.split(':').next().is_some_and(|it| it.eq_ignore_ascii_case(name));
        self.headers.iter().find(lower).and_then(|line| line.split_once(':')).map(|(_, value)| value.trim())
    }

    fn json(&self) -> Json {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// A server on a loopback port of its own, which lives as long as the process.
struct Server {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    fn start(answer: impl Fn(&Asked) -> (u16, Json) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap());
                let mut line = String::new();
                if lines.read_line(&mut line).unwrap_or(0) == 0 {
                    continue;
                }
                let mut headers = Vec::new();
                loop {
                    let mut header = String::new();
                    lines.read_line(&mut header).unwrap();
                    if header.trim().is_empty() {
                        break;
                    }
                    headers.push(header.trim().to_owned());
                }
                let mut asked = Asked { line: line.trim().to_owned(), headers, body: String::new() };
                let length = asked.header("content-length").map_or(0, |length| length.parse().unwrap());
                let mut body = vec![0; length];
                lines.read_exact(&mut body).unwrap();
                asked.body = String::from_utf8(body).unwrap();
                let (status, document) = answer(&asked);
                log.lock().unwrap().push(asked);
                let text = document.to_string();
                let head =
                    format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", text.len());
                let _ = stream.write_all((head + &text).as_bytes());
            }
        });
        Self { url, asked }
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

/// What a service makes of a key: enough to see that it went there and back.
fn turned(text: &str) -> String {
    text.chars().rev().collect()
}

/// Makes a repository whose only password is a service's, and uses it with that alone.
fn is_opened_by(service: &str, env: &[(&str, &str)]) -> World {
    let world = World::empty();
    let run = |args: &[&str], env: &[(&str, &str)]| -> Ran {
        let mut command = world.command(args);
        command.env_remove("REKEEP_PASSWORD").env("HOME", world.path("home"));
        command.envs(env.iter().copied()).output().unwrap().into()
    };
    many_rows(&world, "a.db", 50);
    for args in [
        &["--key-service", service, "init"][..],
        &["--key-service", service, "backup", "sqlite:a.db"],
        &["--key-service", service, "verify", "--read-data"],
        &["--key-service", service, "key", "rotate", "--new-key-service", service],
        &["--key-service", service, "snapshots"],
    ] {
        let ran = run(args, env);
        assert_eq!(ran.code, Some(0), "{args:?}: {ran:?}");
    }
    let slots = run(&["--key-service", service, "--json", "key", "list"], env).json();
    let providers: Vec<_> = slots.as_array().unwrap().iter().filter_map(|slot| slot["provider"].as_str()).collect();
    assert_eq!(providers, [service.split(':').next().unwrap()], "{slots}");
    // No secret and no address of the service lies in the repository.
    for (path, bytes) in world.objects() {
        let text = String::from_utf8_lossy(&bytes);
        assert!(!["127.0.0.1", "the secret", "secret.token"].iter().any(|it| text.contains(it)), "{}", path.display());
    }
    world
}

#[test]
fn vaults_transit_engine_keeps_a_key() {
    let server = Server::start(|asked| {
        if asked.header("x-vault-token") != Some("the secret token") {
            return (403, json!({ "errors": ["permission denied"] }));
        }
        let body = asked.json();
        if asked.line.starts_with("POST /v1/team/transit/encrypt/backup ") {
            let sealed = format!("vault:v1:{}", turned(body["plaintext"].as_str().unwrap()));
            (200, json!({ "data": { "ciphertext": sealed } }))
        } else if asked.line.starts_with("POST /v1/team/transit/decrypt/backup ") {
            let sealed = body["ciphertext"].as_str().unwrap();
            (200, json!({ "data": { "plaintext": turned(sealed.strip_prefix("vault:v1:").unwrap()) } }))
        } else {
            (404, json!({ "errors": [asked.line] }))
        }
    });
    let service = format!("vault:{}/team/transit/backup", server.url);
    let env = [("VAULT_TOKEN", "the secret token"), ("VAULT_NAMESPACE", "ns1")];
    let world = is_opened_by(&service, &env);
    assert!(server.asked().iter().all(|asked| asked.header("x-vault-namespace") == Some("ns1")));
    let denied: Ran = world
        .command(&["--key-service", &service, "snapshots"])
        .env("VAULT_TOKEN", "another")
        .env("HOME", world.path("home"))
        .output()
        .unwrap()
        .into();
    let denied = denied.fails(1, &["vault", "permission denied"]);
    assert!(!denied.err.contains("another"), "{}", denied.err);
}

#[test]
fn awss_kms_keeps_a_key() {
    let server = Server::start(|asked| {
        let signed = asked.header("authorization").unwrap_or_default();
        if !signed.starts_with("AWS4-HMAC-SHA256 Credential=AKID/")
            || !signed.contains("/eu-central-1/kms/aws4_request")
        {
            return (400, json!({ "__type": "UnrecognizedClientException", "message": signed }));
        }
        let body = asked.json();
        assert_eq!(body["KeyId"], "alias/backup");
        match asked.header("x-amz-target") {
            Some("TrentService.Encrypt") => {
                let sealed = BASE64.encode(turned(body["Plaintext"].as_str().unwrap()).as_bytes());
                (200, json!({ "CiphertextBlob": sealed, "KeyId": "alias/backup" }))
            }
            Some("TrentService.Decrypt") => {
                let sealed = BASE64.decode(body["CiphertextBlob"].as_str().unwrap().as_bytes()).unwrap();
                (200, json!({ "Plaintext": turned(&String::from_utf8(sealed).unwrap()) }))
            }
            other => (400, json!({ "message": format!("{other:?}") })),
        }
    });
    let service = format!("aws-kms:alias/backup?region=eu-central-1&endpoint={}", server.url);
    is_opened_by(&service, &[("AWS_ACCESS_KEY_ID", "AKID"), ("AWS_SECRET_ACCESS_KEY", "the secret key")]);
    let asked = server.asked();
    let one = asked.last().unwrap();
    let hash = one.header("x-amz-content-sha256").unwrap();
    assert_eq!(hash.len(), 64, "the body is signed too");
    assert!(one.header("authorization").unwrap().contains("x-amz-target"), "{one:?}");
}

#[test]
fn googles_kms_keeps_a_key() {
    let server = Server::start(|asked| {
        let name = "/v1/projects/p/locations/global/keyRings/r/cryptoKeys/k";
        if asked.line.starts_with("GET /computeMetadata/v1/instance/service-accounts/default/token") {
            assert_eq!(asked.header("metadata-flavor"), Some("Google"));
            return (200, json!({ "access_token": "secret.token", "expires_in": 3600, "token_type": "Bearer" }));
        }
        if asked.header("authorization") != Some("Bearer secret.token") {
            return (401, json!({ "error": { "message": "who are you?" } }));
        }
        let body = asked.json();
        if asked.line.starts_with(&format!("POST {name}:encrypt ")) {
            let sealed = BASE64.encode(turned(body["plaintext"].as_str().unwrap()).as_bytes());
            (200, json!({ "name": name, "ciphertext": sealed }))
        } else if asked.line.starts_with(&format!("POST {name}:decrypt ")) {
            let sealed = BASE64.decode(body["ciphertext"].as_str().unwrap().as_bytes()).unwrap();
            (200, json!({ "plaintext": turned(&String::from_utf8(sealed).unwrap()) }))
        } else {
            (404, json!({ "error": asked.line }))
        }
    });
    let service = format!("gcp-kms:projects/p/locations/global/keyRings/r/cryptoKeys/k?endpoint={}", server.url);
    is_opened_by(&service, &[("GCE_METADATA_HOST", server.url.trim_start_matches("http://"))]);
}

#[test]
fn azures_key_vault_keeps_a_key() {
    let server = Server::start(|asked| {
        if asked.line.starts_with("POST /tenant-1/oauth2/v2.0/token ") {
            assert!(asked.body.contains("client_secret=the%20secret") && asked.body.contains("vault.azure.net"));
            return (200, json!({ "access_token": "secret.token", "token_type": "Bearer", "expires_in": 3599 }));
        }
        if asked.header("authorization") != Some("Bearer secret.token") {
            return (401, json!({ "error": { "code": "Unauthorized" } }));
        }
        let body = asked.json();
        assert_eq!(body["alg"], "RSA-OAEP-256");
        let value = body["value"].as_str().unwrap();
        let sealed = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
        if asked.line.starts_with("POST /keys/backup/wrapkey?api-version=7.4 ") {
            (200, json!({ "kid": "https://mine/keys/backup/0123abcd", "value": sealed(&turned(value)) }))
        } else if asked.line.starts_with("POST /keys/backup/0123abcd/unwrapkey?api-version=7.4 ") {
            let back = String::from_utf8(BASE64URL_NOPAD.decode(value.as_bytes()).unwrap()).unwrap();
            (200, json!({ "kid": "https://mine/keys/backup/0123abcd", "value": turned(&back) }))
        } else {
            (404, json!({ "error": asked.line }))
        }
    });
    let service = format!("azure-key-vault:{}/keys/backup", server.url);
    let env = [
        ("AZURE_TENANT_ID", "tenant-1"),
        ("AZURE_CLIENT_ID", "client"),
        ("AZURE_CLIENT_SECRET", "the secret"),
        ("AZURE_AUTHORITY_HOST", server.url.as_str()),
    ];
    is_opened_by(&service, &env);
}

#[test]
fn a_service_that_is_busy_is_asked_again_and_one_that_lies_is_named() {
    let (busy, lies) = (Mutex::new(2), Arc::new(AtomicBool::new(false)));
    let liar = Arc::clone(&lies);
    let server = Server::start(move |asked| {
        let mut left = busy.lock().unwrap();
        if *left > 0 {
            *left -= 1;
            return (503, json!({}));
        }
        let body = asked.json();
        let text = |name: &str| body[name].as_str().unwrap_or_default().trim_start_matches("vault:v1:").to_owned();
        let plain = if liar.load(Ordering::SeqCst) { "AAAA".to_owned() } else { turned(&text("ciphertext")) };
        (
            200,
            json!({ "data": { "ciphertext": format!("vault:v1:{}", turned(&text("plaintext"))), "plaintext": plain } }),
        )
    });
    let world = World::empty();
    let service = format!("vault:{}/transit/k", server.url);
    let run = |args: &[&str]| -> Ran {
        let mut command = world.command(args);
        command.env_remove("REKEEP_PASSWORD").env("VAULT_TOKEN", "t").output().unwrap().into()
    };
    let made = run(&["--key-service", &service, "init"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    lies.store(true, Ordering::SeqCst);
    run(&["--key-service", &service, "snapshots"]).fails(1, &["vault", "32 bytes"]);
    run(&["--key-service", "vault:http://vault.example.com/transit/k", "snapshots"]).fails(2, &["https"]);
    run(&["--key-service", "nothing", "snapshots"]).fails(2, &["a key service is"]);
}
