//! Google Cloud Storage: a fake that knows objects, pages and ranges; create-only cannot be shown with it, because it forgets
//! the condition of resumable uploads, and those are what is used.

use crate::{
    conformance::{self, objects},
    server::{Server, part},
};
use rekeep::repo::{Storage, storage::Created};
use std::{
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
};

/// The program lies somewhere in the wheel.
fn binary(folder: &Path) -> Option<PathBuf> {
    for entry in std::fs::read_dir(folder).ok()? {
        let path = entry.ok()?.path();
        let name = path.file_name()?.to_string_lossy().into_owned();
        if path.is_dir() && !path.is_symlink() {
            if let Some(found) = binary(&path) {
                return Some(found);
            }
        } else if name.starts_with("fake-gcs-server") && !name.contains('.') {
            return Some(path);
        }
    }
    None
}

fn fake() -> Server {
    let program = binary(&part("fake-gcs-server").join("lib")).expect("fake-gcs-server is not in its part");
    let server = Server::start(|port, folder| {
        let mut command = Command::new(program);
        command
            .args(["-scheme", "http", "-host", "127.0.0.1", "-port", &port.to_string(), "-backend", "memory"])
            .args(["-external-url", &format!("http://127.0.0.1:{port}")])
            .current_dir(folder);
        command
    });
    let body = r#"{"name":"bucket"}"#;
    let request = format!(
        "POST /storage/v1/b?project=x HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        server.port,
        body.len()
    );
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    server
}

#[test]
#[ignore = "needs fake-gcs-server"]
fn a_fake_of_google_keeps_lists_and_deletes() {
    let server = fake();
    let at =
        |name: &str| Storage::at(&format!("gcs://bucket/{name}?endpoint={}&anonymous=true", server.url())).unwrap();
    // Ranges are not held against it: asked for one that begins behind the end, it breaks the connection off.
    conformance::every_page_is_listed(&at("pages"), objects(1100));
    let storage = at("basic");
    assert_eq!(storage.create("a/b", b"one").unwrap(), Created::New);
    assert_eq!(storage.read("a/b").unwrap(), b"one");
    assert_eq!(storage.create("empty", b"").unwrap(), Created::New);
    assert_eq!(storage.len("empty").unwrap(), Some(0));
    storage.delete("a/b").unwrap();
    assert_eq!(storage.len("a/b").unwrap(), None);
}
