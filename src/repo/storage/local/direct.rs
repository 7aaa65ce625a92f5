//! Writing past the kernel's page cache. A pack of data is read again when somebody restores, if ever: its pages would push out
//! those of the database that is being backed up, and copying bytes into the cache costs several times what the copy here does.

use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    io::Errno,
};
use std::{
    fs::File,
    io::{self, Write},
};

/// Shorter files go through the cache: they wait for their sync anyway.
const LEAST_BYTES: usize = 1024 * 1024;

/// What is handed to the kernel at a time; it stays in the core's own cache between the two copies.
const PIECE_BYTES: usize = 1024 * 1024;

/// Where memory, offsets and lengths have to lie, for any disk and any page.
const ALIGNMENT: usize = 4096;

/// File systems that write so without a copy of their own, and never another way: ext2 to ext4 and XFS.
const ABLE: [u64; 2] = [0xEF53, 0x5846_5342];

/// Writes all of a new file, past the cache where that is possible; the caller syncs it.
pub(super) fn write_all(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    let able = bytes.len() >= LEAST_BYTES && is_able(file) && set_direct(file, true).is_ok();
    let written = if able { write_direct(file, bytes)? } else { 0 };
    if able && written < bytes.len() {
        set_direct(file, false)?;
    }
    file.write_all(&bytes[written..])
}

fn is_able(file: &File) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|it| ABLE.contains(&(it.f_type.cast_unsigned() & 0xFFFF_FFFF)))
}

fn set_direct(file: &File, direct: bool) -> io::Result<()> {
    let mut flags = fcntl_getfl(file)?;
    flags.set(OFlags::DIRECT, direct);
    Ok(fcntl_setfl(file, flags)?)
}

/// Writes whole blocks from aligned memory; gives how many bytes that were. The rest is what the disk does not take so.
fn write_direct(file: &mut File, bytes: &[u8]) -> io::Result<usize> {
    let mut memory = vec![0; PIECE_BYTES + ALIGNMENT];
    let start = memory.as_ptr().align_offset(ALIGNMENT);
    let Some(piece) = memory.get_mut(start..start.saturating_add(PIECE_BYTES)) else { return Ok(0) };
    let mut written = 0;
    while bytes.len() - written >= ALIGNMENT {
        let left = &bytes[written..];
        let len = left.len().min(PIECE_BYTES) / ALIGNMENT * ALIGNMENT;
        piece[..len].copy_from_slice(&left[..len]);
        match file.write(&piece[..len]) {
            Ok(took) => {
                written += took;
                // Less than was asked for, as where the disk is full: the ordinary way goes on or says why not.
                if took < len {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn files_of_every_length_hold_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..LEAST_BYTES + 2 * PIECE_BYTES + 70_000).map(|at| ((at * 31) >> 3) as u8).collect();
        for len in [0, 1, LEAST_BYTES - 1, LEAST_BYTES, LEAST_BYTES + 1, 2 * PIECE_BYTES + ALIGNMENT + 17, bytes.len()]
        {
            let path = folder.path().join(len.to_string());
            let mut file = File::create_new(&path).unwrap();
            write_all(&mut file, &bytes[..len]).unwrap();
            file.sync_all().unwrap();
            assert!(fs::read(&path).unwrap() == bytes[..len], "{len} bytes");
        }
    }

    #[test]
    fn whole_blocks_go_past_the_cache_where_the_file_system_is_able() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = File::create_new(folder.path().join("file")).unwrap();
        let bytes = vec![7; LEAST_BYTES + 5];
        if is_able(&file) && set_direct(&file, true).is_ok() {
            assert_eq!(write_direct(&mut file, &bytes).unwrap(), LEAST_BYTES);
            set_direct(&file, false).unwrap();
            assert!(!fcntl_getfl(&file).unwrap().contains(OFlags::DIRECT));
        }
    }

    #[test]
    fn a_full_disk_is_said() {
        let mut full = File::options().write(true).open("/dev/full").unwrap();
        let error = write_all(&mut full, &vec![0; 2 * LEAST_BYTES]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
