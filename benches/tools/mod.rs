//! The command lines of rekeep and its peers.

#![allow(dead_code, reason = "each driver uses a part")]

use crate::common::{Cost, Moved, Outcome, measure, remove, run_counted};
use std::{
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
};

const PASSWORD: &str = "benchmark";

/// What is backed up.
#[derive(Clone, Copy)]
pub enum Data<'a> {
    Database(&'a Path),
    Tree(&'a Path),
}

impl<'a> Data<'a> {
    fn path(self) -> &'a Path {
        match self {
            Self::Database(path) | Self::Tree(path) => path,
        }
    }

    /// rekeep's URL of a path of this kind.
    fn url(self, path: &Path) -> OsString {
        let mut url = OsString::from(if matches!(self, Self::Database(_)) { "sqlite:" } else { "files:" });
        url.push(path);
        url
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Rekeep,
    Restic,
    Borg,
    Rustic,
}

/// One tool; its repository and cache lie below the working folder.
pub struct Tool {
    pub name: String,
    kind: Kind,
    program: String,
    /// Where the repository lies, if that is no folder: the address of an S3 server, its bucket, a prefix.
    place: Option<[String; 3]>,
}

impl Tool {
    pub fn new(name: &str, program: &str) -> Outcome<Self> {
        let kind = match name {
            "rekeep" => Kind::Rekeep,
            "restic" => Kind::Restic,
            "borg" => Kind::Borg,
            "rustic" => Kind::Rustic,
            _ => return Err(format!("--peers {name}: restic, borg or rustic").into()),
        };
        Ok(Self { name: name.to_owned(), kind, program: program.to_owned(), place: None })
    }

    /// From now on the repository lies at an S3 server: `http://HOST:PORT/BUCKET/PREFIX`; or in its folder again.
    pub fn lies_at(&mut self, place: Option<String>) -> Outcome<()> {
        self.place = match place {
            None => None,
            Some(place) => {
                let mut parts = place.rsplitn(3, '/').map(str::to_owned);
                let (Some(prefix), Some(bucket), Some(server)) = (parts.next(), parts.next(), parts.next()) else {
                    return Err(format!("{place} is no place").into());
                };
                Some([server, bucket, format!("{}-{prefix}", self.name)])
            }
        };
        Ok(())
    }

    pub fn repository(&self, dir: &Path) -> PathBuf {
        dir.join(format!("{}-repo", self.name))
    }

    fn cache(&self, dir: &Path) -> PathBuf {
        dir.join(format!("{}-cache", self.name))
    }

    fn out(&self, dir: &Path) -> PathBuf {
        dir.join(format!("{}-out", self.name))
    }

    pub fn clear(&self, dir: &Path) -> Outcome<()> {
        remove(&self.repository(dir))?;
        remove(&self.cache(dir))?;
        remove(&self.out(dir))
    }

    fn run(&self, dir: &Path, args: &[&OsStr], work: Option<&Path>) -> Outcome<Cost> {
        let (env, repository) = self.environment(dir);
        let mut all: Vec<&OsStr> = Vec::new();
        if !matches!(self.kind, Kind::Borg) {
            all.extend::<[&OsStr; 2]>(["-r".as_ref(), repository.as_ref()]);
        }
        all.extend(args);
        measure(self.program.as_ref(), &all, &env, work)
    }

    /// A run of which the output and what it moved is of interest.
    fn counted(&self, dir: &Path, args: &[&str]) -> Outcome<(Moved, Vec<u8>)> {
        if matches!(self.kind, Kind::Borg) {
            return Err("borg is not part of this bench".into());
        }
        let (env, repository) = self.environment(dir);
        let mut all: Vec<&OsStr> = vec!["-r".as_ref(), repository.as_ref()];
        all.extend(args.iter().map(OsStr::new));
        run_counted(self.program.as_ref(), &all, &env)
    }

    /// The names of all snapshots, oldest first.
    pub fn snapshots(&self, dir: &Path) -> Outcome<Vec<String>> {
        let (_, listed) = self.counted(dir, &["snapshots", "--json"])?;
        let mut found = Vec::new();
        collect_snapshots(&serde_json::from_slice(&listed)?, &mut found);
        found.sort();
        Ok(found.into_iter().map(|(_, id)| id).collect())
    }

    pub fn list_moved(&self, dir: &Path) -> Outcome<Moved> {
        Ok(self.counted(dir, &["snapshots"])?.0)
    }

    pub fn forget(&self, dir: &Path, ids: &[&str]) -> Outcome<Moved> {
        let args: Vec<&str> = ["forget"].into_iter().chain(ids.iter().copied()).collect();
        Ok(self.counted(dir, &args)?.0)
    }

    /// Prunes; rustic would only mark packs and delete them a day later, unless told otherwise.
    pub fn prune(&self, dir: &Path) -> Outcome<Moved> {
        let args: &[&str] = if matches!(self.kind, Kind::Rustic) { &["prune", "--instant-delete"] } else { &["prune"] };
        Ok(self.counted(dir, args)?.0)
    }

    /// Restores one record, where a tool can.
    pub fn restore_one(&self, dir: &Path, table: &str, id: u64) -> Outcome<Option<Cost>> {
        if !matches!(self.kind, Kind::Rekeep) {
            return Ok(None);
        }
        let out = self.out(dir);
        remove(&out)?;
        fs::create_dir_all(&out)?;
        let (target, key) = (Data::Database(&out).url(&out.join("one")), format!("int:{id}"));
        let args: [&OsStr; 7] = [
            "restore".as_ref(),
            "latest".as_ref(),
            &target,
            "--collection".as_ref(),
            table.as_ref(),
            "--key".as_ref(),
            key.as_ref(),
        ];
        self.run(dir, &args, None).map(Some)
    }

    /// Forgets all snapshots but the newest and gives the room back.
    pub fn keep_one(&self, dir: &Path) -> Outcome<Cost> {
        let prune = if matches!(self.kind, Kind::Rustic) { "prune --instant-delete" } else { "prune" };
        let (forget, prune) = (self.words(dir, "forget --keep-last 1")?, self.words(dir, prune)?);
        Ok(Cost {
            wall_seconds: forget.wall_seconds + prune.wall_seconds,
            cpu_seconds: forget.cpu_seconds + prune.cpu_seconds,
            peak_mib: forget.peak_mib.max(prune.peak_mib),
        })
    }

    /// The environment of a run, and the repository's place.
    fn environment(&self, dir: &Path) -> (Vec<(String, String)>, String) {
        let (repository, cache) = (self.repository(dir), self.cache(dir));
        let (repository, cache) = (repository.to_string_lossy().into_owned(), cache.to_string_lossy().into_owned());
        let prefix = match self.kind {
            Kind::Rekeep => "REKEEP",
            Kind::Restic => "RESTIC",
            Kind::Borg => "BORG",
            Kind::Rustic => "RUSTIC",
        };
        let secret = if matches!(self.kind, Kind::Borg) { "PASSPHRASE" } else { "PASSWORD" };
        let mut env =
            vec![(format!("{prefix}_{secret}"), PASSWORD.to_owned()), (format!("{prefix}_CACHE_DIR"), cache.clone())];
        if matches!(self.kind, Kind::Borg) {
            // Borg keeps security and key files outside its cache.
            env.push(("BORG_BASE_DIR".to_owned(), cache));
            env.push(("BORG_REPO".to_owned(), repository.clone()));
        }
        let Some([server, bucket, prefix]) = &self.place else { return (env, repository) };
        let mut set = |name: &str, value: &str| env.push((name.to_owned(), value.to_owned()));
        for (name, value) in [
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test-secret"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ] {
            set(name, value);
        }
        let repository = match self.kind {
            Kind::Rekeep => format!("s3://{bucket}/{prefix}?endpoint={server}"),
            Kind::Restic | Kind::Borg => format!("s3:{server}/{bucket}/{prefix}"),
            Kind::Rustic => {
                for (name, value) in
                    [("ENDPOINT", server.as_str()), ("BUCKET", bucket), ("ROOT", prefix), ("REGION", "us-east-1")]
                {
                    set(&format!("OPENDAL_{name}"), value);
                }
                "opendal:s3".to_owned()
            }
        };
        (env, repository)
    }

    fn words(&self, dir: &Path, words: &str) -> Outcome<Cost> {
        self.run(dir, &words.split(' ').map(OsStr::new).collect::<Vec<_>>(), None)
    }

    pub fn init(&self, dir: &Path) -> Outcome<Cost> {
        self.words(dir, if matches!(self.kind, Kind::Borg) { "init -e repokey-blake2" } else { "init" })
    }

    pub fn list(&self, dir: &Path) -> Outcome<Cost> {
        self.words(dir, if matches!(self.kind, Kind::Borg) { "list" } else { "snapshots" })
    }

    pub fn check(&self, dir: &Path) -> Outcome<Cost> {
        self.words(
            dir,
            match self.kind {
                Kind::Rekeep => "verify --read-data",
                Kind::Borg => "check --verify-data",
                Kind::Restic | Kind::Rustic => "check --read-data",
            },
        )
    }

    /// Restores the newest snapshot into nothing, where a tool can.
    pub fn test_restore(&self, dir: &Path) -> Outcome<Option<Cost>> {
        match self.kind {
            Kind::Rekeep => self.words(dir, "verify --restore latest").map(Some),
            Kind::Borg | Kind::Restic | Kind::Rustic => Ok(None),
        }
    }

    /// Backs up as the `number`th snapshot; borg at zstd level 3, the others at their defaults.
    pub fn backup(&self, dir: &Path, data: Data<'_>, number: usize) -> Outcome<Cost> {
        let path = data.path().as_os_str();
        match self.kind {
            Kind::Rekeep => self.run(dir, &["backup".as_ref(), &data.url(data.path())], None),
            Kind::Restic | Kind::Rustic => self.run(dir, &["backup".as_ref(), path], None),
            Kind::Borg => {
                let name = format!("::s{number}");
                self.run(
                    dir,
                    &["create".as_ref(), "--compression".as_ref(), "zstd,3".as_ref(), name.as_ref(), path],
                    None,
                )
            }
        }
    }

    /// Restores the `number`th snapshot, the newest, to a new place; says where the data came to lie.
    pub fn restore(&self, dir: &Path, data: Data<'_>, number: usize) -> Outcome<(Cost, PathBuf)> {
        let out = self.out(dir);
        remove(&out)?;
        fs::create_dir_all(&out)?;
        let inside = out.join(data.path().strip_prefix("/").unwrap_or(data.path()));
        Ok(match self.kind {
            Kind::Rekeep => {
                let target = out.join("restored");
                (self.run(dir, &["restore".as_ref(), "latest".as_ref(), &data.url(&target)], None)?, target)
            }
            Kind::Restic => {
                let args: [&OsStr; 4] = ["restore".as_ref(), "latest".as_ref(), "--target".as_ref(), out.as_ref()];
                (self.run(dir, &args, None)?, inside)
            }
            Kind::Rustic => (self.run(dir, &["restore".as_ref(), "latest".as_ref(), out.as_ref()], None)?, inside),
            Kind::Borg => {
                let name = format!("::s{number}");
                (self.run(dir, &["extract".as_ref(), name.as_ref()], Some(&out))?, inside)
            }
        })
    }
}

/// Every object with an id and a time, wherever it is: as (time as text that sorts, id).
fn collect_snapshots(value: &serde_json::Value, found: &mut Vec<(String, String)>) {
    use serde_json::Value;
    match value {
        Value::Array(all) => all.iter().for_each(|it| collect_snapshots(it, found)),
        Value::Object(fields) => {
            let time = match fields.get("time") {
                Some(Value::String(time)) => Some(time.clone()),
                Some(Value::Number(time)) => Some(format!("{:020}", time.as_u64().unwrap_or(0))),
                _ => None,
            };
            match (time, fields.get("id").and_then(Value::as_str)) {
                (Some(time), Some(id)) => found.push((time, id.to_owned())),
                _ => fields.values().for_each(|it| collect_snapshots(it, found)),
            }
        }
        _ => {}
    }
}
