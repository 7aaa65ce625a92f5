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
