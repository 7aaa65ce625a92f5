//! SFTP: OpenSSH, with a configuration, a port and keys of its own.

use crate::{
    conformance::{conforms, objects},
    run::Life,
    server::Server,
};
use rekeep::repo::Storage;
use std::{fs, path::Path, process::Command};

fn keygen(path: &Path) {
    let status = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).status().unwrap();
    assert!(status.success());
}

fn sshd() -> Server {
    Server::start(|port, folder| {
        // Where it keeps itself apart from what it serves.
        let _ = fs::create_dir_all("/run/sshd");
        keygen(&folder.join("host"));
        keygen(&folder.join("me"));
        fs::copy(folder.join("me.pub"), folder.join("authorized")).unwrap();
        fs::create_dir(folder.join("root")).unwrap();
        let at = folder.display();
        let config = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {at}/host\nAuthorizedKeysFile {at}/authorized\nPidFile {at}/pid\n\
             StrictModes no\nPasswordAuthentication no\nPermitRootLogin yes\nUsePAM yes\nMaxStartups 100\n\
             Subsystem sftp internal-sftp\n"
        );
        fs::write(folder.join("sshd_config"), config).unwrap();
        let mut command = Command::new("/usr/sbin/sshd");
        command.args(["-D", "-e", "-f"]).arg(folder.join("sshd_config"));
        command
    })
}

fn uri(server: &Server, name: &str) -> String {
    let folder = server.folder.path().display();
    format!("sftp://127.0.0.1:{}{folder}/root/{name}?key={folder}/me&known-hosts=accept", server.port)
}

/// Gives a folder at a server of its own.
pub fn with_server(work: impl FnOnce(&str)) {
    let server = sshd();
    work(&uri(&server, "tree"));
}

#[test]
#[ignore = "needs openssh"]
fn openssh_conforms() {
    let server = sshd();
    conforms(&|name| Storage::at(&uri(&server, name)).unwrap(), objects(1100));
}

#[test]
#[ignore = "needs openssh"]
fn a_repository_lives_on_openssh() {
    let server = sshd();
    Life::at(&uri(&server, "repo"), &[]).whole();
}
