//! Which process of which machine holds a lease, so that `unlock` can tell that it is gone.

use serde::{Deserialize, Serialize};
use std::{fs, sync::OnceLock};

/// A process, told apart from every other that ever had its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number.
    pub pid: u32,
    /// When it began, in the kernel's ticks since the boot.
    pub began: u64,
    /// The boot's random name.
    pub boot: String,
    /// The namespace that its number counts in.
    pub namespace: String,
    /// A hash of the machine's name for itself.
    pub machine: String,
}

impl ProcessId {
    /// This process; `None` where the system does not tell all of it.
    #[must_use]
    pub fn this() -> Option<Self> {
        static THIS: OnceLock<Option<ProcessId>> = OnceLock::new();
        let find = || {
            let pid = std::process::id();
            Some(Self { pid, began: began(pid)?, boot: boot()?, namespace: namespace()?, machine: machine()? })
        };
        THIS.get_or_init(find).clone()
    }

    /// As part of a file's name.
    #[must_use]
    pub fn to_token(&self) -> String {
        format!("{}.{}.{}.{}.{}", self.machine, self.boot, self.namespace, self.pid, self.began)
    }

    /// What [`Self::to_token`] wrote, at the front of a file's name.
    #[must_use]
    pub fn from_token(name: &str) -> Option<Self> {
        let mut parts = name.split('.');
        let mut next = || parts.next().filter(|part| !part.is_empty());
        let (machine, boot, namespace) = (next()?.to_owned(), next()?.to_owned(), next()?.to_owned());
        Some(Self { machine, boot, namespace, pid: next()?.parse().ok()?, began: next()?.parse().ok()? })
    }

    /// Whether it has certainly ended. Of another machine, or of another namespace of this boot, nothing is certain.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        let (Some(machine), Some(boot), Some(namespace)) = (machine(), boot(), namespace()) else { return false };
        if machine != self.machine {
            return false;
        }
        boot != self.boot || namespace == self.namespace && began(self.pid) != Some(self.began)
    }
}

/// When a process began; `None` if there is none, or only what is left of one.
fn began(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses and may hold anything.
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

fn boot() -> Option<String> {
    Some(fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned())
}

fn namespace() -> Option<String> {
    let link = fs::read_link("/proc/self/ns/pid").ok()?;
    // `pid:[4026531836]`, of which only the number may stand in a file's name everywhere.
    Some(link.to_string_lossy().chars().filter(char::is_ascii_digit).collect())
}

fn machine() -> Option<String> {
    let id = fs::read_to_string("/etc/machine-id").ok().filter(|id| !id.trim().is_empty());
    // Machines without a name for themselves are told apart by their boot alone.
    let id = id.or_else(boot)?;
    Some(data_encoding::HEXLOWER.encode(&blake3::derive_key("rekeep 2026-11 v1 machine", id.trim().as_bytes())[..8]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_there_and_its_number_in_another_time_is_gone() {
        let Some(this) = ProcessId::this() else { return };
        assert!(!this.is_gone());
        assert!(ProcessId { began: this.began + 1, ..this.clone() }.is_gone());
        assert!(ProcessId { boot: "earlier".to_owned(), ..this.clone() }.is_gone());
        assert_eq!(ProcessId::from_token(&format!("{}.0123", this.to_token())), Some(this.clone()));
        assert_eq!(ProcessId::from_token("0123456789abcdef0123456789abcdef"), None);
        assert!(!ProcessId { machine: "another".to_owned(), began: 0, ..this.clone() }.is_gone());
        assert!(!ProcessId { namespace: "another".to_owned(), began: 0, ..this }.is_gone());
    }

    #[test]
    fn a_process_that_ended_is_gone() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let began = began(child.id());
        let process = ProcessId::this().map(|this| ProcessId { pid: child.id(), began: began.unwrap_or(0), ..this });
        let before = process.as_ref().map(ProcessId::is_gone);
        child.kill().unwrap();
        child.wait().unwrap();
        let after = process.as_ref().map(ProcessId::is_gone);
        assert!(process.is_none() || (before, after) == (Some(false), Some(true)), "{before:?} {after:?}");
    }
}
