//! What this process uses of the machine.

/// The most memory this process ever had resident, in bytes; 0 where the system does not tell.
#[must_use]
pub fn peak_memory_bytes() -> u64 {
    // Linux alone has this file; elsewhere reading it fails and the answer is 0.
    std::fs::read_to_string("/proc/self/status").ok().and_then(|status| peak_in(&status)).unwrap_or(0)
}

/// Finds `VmHWM:  1234 kB`.
fn peak_in(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peak_is_found_in_a_status_file() {
        assert_eq!(peak_in("VmPeak:\t  99 kB\nVmHWM:\t    5324 kB\nVmRSS:\t 1 kB\n"), Some(5324 * 1024));
        assert_eq!(peak_in("VmRSS:\t 1 kB\n"), None);
        assert_eq!(peak_in("VmHWM:\t many kB\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_a_peak() {
        assert!(peak_memory_bytes() > 100_000);
    }
}
