//! Azure Blob Storage: Azurite, the vendor's own test server.

use crate::{
    conformance::{conforms, objects},
    run::Life,
    server::{Server, program},
};
use rekeep::repo::{Storage, storage::StorageOptions};
use std::process::Command;

/// The account that every Azurite has.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

fn azurite() -> Server {
    let server = Server::start(|port, folder| {
        let mut command = Command::new(program("azurite", "azurite-blob"));
        command
            .args(["--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent"])
            .args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string()])
            .current_dir(folder);
        command
    });
    make_container(&server);
    server
}

/// With a script of its own runtime: what is under test makes no containers.
fn make_container(server: &Server) {
    let script = format!(
        "const c=require('crypto'),h=require('http');const d=new Date().toUTCString();\
         const s=['PUT','','','','','','','','','','','','x-ms-date:'+d,'x-ms-version:2021-08-06',\
         '/{ACCOUNT}/{ACCOUNT}/bucket','restype:container'].join('\\n');\
         const g=c.createHmac('sha256',Buffer.from('{KEY}','base64')).update(s).digest('base64');\
         h.request({{host:'127.0.0.1',port:{},method:'PUT',path:'/{ACCOUNT}/bucket?restype=container',\
         headers:{{'x-ms-date':d,'x-ms-version':'2021-08-06','Authorization':'SharedKey {ACCOUNT}:'+g,'Content-Length':0}}}},\
         r=>{{r.resume();process.exit(r.statusCode===201?0:r.statusCode)}}).end()",
        server.port
    );
    let output = Command::new("node").args(["-e", &script]).output().unwrap();
    assert!(output.status.success(), "{output:?} {}", server.log());
}

fn uri(server: &Server, prefix: &str) -> String {
    format!("azblob://bucket/{prefix}?account-name={ACCOUNT}&endpoint={}/{ACCOUNT}", server.url())
}

#[test]
#[ignore = "needs azurite"]
fn azurite_conforms() {
    let server = azurite();
    let options =
        StorageOptions { credentials: vec![("account_key".to_owned(), KEY.to_owned())], ..StorageOptions::default() };
    conforms(&|name| Storage::open(&uri(&server, name), &options).unwrap(), objects(5100));
}

#[test]
#[ignore = "needs azurite"]
fn a_repository_lives_on_azurite() {
    let server = azurite();
    Life::at(&uri(&server, "repo"), &[("AZURE_STORAGE_ACCOUNT_KEY", KEY)]).whole();
}

#[test]
#[ignore = "needs azurite"]
fn what_lies_in_the_archive_tier_is_named_asked_for_and_restored() {
    let server = azurite();
    let life = Life::at(&uri(&server, "cold"), &[("AZURE_STORAGE_ACCOUNT_KEY", KEY)]);
    life.init();
    life.fill(2000);
    let before = life.rows("app.db");
    let first = life.backup();
    life.sql("UPDATE t SET data = randomblob(500)");
    life.ok(&["backup", "--new-base", "sqlite:app.db"]);
    let tier = ["prune", "--max-superseded", "100", "--tier-after", "0s", "--tier-class", "Archive"];
    let moved = life.json(&tier);
    assert!(moved["tiered"]["packs"].as_u64() > Some(0) && moved["failures"] == serde_json::json!([]), "{moved}");
    let again = life.json(&tier);
    assert_eq!(
        (&again["tiered"]["packs"], &again["tiered"]["there"]),
        (&0.into(), &moved["tiered"]["packs"]),
        "{again}"
    );
    // What is read is said before anything is written, and the newest lies where it lay.
    let refused = life.run(&["--json", "restore", &first, "sqlite:first.db"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("Archive"), "{refused:?}");
    life.ok(&["restore", "latest", "sqlite:second.db"]);
    // This server brings a blob back at once.
    let asked = life.run(&["restore", &first, "sqlite:first.db", "--thaw"]);
    if asked.status.code() != Some(0) {
        life.ok(&["restore", &first, "sqlite:first.db", "--thaw"]);
    }
    assert!(life.rows("first.db") == before && life.rows("second.db") == life.rows("app.db"));
}
