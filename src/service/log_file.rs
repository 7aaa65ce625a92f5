//! The log file: another one is begun once it is large, and old ones go, as the backup service does it.

use super::config::FileWriterSettings;
use flate2::{Compression, write::GzEncoder};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// MB of a file, where nothing is said.
const MAX_MB: u64 = 100;
/// How the time stands in the name of one that is full.
const TIME: &str = "%Y-%m-%dT%H-%M-%S%.3f";

/// A file that lines are written to.
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    written: u64,
    most: u64,
    keep: Keep,
}

/// Which old files stay, and how.
#[derive(Clone)]
struct Keep {
    /// The newest so many; all if 0.
    count: usize,
    /// Not older than this.
    age: Option<Duration>,
    compress: bool,
}

impl LogFile {
    /// Opens it, or makes it, behind what is in it.
    pub(super) fn open(settings: &FileWriterSettings) -> io::Result<Self> {
        let path = PathBuf::from(&settings.filename);
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder)?;
        }
        let file = append_to(&path)?;
        let days = settings.maxage.filter(|days| *days > 0);
        Ok(Self {
            written: file.metadata()?.len(),
            file,
            most: settings.maxsize.filter(|mb| *mb > 0).map_or(MAX_MB, u64::from) << 20,
            keep: Keep {
                count: settings.maxbackups.map_or(0, |count| count as usize),
                age: days.map(|days| Duration::from_secs(u64::from(days) * 86_400)),
                compress: settings.compress == Some(true),
            },
            path,
        })
    }

    /// Puts the file aside, and begins another one.
    fn roll(&mut self) -> io::Result<()> {
        let name = || beside(&self.path, &jiff::Timestamp::now().strftime(TIME).to_string());
        let mut aside = name();
        // Names are in the order of time: two within a millisecond would not be.
        while aside.exists() {
            std::thread::sleep(Duration::from_millis(1));
            aside = name();
        }
        fs::rename(&self.path, &aside)?;
        self.file = append_to(&self.path)?;
        self.written = 0;
        let (path, keep) = (self.path.clone(), self.keep.clone());
        // Nobody who logs waits for this; what fails is tried with the next one.
        std::thread::spawn(move || tidy(&path, &keep));
        Ok(())
    }
}

impl Write for LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.written > 0 && self.written + line.len() as u64 > self.most {
            // Better too long a file than no line.
            let _ = self.roll();
        }
        let written = self.file.write(line)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// `service.log` of a time is `service-TIME.log`.
fn beside(path: &Path, time: &str) -> PathBuf {
    let (stem, ending) = parts(path);
    path.with_file_name(format!("{stem}-{time}{ending}"))
}

fn parts(path: &Path) -> (String, String) {
    let text = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
    let ending = text(path.extension()).map_or_else(String::new, |ending| format!(".{ending}"));
    (text(path.file_stem()).unwrap_or_default(), ending)
}

/// Files that were put aside, the newest first.
fn old(path: &Path) -> io::Result<Vec<PathBuf>> {
    let (stem, ending) = parts(path);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let plain = name.strip_suffix(".gz").unwrap_or(&name);
        let time = plain.strip_prefix(&format!("{stem}-")).and_then(|rest| rest.strip_suffix(&ending));
        let is_time = |time: &str| time.len() == 23 && time.bytes().all(|b| b.is_ascii_digit() || b"-T.".contains(&b));
        if time.is_some_and(is_time) {
            found.push(entry.path());
        }
    }
    found.sort();
    found.reverse();
    Ok(found)
}

fn tidy(path: &Path, keep: &Keep) {
    let Ok(all) = old(path) else { return };
    let now = SystemTime::now();
    for (place, file) in all.into_iter().enumerate() {
        let age = fs::metadata(&file).and_then(|it| it.modified()).ok().and_then(|at| now.duration_since(at).ok());
        let is_old = keep.age.zip(age).is_some_and(|(most, age)| age > most);
        let outcome = if is_old || (keep.count > 0 && place >= keep.count) {
            fs::remove_file(&file)
        } else if keep.compress && file.extension().is_none_or(|ending| ending != "gz") {
            compress(&file)
        } else {
            Ok(())
        };
        // Two that tidy at once meet what the other one did.
        if let Err(error) =
            outcome.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
        {
            tracing::warn!(file = %file.display(), "an old log file stays as it is: {error}");
        }
    }
}

fn compress(file: &Path) -> io::Result<()> {
    let mut name = file.as_os_str().to_owned();
    name.push(".gz");
    let mut partial = name.clone();
    partial.push(".part");
    let mut encoder = GzEncoder::new(append_to(Path::new(&partial))?, Compression::default());
    io::copy(&mut File::open(file)?, &mut encoder)?;
    encoder.finish()?.sync_all()?;
    fs::rename(&partial, &name)?;
    fs::remove_file(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn a_full_file_is_put_aside_and_the_oldest_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs/service.log");
        let settings = FileWriterSettings {
            filename: path.display().to_string(),
            maxbackups: Some(2),
            ..FileWriterSettings::default()
        };
        let mut log = LogFile::open(&settings).unwrap();
        log.most = 20;
        fs::write(dir.path().join("logs/service-of-others.log"), "theirs").unwrap();
        for number in 0..5 {
            log.write_all(format!("line {number} of some\n").as_bytes()).unwrap();
        }
        tidy(&path, &log.keep);
        assert_eq!(fs::read_to_string(&path).unwrap(), "line 4 of some\n");
        let kept = old(&path).unwrap();
        let texts: Vec<String> = kept.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
        assert_eq!(texts, ["line 3 of some\n", "line 2 of some\n"]);
        assert!(dir.path().join("logs/service-of-others.log").exists());
        // What was there is gone on with.
        drop(log);
        let mut log = LogFile::open(&settings).unwrap();
        log.write_all(b"more\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "line 4 of some\nmore\n");
        let mut keep = Keep { compress: true, ..log.keep.clone() };
        tidy(&path, &keep);
        let kept = old(&path).unwrap();
        assert!(kept.iter().all(|file| file.to_string_lossy().ends_with(".log.gz")), "{kept:?}");
        let mut text = String::new();
        flate2::read::GzDecoder::new(File::open(&kept[0]).unwrap()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "line 3 of some\n");
        keep.age = Some(Duration::ZERO);
        tidy(&path, &keep);
        assert!(old(&path).unwrap().is_empty() && path.exists());
    }
}
