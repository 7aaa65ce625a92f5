//! SFTP: OpenSSH, with a configuration, a port and keys of its own.

use crate::{
    conformance::{conforms, objects},
    run::Life,
    server::Server,
};
use rekeep::repo::Storage;
use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

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

/// Where the server keeps the folder.
fn place(server: &Server, name: &str) -> std::path::PathBuf {
    server.folder.path().join("root").join(name)
}

#[test]
#[ignore = "needs openssh"]
fn links_and_what_stands_in_the_place_of_folders_are_not_taken_for_absent() {
    let server = sshd();
    let storage = Storage::at(&uri(&server, "tree")).unwrap();
    let listed = |folder: &str| {
        let mut names: Vec<_> = storage.list(folder).unwrap().into_iter().map(|it| (it.name, it.bytes)).collect();
        names.sort();
        names
    };
    let tree = place(&server, "tree");
    let one = |name: &str, bytes: u64| (name.to_owned(), bytes);
    fs::create_dir_all(tree.join("elsewhere/deep")).unwrap();
    fs::write(tree.join("elsewhere/0"), "12345").unwrap();
    fs::write(tree.join("elsewhere/deep/1"), "123").unwrap();
    fs::create_dir(tree.join("snapshots")).unwrap();
    assert_eq!(listed("snapshots/"), []);
    assert_eq!(listed("index/"), []);
    symlink("../elsewhere", tree.join("snapshots/a")).unwrap();
    symlink("../elsewhere/0", tree.join("snapshots/b")).unwrap();
    symlink("/nowhere", tree.join("snapshots/c")).unwrap();
    assert!(Command::new("mkfifo").arg(tree.join("snapshots/d")).status().unwrap().success());
    let all = [one("snapshots/a/0", 5), one("snapshots/a/deep/1", 3), one("snapshots/b", 5), one("snapshots/c", 0)];
    assert_eq!(listed("snapshots/"), all.into_iter().chain([one("snapshots/d", 0)]).collect::<Vec<_>>());
    fs::write(tree.join("index"), "a file").unwrap();
    assert_eq!(listed("index/"), [one("index", 6)]);
    symlink("/nowhere", tree.join("leases")).unwrap();
    assert_eq!(listed("leases/"), [one("leases", 0)]);
    symlink("elsewhere/deep", tree.join("trash")).unwrap();
    assert_eq!(listed("trash/"), [one("trash/1", 3)]);
    fs::create_dir(tree.join("copies")).unwrap();
    symlink("/nowhere", tree.join("copies/keys")).unwrap();
    assert_eq!(listed("copies/keys/"), [one("copies/keys", 0)]);
}

#[test]
#[ignore = "needs openssh"]
fn nothing_is_deleted_where_a_link_hides_a_folder() {
    let server = sshd();
    let life = Life::at(&uri(&server, "repo"), &[]);
    life.init();
    life.sql("CREATE TABLE t(id INTEGER PRIMARY KEY, data BLOB); INSERT INTO t VALUES(1, randomblob(5000))");
    life.ok(&["backup", "sqlite:app.db"]);
    let packs = || {
        let listed = Command::new("find").arg(place(&server, "repo/packs")).arg("-type").arg("f").output().unwrap();
        String::from_utf8(listed.stdout).unwrap().lines().count()
    };
    let before = packs();
    for name in ["snapshots", "leases", "trash", "checkpoints", "forgotten"] {
        let (folder, away) = (place(&server, "repo").join(name), place(&server, "away"));
        let was_there = fs::rename(&folder, &away).is_ok();
        symlink("/nowhere", &folder).unwrap();
        fs::remove_dir_all(life.path("cache")).unwrap();
        for _ in 0..2 {
            let pruned = life.run(&["prune"]);
            let words = String::from_utf8_lossy(&pruned.stderr);
            assert!(pruned.status.code() == Some(1) && words.contains(name), "{name}: {words}");
        }
        assert_eq!(packs(), before, "{name}");
        fs::remove_file(&folder).unwrap();
        if was_there {
            fs::rename(&away, &folder).unwrap();
        }
    }
    life.ok(&["prune"]);
    life.ok(&["restore", "latest", "sqlite:out.db"]);
    assert_eq!(life.rows("out.db"), life.rows("app.db"));
}

/// The clients of a server that run, by the key that they were given.
fn clients(server: &Server) -> Vec<String> {
    let key = server.folder.path().join("me").display().to_string();
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let words = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).replace('\0', " ");
        if words.contains(&key) {
            found.push(words);
        }
    }
    found
}

/// They end when the server has heard of it.
#[track_caller]
fn assert_that_no_client_is_left(server: &Server, state: &Path) {
    let began = Instant::now();
    loop {
        let left = clients(server);
        if left.is_empty() {
            break;
        }
        assert!(began.elapsed() < Duration::from_mins(1), "{left:#?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    let left: Vec<_> = fs::read_dir(state).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(".ssh")), "{left:?}");
}

#[test]
#[ignore = "needs openssh"]
fn nothing_is_left_running_whatever_ends_a_command() {
    let server = sshd();
    let state = tempfile::tempdir().unwrap();
    let life = Life::at(&uri(&server, "repo"), &[("XDG_STATE_HOME", state.path().to_str().unwrap())]);
    life.init();
    assert_that_no_client_is_left(&server, state.path());
    life.fill(2_000);
    life.backup();
    life.ok(&["snapshots"]);
    life.ok(&["verify", "--read-data"]);
    assert_that_no_client_is_left(&server, state.path());
    assert_ne!(life.run(&["restore", "0000000000", "sqlite:none.db"]).status.code(), Some(0));
    assert_that_no_client_is_left(&server, state.path());

    life.sql("DROP TABLE t");
    life.fill(150_000);
    for signal in ["-INT", "-KILL"] {
        let mut running = life.command(&["--quiet", "backup", "sqlite:app.db"]).spawn().unwrap();
        while clients(&server).is_empty() {
            assert!(running.try_wait().unwrap().is_none(), "it ended before it reached the server");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(Command::new("kill").args([signal, &running.id().to_string()]).status().unwrap().success());
        assert_ne!(running.wait().unwrap().code(), Some(0), "{signal}");
        assert_that_no_client_is_left(&server, state.path());
    }
    assert_eq!(life.json(&["verify", "--read-data"])["findings"], serde_json::json!([]));
}
