//! `WebDAV`: a server in Python and nginx, which create exclusively by a move that does not overwrite.

use crate::{
    conformance::{conforms, conforms_with, objects},
    run::Life,
    server::{Server, program},
};
use rekeep::repo::{Storage, storage::StorageOptions};
use std::{fs, process::Command};

pub fn wsgidav() -> Server {
    Server::start(|port, folder| {
        fs::create_dir(folder.join("root")).unwrap();
        let config = format!(
            "host: 127.0.0.1\nport: {port}\nserver: cheroot\nprovider_mapping:\n  '/': '{}'\n\
             simple_dc:\n  user_mapping:\n    '*':\n      'me':\n        password: 'hunter22'\n\
             http_authenticator:\n  domain_controller: null\n  accept_basic: true\n  accept_digest: false\n  default_to_digest: false\n\
             lock_storage: true\nproperty_manager: true\ndir_browser:\n  enable: false\nlogging:\n  enable: false\n",
            folder.join("root").display()
        );
        fs::write(folder.join("wsgidav.yaml"), config).unwrap();
        let mut command = Command::new(program("wsgidav", "wsgidav"));
        command.arg("--config").arg(folder.join("wsgidav.yaml")).current_dir(folder);
        command
    })
}

pub fn nginx() -> Server {
    Server::start(|port, folder| {
        for name in ["root", "temp"] {
            fs::create_dir(folder.join(name)).unwrap();
        }
        let at = folder.display();
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let config = format!(
            "{user} daemon off; worker_processes 2; pid {at}/nginx.pid; error_log stderr;\n\
             load_module /usr/lib/nginx/modules/ngx_http_dav_ext_module.so;\n\
             events {{ worker_connections 256; }}\n\
             http {{ access_log off; client_max_body_size 0; client_body_temp_path {at}/temp; proxy_temp_path {at}/temp/p;\n\
             fastcgi_temp_path {at}/temp/f; uwsgi_temp_path {at}/temp/u; scgi_temp_path {at}/temp/s;\n\
             server {{ listen 127.0.0.1:{port}; root {at}/root;\n\
             location / {{ dav_methods PUT DELETE MKCOL COPY MOVE; dav_ext_methods PROPFIND OPTIONS; create_full_put_path on; }} }} }}\n"
        );
        fs::write(folder.join("nginx.conf"), config).unwrap();
        let mut command = Command::new("/usr/sbin/nginx");
        command.arg("-c").arg(folder.join("nginx.conf")).arg("-p").arg(folder);
        command
    })
}

fn options() -> StorageOptions {
    StorageOptions { credentials: vec![("password".to_owned(), "hunter22".to_owned())], ..StorageOptions::default() }
}

#[test]
#[ignore = "needs wsgidav"]
fn wsgidav_conforms() {
    let server = wsgidav();
    let at =
        |name: &str| Storage::open(&format!("webdav+http://me@127.0.0.1:{}/{name}", server.port), &options()).unwrap();
    // It takes what follows a question mark for a query, however it is written.
    conforms_with(&at, objects(300), &|name| !name.contains('?'));
}

#[test]
#[ignore = "needs nginx"]
fn nginx_conforms() {
    let server = nginx();
    let at = |name: &str| Storage::at(&format!("webdav+http://127.0.0.1:{}/{name}", server.port)).unwrap();
    conforms(&at, objects(1100));
}

#[test]
#[ignore = "needs wsgidav"]
fn a_repository_lives_on_wsgidav() {
    let server = wsgidav();
    let uri = format!("webdav+http://me@127.0.0.1:{}/repo", server.port);
    Life::at(&uri, &[("REKEEP_WEBDAV_PASSWORD", "hunter22")]).whole();
}

#[test]
#[ignore = "needs nginx"]
fn a_repository_lives_on_nginx() {
    let server = nginx();
    Life::at(&format!("webdav+http://127.0.0.1:{}/repo", server.port), &[]).whole();
}
