//! Whether a dataset that was written is whole: every block that its log names is there, as long as the log says.

use super::{
    find::Format,
    inventory::Sentences,
    log::Log,
    nodes::{VERSIONS, Versions},
    place::LakePlace,
};
use std::io;

/// What gives the length of a block, if it is there.
pub(super) type Lengths<'a> = &'a mut dyn FnMut(&str) -> Result<Option<u64>, String>;

/// What is wrong with a dataset that nobody writes, whose blocks may lie elsewhere; nothing if it is whole.
pub(super) fn check(place: &LakePlace, format: Format, bytes_of: Lengths<'_>) -> io::Result<Vec<String>> {
    let mut wrong = Sentences::default();
    match format {
        Format::Four => {
            let log = Log::read_quiet(place, "")?;
            if log.commits.is_empty() {
                wrong.add("its log has no entries".to_owned());
            }
            log.torn.iter().for_each(|(key, reason)| wrong.add(format!("{key}: {reason}")));
            log.gaps.iter().for_each(|(folder, number)| wrong.add(format!("{folder}: there is no entry {number}")));
            log.foreign.iter().cloned().chain(log.contradictions()).for_each(|sentence| wrong.add(sentence));
            for (key, bytes) in &log.blocks {
                match bytes_of(key) {
                    Ok(Some(is)) if is == *bytes => {}
                    Ok(Some(is)) => wrong.add(format!("{key}: it has {is} bytes, where the log says {bytes}")),
                    Ok(None) => wrong.add(format!("{key}: the log names it, and it is not there")),
                    Err(error) => wrong.add(format!("{key}: {error}")),
                }
            }
        }
        Format::Three => {
            let versions = place.read(VERSIONS, 64 << 20).map_err(|error| error.to_string());
            match versions.and_then(|(bytes, _)| Versions::parse(&bytes)) {
                Err(reason) => wrong.add(format!("{VERSIONS}: {reason}")),
                Ok(versions) => {
                    let first = versions.first();
                    for id in versions.commits.keys().filter(|id| Some(id.as_str()) != first) {
                        if place.list(&format!("versions/{id}"), &mut |_| {})?.is_none() {
                            wrong.add(format!("versions/{id}: {VERSIONS} names it, and it is not there"));
                        }
                    }
                }
            }
        }
        Format::Neither | Format::Begun => {}
    }
    Ok(wrong.all())
}
