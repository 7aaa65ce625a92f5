//! `docs/coming-from-asbackup.md`, held against the tools: every flag of its tables is taken, or refused with a reason, as the
//! page says.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};
use tempfile::TempDir;

const PAGE: &str = include_str!("../../docs/coming-from-asbackup.md");

/// Where nobody listens: who asks there has understood all that was typed.
const NOBODY: &str = "127.0.0.1:1";

/// A variable that holds a key.
const KEY_VARIABLE: &str = "REKEEP_TEST_ASB_KEY";

struct Room(TempDir);

impl Room {
    fn new() -> Self {
        let room = Self(tempfile::tempdir().unwrap());
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/asb");
        for name in ["asb", "new"] {
            fs::create_dir(room.0.path().join(name)).unwrap();
        }
        fs::copy(fixtures.join("source-ns2_00000.asb"), room.0.path().join("asb/source-ns2_00000.asb")).unwrap();
        fs::copy(fixtures.join("test-only-rsa-key.pem"), room.0.path().join("key.pem")).unwrap();
        for name in ["tools.conf", "absctl.yaml"] {
            fs::write(
                room.0.path().join(name),
                if name.ends_with("yaml") { "cluster:\n  client-timeout: 1000\n" } else { "" },
            )
            .unwrap();
        }
        room
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn key(&self) -> String {
        fs::read_to_string(self.path("key.pem")).unwrap()
    }

    fn run(&self, tool: &str, line: &[String]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rekeep"));
        command.arg(tool).args(line).env(KEY_VARIABLE, self.key());
        command.env("HOME", self.0.path()).current_dir(self.0.path()).output().unwrap()
    }

    /// What is said, wherever it goes.
    fn said(&self, output: &Output) -> String {
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        let _ = fs::remove_file(PathBuf::from(self.path("log")));
        format!("{}{}{log}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    }

    /// A plausible argument of a flag, and flags that it makes no sense without.
    #[allow(clippy::too_many_lines, reason = "a list")]
    fn typed(&self, tool: &str, flag: &str) -> Vec<String> {
        let is_backup = tool == "asbackup";
        let mut value = match flag {
            "-h" | "--host" | "-l" | "--node-list" if flag != "-l" || is_backup => NOBODY.to_owned(),
            "-p" | "--port" | "--sa-port" => "1".to_owned(),
            "--sa-address" => "127.0.0.1".to_owned(),
            "--sa-connection-type" => "tcp".to_owned(),
            "-U"
            | "--user"
            | "-P"
            | "--password"
            | "--tls-keyfile-password"
            | "--instance"
            | "--tls-name"
            | "--sa-tls-name"
            | "-q"
            | "--output-file-prefix" => "name".to_owned(),
            "-A" | "--auth" => "INTERNAL".to_owned(),
            "--tls-protocols" => "-all +TLSv1.2".to_owned(),
            "--tls-cipher-suite" => "ECDHE-RSA-AES128-GCM-SHA256".to_owned(),
            "--tls-cafile"
            | "--tls-capath"
            | "--tls-certfile"
            | "--tls-keyfile"
            | "--tls-cert-blacklist"
            | "--sa-ca-file"
            | "--sa-cafile"
            | "--sa-cert-file"
            | "--sa-key-file"
            | "--encryption-key-file" => self.path("key.pem"),
            "--config-file" | "--only-config-file" => self.path("tools.conf"),
            "--config" => self.path("absctl.yaml"),
            "--log-level" => "info".to_owned(),
            "--log-file" => self.path("log"),
            "-m" | "--machine" => self.path("machine"),
            "-n" | "--namespace" => "source-ns2".to_owned(),
            "-d" | "--directory" => self.path(if is_backup { "new" } else { "asb" }),
            "-o" | "--output-file" => self.path("new/one.asb"),
            "-i" | "--input-file" => self.path("asb/source-ns2_00000.asb"),
            "--directory-list" => self.path("asb"),
            "--parent-directory" => self.path(""),
            "-s" | "--set" | "--set-list" | "-B" | "--bin-list" => "one,other".to_owned(),
            "-a" | "--modified-after" => "2020-01-01".to_owned(),
            "-b" | "--modified-before" => "2020-01-01_12:30:00".to_owned(),
            "-f" | "--filter-exp" => "kwGTUQKjYWdlGA==".to_owned(),
            "-X" | "--partition-list" => "0-100,200".to_owned(),
            "-D" | "--after-digest" => "AAECAwQFBgcICQoLDA0ODxAREhM=".to_owned(),
            "--rack-list" | "--prefer-racks" => "1,2".to_owned(),
            "-z" | "--compress" => "zstd".to_owned(),
            "-y" | "--encrypt" => "aes128".to_owned(),
            "--encryption-key-env" => KEY_VARIABLE.to_owned(),
            "--encryption-key-secret" => "secrets:resource:key".to_owned(),
            "--state-file" | "--state-file-dst" | "-c" => self.path("state"),
            "--continue" if is_backup => self.path("state"),
            "-N" | "--nice" if !is_backup => "5,1000".to_owned(),
            "--s3-endpoint-override" | "--gcp-endpoint-override" | "--azure-endpoint" => format!("http://{NOBODY}"),
            "--azure-account-key" => "a2V5".to_owned(),
            "--s3-tier" => "Standard".to_owned(),
            _ if IN_NUMBERS.contains(&flag) && (is_backup || !["-L", "-w", "-F"].contains(&flag)) => "7".to_owned(),
            _ if ["--s3-", "--gcp-", "--azure-"].iter().any(|of| flag.starts_with(of)) => "7".to_owned(),
            _ => String::new(),
        };
        if flag == "-r" || flag == "-u" && !is_backup {
            value.clear();
        }
        let mut line = vec![flag.to_owned()];
        line.extend((!value.is_empty()).then_some(value));
        let mut with = |more: &[&str]| line.extend(more.iter().map(|text| (*text).to_owned()));
        match flag {
            "-U" | "--user" => with(&["--password", "p"]),
            "-P" | "--password" => with(&["--user", "u"]),
            "--tls-crl-check" | "--tls-crl-checkall" | "--tls-crl-check-all" | "--tls-cert-blacklist" => {
                with(&["--tls-enable"]);
            }
            "-y" | "--encrypt" => with(&["--encryption-key-file", &self.path("key.pem")]),
            "--encryption-key-secret" => with(&["--sa-address", "127.0.0.1", "--sa-port", "1"]),
            "--parent-directory" => with(&["--directory-list", "asb"]),
            "--continue" if !is_backup => with(&["--state-file", &self.path("state")]),
            "--estimate-samples" => with(&["--estimate"]),
            "--s3-access-key-id" => with(&["--s3-secret-access-key", "k", "--s3-bucket-name", "b"]),
            "--s3-secret-access-key" => with(&["--s3-access-key-id", "k", "--s3-bucket-name", "b"]),
            "--s3-bucket-name" | "--gcp-bucket-name" | "--azure-container-name" => {}
            _ if flag.starts_with("--s3-") && is_backup => with(&["--s3-bucket-name", "b"]),
            _ if flag.starts_with("--gcp-") && is_backup => with(&["--gcp-bucket-name", "b"]),
            _ if flag.starts_with("--azure-") && is_backup => with(&["--azure-container-name", "b"]),
            _ => {}
        }
        let has = |line: &[String], flags: &[&str]| line.iter().any(|text| flags.contains(&text.as_str()));
        if !has(&line, &["-n", "--namespace"]) {
            line.extend(["-n".to_owned(), "source-ns2".to_owned()]);
        }
        let places: &[&str] = if is_backup {
            &["-d", "--directory", "-o", "--output-file", "-e", "--estimate"]
        } else {
            &["-d", "--directory", "-i", "--input-file", "--directory-list"]
        };
        if !has(&line, places) {
            line.extend(["-d".to_owned(), self.path(if is_backup { "new" } else { "asb" })]);
        }
        if !has(&line, &["-h", "--host"]) {
            line.extend(["--host".to_owned(), NOBODY.to_owned()]);
        }
        line
    }
}

/// Flags that take a number.
const IN_NUMBERS: [&str; 51] = [
    "--sa-timeout",
    "--total-timeout",
    "--socket-timeout",
    "--max-retries",
    "--sleep-between-retries",
    "--retry-delay",
    "-T",
    "--timeout",
    "--client-timeout",
    "--client-idle-timeout",
    "--client-login-timeout",
    "--info-timeout",
    "--info-max-retries",
    "--info-retry-interval",
    "--info-retry-multiplier",
    "--std-buffer",
    "--local-buffer-size",
    "--estimate-samples",
    "-w",
    "--parallel",
    "-L",
    "--records-per-second",
    "-N",
    "--nice",
    "--bandwidth",
    "-M",
    "--max-records",
    "-F",
    "--file-limit",
    "--compression-level",
    "--scan-page-size",
    "--batch-size",
    "--max-async-batches",
    "--warm-up",
    "--event-loops",
    "-l",
    "--extra-ttl",
    "-t",
    "--threads",
    "--retry-base-interval",
    "--retry-multiplier",
    "--retry-max-attempts",
    "--retry-scale-factor",
    "--s3-chunk-size",
    "--s3-min-part-size",
    "--s3-max-async-uploads",
    "--s3-max-async-downloads",
    "--gcp-retry-max-attempts",
    "--azure-block-size",
    "--gcp-chunk-size",
    "--azure-upload-concurrency",
];

/// A row about flags.
struct Row {
    flags: Vec<String>,
    here: String,
    why: String,
}

/// The rows of a section.
fn rows(section: &str) -> Vec<Row> {
    let text = PAGE.split("\n## ").find_map(|part| part.strip_prefix(section)).unwrap();
    let is_flag = |word: &&str| word.len() > 1 && word.starts_with('-') && !word.contains(['*', '…']);
    let row = |line: &str| {
        let cells: Vec<&str> = line.strip_prefix("| ")?.split(" | ").collect();
        let [first, here, rest @ ..] = cells.as_slice() else { return None };
        let quoted = first.split('`').skip(1).step_by(2).filter(|text| text.starts_with('-'));
        let flags: Vec<String> = quoted.flat_map(str::split_whitespace).filter(is_flag).map(str::to_owned).collect();
        let why = rest.join(" | ").trim_end_matches(['|', ' ']).to_owned();
        (!flags.is_empty()).then(|| Row { flags, here: here.trim_end_matches(['|', ' ']).to_owned(), why })
    };
    text.lines().filter_map(row).collect()
}

/// What the page says is what the tool does.
fn holds(room: &Room, tool: &str, row: &Row) {
    for flag in &row.flags {
        let line = room.typed(tool, flag);
        let output = room.run(tool, &line);
        let said = room.said(&output);
        let what = format!("{tool} {}\n{said}", line.join(" "));
        match row.here.as_str() {
            "same" | "accepted" | "new" => {
                assert!(output.status.success() || said.contains(NOBODY), "the page says that it is taken: {what}");
                assert!(!said.contains("Usage:") || output.status.success(), "{what}");
            }
            "—" => {
                assert!(!row.why.is_empty(), "the page says no reason: {flag}");
                assert_eq!(output.status.code(), Some(1), "{what}");
                let is_named = row.flags.iter().any(|flag| said.contains(&format!("{flag}: ")));
                assert!(is_named && !said.contains(NOBODY), "it is refused without a reason, or late: {what}");
            }
            _ => {}
        }
    }
}

#[test]
fn every_flag_of_a_backup_does_what_the_page_says() {
    let room = Room::new();
    let rows: Vec<Row> = rows("Connection (both tools)").into_iter().chain(rows("Backup")).collect();
    assert!(rows.len() > 40, "{}", rows.len());
    for row in rows {
        holds(&room, "asbackup", &row);
    }
}

#[test]
fn every_flag_of_a_restore_does_what_the_page_says() {
    let room = Room::new();
    let of_backup = |row: &Row| row.flags.iter().any(|flag| flag == "--sleep-between-retries");
    let shared = rows("Connection (both tools)").into_iter().filter(|row| !of_backup(row));
    let rows: Vec<Row> = shared.chain(rows("Restore")).collect();
    assert!(rows.len() > 35, "{}", rows.len());
    for row in rows {
        holds(&room, "asrestore", &row);
    }
}

#[test]
fn every_flag_that_the_tools_show_has_a_row() {
    let room = Room::new();
    let is_letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    for tool in ["asbackup", "asrestore"] {
        let output = room.run(tool, &["--help".to_owned()]);
        let help = String::from_utf8(output.stdout).unwrap();
        let flags: BTreeSet<&str> =
            help.split(|c: char| !is_letter(c)).filter(|word| word.starts_with("--") && word.len() > 3).collect();
        assert!(flags.len() > 50, "{help}");
        for flag in flags {
            let spelled = [format!("{flag}`"), format!("{flag} ")];
            assert!(spelled.iter().any(|text| PAGE.contains(text)), "{tool} {flag} stands nowhere on the page");
        }
    }
}
