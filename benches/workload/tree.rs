//! A tree of many small files in nested directories.

use super::{
    WorkloadError,
    words::{Random, Vocabulary},
};
use std::{fs, path::Path};

/// What [`create_tree`] wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TreeStats {
    /// Files.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
}

/// Creates `files` small files (10 KiB on average: most a few KiB, a few 100 KiB; one in eight incompressible) in
/// directories of at most 40 files, three levels deep. `path` must not exist or be empty.
///
/// # Errors
/// [`WorkloadError`] if `path` holds something, or a file cannot be written.
pub fn create_tree(path: &Path, files: u64, seed: u64) -> Result<TreeStats, WorkloadError> {
    let failed = |path: &Path, cause| WorkloadError::Io { path: path.to_owned(), cause };
    fs::create_dir_all(path).map_err(|cause| failed(path, cause))?;
    if fs::read_dir(path).map_err(|cause| failed(path, cause))?.next().is_some() {
        return Err(failed(path, std::io::ErrorKind::AlreadyExists.into()));
    }
    let vocabulary = Vocabulary::new();
    let mut stats = TreeStats::default();
    for number in 0..files {
        let mut random = Random::new(seed, number, 0x7472_6565);
        let folder = number / 40;
        let dir = path
            .join(format!("area-{:02}", folder % 10))
            .join(format!("group-{:02}", folder / 10 % 10))
            .join(format!("set-{folder:05}"));
        if number % 40 == 0 {
            fs::create_dir_all(&dir).map_err(|cause| failed(&dir, cause))?;
        }
        let file = dir.join(format!(
            "{}-{number:06}.{}",
            vocabulary.pick(&mut random),
            ["txt", "json", "log", "bin"][(number % 4) as usize]
        ));
        let content = content(&vocabulary, &mut random);
        fs::write(&file, &content).map_err(|cause| failed(&file, cause))?;
        stats.files += 1;
        stats.bytes += content.len() as u64;
    }
    Ok(stats)
}

fn content(vocabulary: &Vocabulary, random: &mut Random) -> Vec<u8> {
    let bytes = match random.below(100) {
        0..70 => 200 + random.below(8_000),
        70..97 => 8_000 + random.below(16_000),
        _ => 24_000 + random.below(150_000),
    } as usize;
    if random.chance(1, 8) {
        let mut out = vec![0; bytes];
        random.fill(&mut out);
        return out;
    }
    let mut text = String::with_capacity(bytes + 32);
    vocabulary.prose(bytes, random, &mut text);
    text.into_bytes()
}
