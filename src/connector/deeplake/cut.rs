//! A version 4 dataset as it was at a commit: the log is cut there, and what only later entries name goes.

use super::{
    entry::parse_name,
    find::LOG,
    head::{Ends, Head},
    log::{Log, META, NEXT},
    place::LakePlace,
    staged::STAGED,
};
use std::{fs, io, path::Path};

/// Where a log is cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cut {
    /// Behind a commit: its version, its number, or a tag that names it; on a branch, by its name or id.
    Version(String, Option<String>),
    /// Behind the last commit at or before a time: seconds since 1970.
    Time(i64),
}

fn ends_at_time(log: &Log, seconds: i64) -> Ends {
    let mut ends = Ends::new();
    for (folder, commits) in log.commits.iter().filter(|(folder, _)| *folder != META) {
        let stay = commits.iter().take_while(|commit| commit.seconds.is_some_and(|time| time <= seconds));
        let from_nothing = log.refs.branches.get(folder).is_none_or(|branch| branch.from.is_none());
        match stay.last() {
            Some(last) => {
                ends.insert(folder.clone(), last.number);
            }
            // A branch that stands where it began is there, if its beginning is told before the cut.
            None if from_nothing || !commits.is_empty() => {
                ends.insert(folder.clone(), 0);
            }
            None => {}
        }
    }
    ends
}

fn ends_at_version(log: &Log, wanted: &str, branch: Option<&str>) -> Result<Ends, String> {
    let tag = log.refs.tags.values().find(|tag| tag.name == wanted);
    let by_name = |name: &str| {
        let found = log.refs.branches.iter().find(|(id, branch)| branch.name == name || *id == name);
        found.map(|(id, _)| id.clone()).ok_or_else(|| format!("it has no branch `{name}`"))
    };
    let (branch, wanted) = match (tag, branch) {
        (Some(tag), None) => (tag.branch.clone(), tag.version.as_str()),
        (_, Some(branch)) => (by_name(branch)?, wanted),
        (None, None) => (by_name("main")?, wanted),
    };
    let commits = log.commits.get(&branch).map(Vec::as_slice).unwrap_or_default();
    let found = commits.iter().find(|commit| {
        commit.version == wanted
            || !wanted.is_empty() && wanted.parse::<u64>().is_ok_and(|number| number == commit.number)
    });
    let found = found.ok_or_else(|| {
        let some: Vec<&str> = commits.iter().rev().take(5).map(|commit| commit.version.as_str()).collect();
        format!("it has no version or tag `{wanted}`; the newest of {} are {}", commits.len(), some.join(", "))
    })?;
    let mut ends: Ends = log
        .commits
        .iter()
        .filter(|(folder, _)| *folder != META)
        .map(|(folder, commits)| (folder.clone(), commits.last().map_or(0, |commit| commit.number)))
        .collect();
    ends.insert(branch, found.number);
    Ok(ends)
}

/// Cuts the log of a dataset below a local folder, which nobody else uses. Gives what was cut, in words.
///
/// # Errors
/// In words, if there is no such commit; nothing has changed then.
pub(super) fn cut(root: &Path, at: &Cut) -> Result<String, String> {
    let said = |error: io::Error| error.to_string();
    let place = LakePlace::Local(root.to_owned());
    let log = Log::read_quiet(&place, "").map_err(said)?;
    let (ends, until) = match at {
        Cut::Time(seconds) => (ends_at_time(&log, *seconds), Some(*seconds)),
        Cut::Version(version, branch) => (ends_at_version(&log, version, branch.as_deref())?, None),
    };
    let head = Head::of(&place, &log, ends, until)?;
    if head.ends.values().all(|end| *end == 0) {
        return Err("no commit is as old as that".to_owned());
    }
    let mut gone = 0_u64;
    for (folder, files) in &log.folders {
        let end = head.end(folder);
        for name in files.keys() {
            let stays = match (parse_name(name), end) {
                (Some(_), _) if folder == META => head.stays.contains(name),
                (None, _) if folder == META => true,
                (Some(named), Some(end)) => named.number <= end,
                (None, Some(_)) => true,
                (_, None) => false,
            };
            if !stays {
                fs::remove_file(root.join(LOG).join(folder).join(name)).map_err(said)?;
                gone += u64::from(parse_name(name).is_some());
            }
        }
        if end.is_none() && folder != META {
            // It is empty but for what locks left, and was never copied then.
            let _ = fs::remove_dir(root.join(LOG).join(folder));
        }
    }
    head.number_anew(&root.join(LOG).join(META)).map_err(said)?;
    let rest = Log::read_quiet(&place, "").map_err(said)?;
    for key in log.blocks.keys().filter(|key| !rest.blocks.contains_key(*key)) {
        match fs::remove_file(root.join(&**key)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.to_string()),
            _ => {}
        }
    }
    // What is staged is later than every commit.
    let staged = root.join(STAGED);
    let mut words = format!("its log is cut: {gone} entries are left out");
    for (branch, end) in &head.also {
        let name = log.refs.branches.get(branch).map_or(branch.as_str(), |branch| branch.name.as_str());
        words.push_str(&format!(
            ", those of branch {name} after its number {end} too, since it took in what is left out"
        ));
    }
    if staged.is_dir() {
        fs::remove_dir_all(&staged).map_err(said)?;
        words.push_str(", and so is what was not committed");
    }
    Ok(words)
}

/// Sets what says which number the next entry gets to what the log says, in every folder of a log; gives how many that there were were other.
pub(super) fn set_next(root: &Path) -> io::Result<u64> {
    let log = Log::read_quiet(&LakePlace::Local(root.to_owned()), "")?;
    let mut set = 0;
    for (folder, files) in &log.folders {
        let newest = files.keys().filter_map(|name| Some(parse_name(name)?.number)).max().unwrap_or(0);
        let path = root.join(LOG).join(folder).join(NEXT);
        let wanted = newest.saturating_add(1).to_le_bytes();
        let was = fs::read(&path).ok();
        if was.as_deref() != Some(&wanted[..]) {
            fs::write(&path, wanted)?;
            set += u64::from(was.is_some());
        }
    }
    Ok(set)
}
