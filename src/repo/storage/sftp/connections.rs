//! Connections of SFTP, lent to one operation at a time. Each is an `ssh` that speaks the protocol by its pipes: it ends when they
//! are closed, and so with this process, however that ends. A master that others share would stay in the background.

use openssh_sftp_client::{Error, Sftp, SftpOptions, error::SftpErrorKind};
#[cfg(unix)]
use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    collections::BTreeMap,
    io::{self, ErrorKind},
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, Command},
    task::JoinHandle,
};

/// Seconds that a connection may take to come about, and after which a silent server is asked whether it is there: three silences
/// end an `ssh`.
const PATIENCE: &str = "15";

/// What is kept of what `ssh` says.
const WORDS: usize = 4096;

/// How long it may take to say it once it has ended.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What `ssh` says where nothing is to be hoped from trying again.
const REFUSALS: [&str; 6] = [
    "Permission denied",
    "Host key verification failed",
    "Could not resolve hostname",
    "Too many authentication failures",
    "subsystem request failed",
    "Bad configuration option",
];

/// The connections to one place.
pub(in crate::repo::storage) struct Connections {
    arguments: Vec<String>,
    idle: Mutex<Vec<Connection>>,
}

struct Connection {
    sftp: Sftp,
    ssh: Ssh,
}

/// The program, in a process group of its own.
struct Ssh {
    child: Child,
    /// Whether it ends by itself: it is idle, or at work for somebody.
    is_wanted: bool,
}

/// A connection, as long as one operation takes.
pub(in crate::repo::storage) struct Lent {
    of: Arc<Connections>,
    connection: Option<Connection>,
    /// Whether the server has answered whatever was asked of it.
    is_sound: bool,
}

impl Connections {
    pub fn new(config: &BTreeMap<String, String>) -> Self {
        Self { arguments: arguments(config), idle: Mutex::default() }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one that was used last, so that as few are made as there are operations at once; a new one if none is idle.
    pub async fn lend(self: &Arc<Self>) -> io::Result<Lent> {
        let connection = loop {
            let last = self.idle().pop();
            let Some(mut last) = last else { break self.connect().await? };
            if matches!(last.ssh.child.try_wait(), Ok(None)) {
                break last;
            }
        };
        Ok(Lent { of: Arc::clone(self), connection: Some(connection), is_sound: false })
    }

    async fn connect(&self) -> io::Result<Connection> {
        let mut command = Command::new("ssh");
        command.args(&self.arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Whoever breaks off this program from a terminal asks it to stop where that is safe: it needs its connections for that.
        #[cfg(unix)]
        command.process_group(0);
        let ssh = command.spawn().map_err(|error| io::Error::other(format!("`ssh` cannot be run: {error}")))?;
        let mut ssh = Ssh { child: ssh, is_wanted: false };
        let pipes = (ssh.child.stdin.take(), ssh.child.stdout.take(), ssh.child.stderr.take());
        let (Some(to), Some(from), Some(words)) = pipes else {
            return Err(io::Error::other("`ssh` has no pipes"));
        };
        let words = tokio::spawn(heard(words));
        match Sftp::new(to, from, SftpOptions::default()).await {
            Ok(sftp) => {
                ssh.is_wanted = true;
                Ok(Connection { sftp, ssh })
            }
            Err(error) => Err(refusal(ssh, words, &error).await),
        }
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        // One that is idle says goodbye to the server when its pipes are closed. Of another nobody knows what it waits for.
        if self.is_wanted {
            return;
        }
        #[cfg(unix)]
        if let Some(group) = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
            // With the programs by which it reaches the server.
            let _ = kill_process_group(group, Signal::TERM);
        }
        #[cfg(not(unix))]
        let _ = self.child.start_kill();
    }
}

/// Why no connection came about, in the words of `ssh`.
async fn refusal(mut ssh: Ssh, words: JoinHandle<String>, error: &Error) -> io::Error {
    let said = tokio::time::timeout(LAST_WORDS, async {
        let _ = ssh.child.wait().await;
        words.await.unwrap_or_default()
    });
    let said = said.await.unwrap_or_default();
    let said: Vec<&str> = said
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("Warning: Permanently added"))
        .collect();
    let text = if said.is_empty() { error.to_string() } else { said.join(" ") };
    let is_final = REFUSALS.iter().any(|refusal| text.contains(refusal));
    let kind = if is_final { ErrorKind::Other } else { ErrorKind::TimedOut };
    io::Error::new(kind, format!("ssh: {}", text.strip_prefix("ssh: ").unwrap_or(&text)))
}

/// Reads to the end, else `ssh` waits for it; keeps the beginning.
async fn heard(mut words: impl AsyncRead + Unpin) -> String {
    let (mut kept, mut part) = (Vec::new(), [0; 1024]);
    while let Ok(read @ 1..) = words.read(&mut part).await {
        let room = WORDS - kept.len();
        kept.extend_from_slice(&part[..read.min(room)]);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

fn arguments(config: &BTreeMap<String, String>) -> Vec<String> {
    let text = |key: &str| config.get(key).map_or("", String::as_str);
    let keys = match text("known_hosts_strategy") {
        "accept" => "no",
        "add" => "accept-new",
        _ => "yes",
    };
    let mut arguments = Vec::new();
    let mut option = |name: &str, value: &str| arguments.extend(["-o".to_owned(), format!("{name}={value}")]);
    option("BatchMode", "yes");
    option("StrictHostKeyChecking", keys);
    option("ConnectTimeout", PATIENCE);
    option("ServerAliveInterval", PATIENCE);
    option("ServerAliveCountMax", "3");
    // Whatever people have configured for their sessions: this one carries files, and leaves nothing behind.
    option("ControlMaster", "no");
    option("ControlPath", "none");
    option("ClearAllForwardings", "yes");
    option("ForwardAgent", "no");
    option("ForwardX11", "no");
    option("PermitLocalCommand", "no");
    option("RemoteCommand", "none");
    option("RequestTTY", "no");
    if let Some(key) = config.get("key") {
        option("IdentitiesOnly", "yes");
        arguments.extend(["-i".to_owned(), key.clone()]);
    }
    let endpoint = text("endpoint");
    let endpoint = endpoint.strip_prefix("ssh://").unwrap_or(endpoint);
    let (user, place) = endpoint.rsplit_once('@').map_or((None, endpoint), |(user, place)| (Some(user), place));
    if let Some(user) = user {
        arguments.extend(["-l".to_owned(), user.to_owned()]);
    }
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() && (!host.contains(':') || host.ends_with(']')) => {
            (host, Some(port))
        }
        _ => (place, None),
    };
    if let Some(port) = port {
        arguments.extend(["-p".to_owned(), port.to_owned()]);
    }
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    arguments.extend(["-s", "--", host, "sftp"].map(str::to_owned));
    arguments
}

/// Whether the server says that there is no such thing.
pub(in crate::repo::storage) const fn is_absent(error: &Error) -> bool {
    matches!(error, Error::SftpError(SftpErrorKind::NoSuchFile, _))
}

/// Makes a folder and those above it that are not there.
pub(in crate::repo::storage) async fn make_folder(client: &Sftp, folder: &Path) -> Result<(), Error> {
    let mut missing = vec![folder];
    // From below: what is there already need not be looked at, and may not be ours to look at.
    while let Some(&last) = missing.last() {
        match client.fs().metadata(last).await {
            Ok(_) => {
                missing.pop();
                break;
            }
            Err(error) if is_absent(&error) => match last.parent() {
                Some(above) => missing.push(above),
                None => break,
            },
            Err(error) => return Err(error),
        }
    }
    while let Some(next) = missing.pop() {
        if let Err(error) = client.fs().create_dir(next).await {
            // Somebody else may have made it meanwhile.
            match client.fs().metadata(next).await {
                Ok(_) => {}
                Err(Error::SftpError(..)) => return Err(error),
                Err(looked) => return Err(looked),
            }
        }
    }
    Ok(())
}

impl Lent {
    pub fn sftp(&mut self) -> &Sftp {
        self.asks();
        match &self.connection {
            Some(connection) => &connection.sftp,
            None => unreachable!("it is given back when it is dropped"),
        }
    }

    /// Notes that something is asked of the server: whoever hears no answer leaves a connection that is not used again.
    pub const fn asks(&mut self) {
        self.is_sound = false;
    }

    /// Notes that the server has answered: the connection may be used again.
    pub const fn answered(&mut self) {
        self.is_sound = true;
    }

    /// An answer of the server, if it is one.
    pub fn heard<T>(&mut self, answer: Result<T, Error>) -> Result<T, Error> {
        self.is_sound = matches!(answer, Ok(_) | Err(Error::SftpError(..)));
        answer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        connection.ssh.is_wanted = self.is_sound;
        if self.is_sound {
            self.of.idle().push(connection);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(endpoint: &str) -> String {
        let config = BTreeMap::from([("endpoint".to_owned(), endpoint.to_owned())]);
        let all = arguments(&config);
        let from = all.iter().position(|argument| argument == "RequestTTY=no").unwrap();
        all[from + 1..].join(" ")
    }

    #[test]
    fn a_place_is_told_to_ssh_by_user_port_and_host() {
        assert_eq!(tail("ssh://host"), "-s -- host sftp");
        assert_eq!(tail("ssh://me@host:2222"), "-l me -p 2222 -s -- host sftp");
        assert_eq!(tail("ssh://me@corp@host"), "-l me@corp -s -- host sftp");
        assert_eq!(tail("ssh://[::1]:22"), "-p 22 -s -- ::1 sftp");
        assert_eq!(tail("ssh://::1"), "-s -- ::1 sftp");
        assert_eq!(tail("ssh://-oProxyCommand=x"), "-s -- -oProxyCommand=x sftp");
    }

    #[test]
    fn nothing_is_left_in_the_background_whatever_is_configured() {
        let all = arguments(&BTreeMap::new()).join(" ");
        assert!(all.contains("ControlMaster=no") && all.contains("ControlPath=none"), "{all}");
        assert!(!all.contains("ControlPersist"), "{all}");
    }
}
