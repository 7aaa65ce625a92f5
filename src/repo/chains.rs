//! Chains of objects that name the one before them (reports of drills, audit): what is missing or was exchanged in them, and
//! what a person has seen and settled (`format-spec/protocol.md`, section 16).

use super::{RepoError, inner::Inner};
use crate::report::{Trouble, TroubleKind};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// What is missing in a chain, or was exchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Its name, or of the first and the last of several.
    pub object: String,
    /// What is wrong with it.
    pub problem: String,
    /// How an entry that settles it calls it.
    pub key: String,
}

impl Broken {
    /// The same as what is said of an object.
    #[must_use]
    pub fn trouble(&self) -> Trouble {
        Trouble::new(TroubleKind::Lost, &*self.object, self.to_string())
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.object, self.problem)
    }
}

/// An object before another one: its name, and the hash at its end.
pub(super) type Before = (String, String);

/// What lies in a folder of chains.
#[derive(Debug, Default)]
pub(super) struct Chains {
    /// Numbers that are taken, by what stands before them in the name; be it by something whole or not.
    present: BTreeMap<String, BTreeSet<u64>>,
    /// Those that pass their check, with the hash at their end and what they name.
    sound: BTreeMap<String, BTreeMap<u64, (String, Option<Before>)>>,
}

fn split(name: &str) -> Option<(&str, u64)> {
    let (series, number) = name.rsplit_once('/')?;
    Some((series, number.parse().ok()?))
}

impl Chains {
    /// Something lies there under a name.
    pub fn is_there(&mut self, name: &str) {
        if let Some((series, number)) = split(name) {
            self.present.entry(series.to_owned()).or_default().insert(number);
        }
    }

    /// What lies there passes its check.
    pub fn is_sound(&mut self, name: &str, hash: String, before: Option<Before>) {
        self.is_there(name);
        if let Some((series, number)) = split(name) {
            self.sound.entry(series.to_owned()).or_default().insert(number, (hash, before));
        }
    }

    /// What is missing: a number below one that passes its check, or what such a one names.
    pub fn broken(&self) -> Vec<Broken> {
        let mut broken = Vec::new();
        // For each series up to which number there must be something, and who says so.
        let mut tops: BTreeMap<&str, (u64, String)> = BTreeMap::new();
        let mut raise = |series, number, by: String| {
            let top = tops.entry(series).or_insert_with(|| (number, by.clone()));
            if number > top.0 {
                *top = (number, by);
            }
        };
        for (series, objects) in &self.sound {
            for (number, (_, before)) in objects {
                let name = format!("{series}/{number}");
                raise(series.as_str(), *number, name.clone());
                let Some((before, hash)) = before else { continue };
                let Some((other, below)) = split(before) else { continue };
                match self.sound.get(other).and_then(|objects| objects.get(&below)) {
                    Some((there, _)) if there != hash => broken.push(Broken {
                        problem: format!("was made after another {before} than lies there"),
                        key: format!("{name} after {before}"),
                        object: name,
                    }),
                    Some(_) => {}
                    None => raise(other, below, name),
                }
            }
        }
        for (series, (top, by)) in tops {
            let mut next = 0;
            let mut missing = |first: u64, last: u64| {
                let object =
                    if first == last { format!("{series}/{first}") } else { format!("{series}/{first} to {last}") };
                let after = self.sound.get(series).and_then(|objects| objects.range(last..).next());
                let by = after.map_or_else(|| by.clone(), |(number, _)| format!("{series}/{number}"));
                let (is, it) = if first == last { ("is", "it") } else { ("are", "them") };
                let problem = format!("{is} missing: {by} was made after {it}");
                broken.push(Broken { key: object.clone(), object, problem });
            };
            for number in self.present.get(series).into_iter().flat_map(|numbers| numbers.range(..=top)) {
                if *number > next {
                    missing(next, number - 1);
                }
                next = number + 1;
            }
            if next <= top {
                missing(next, top);
            }
        }
        broken
    }
}

impl Inner {
    /// What is broken in the chains of a folder, looked at once more: what was listed while others wrote may lack one that came
    /// before one that it has.
    pub(super) fn broken(&self, folder: &str, chains: &mut Chains) -> Result<Vec<Broken>, RepoError> {
        if chains.broken().is_empty() {
            return Ok(Vec::new());
        }
        for object in self.list_objects(folder)? {
            chains.is_there(&object.name);
        }
        Ok(chains.broken())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chains(sound: &[(&str, Option<&str>)]) -> Chains {
        let mut chains = Chains::default();
        for (name, before) in sound {
            chains.is_sound(name, format!("hash of {name}"), before.map(|it| (it.to_owned(), format!("hash of {it}"))));
        }
        chains
    }

    fn objects(chains: &Chains) -> Vec<String> {
        chains.broken().iter().map(Broken::to_string).collect()
    }

    #[test]
    fn a_whole_chain_lacks_nothing() {
        let whole = [("a/S/0", None), ("a/S/1", Some("a/S/0")), ("a/T/0", Some("a/S/1"))];
        assert_eq!(objects(&chains(&whole)), Vec::<String>::new());
        assert_eq!(objects(&Chains::default()), Vec::<String>::new());
    }

    #[test]
    fn what_is_missing_is_named_wherever_it_was() {
        let holes = [("a/S/1", None), ("a/S/2", None), ("a/S/6", None), ("a/S/7", None)];
        let found = ["a/S/0 is missing: a/S/1 was made after it", "a/S/3 to 5 are missing: a/S/6 was made after them"];
        assert_eq!(objects(&chains(&holes)), found);
    }

    #[test]
    fn a_series_that_is_gone_is_missed_by_whoever_names_it() {
        let gone = [("a/T/0", Some("a/S/1")), ("a/U/0", Some("a/R/0"))];
        let found = ["a/R/0 is missing: a/U/0 was made after it", "a/S/0 to 1 are missing: a/T/0 was made after them"];
        assert_eq!(objects(&chains(&gone)), found);
    }

    #[test]
    fn what_anybody_can_put_there_makes_no_gap() {
        let mut chains = chains(&[("a/S/0", None), ("a/S/2", None)]);
        chains.is_there("a/S/1");
        chains.is_there("a/S/9223372036854775807");
        chains.is_there("a/T/18446744073709551615");
        assert_eq!(objects(&chains), Vec::<String>::new());
    }

    #[test]
    fn one_that_was_exchanged_is_told_from_one_that_is_gone() {
        let mut chains = chains(&[("a/S/0", None)]);
        chains.is_sound("a/S/1", "hash".to_owned(), Some(("a/S/0".to_owned(), "another".to_owned())));
        assert_eq!(objects(&chains), ["a/S/1 was made after another a/S/0 than lies there"]);
        assert_eq!(chains.broken()[0].key, "a/S/1 after a/S/0");
    }
}
