//! What of a source was asked for, as data that can be compared without knowing the connector.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What of a source was asked for, facet by facet (`tables`, `sets`, `paths` …). Nothing in it is everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// By facet: these and nothing else.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub only: BTreeMap<String, Vec<String>>,
    /// By facet: all but these.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub without: BTreeMap<String, Vec<String>>,
    /// How the same records are shown, such as the field that keys them. What differs in it is neither wider nor narrower.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub form: BTreeMap<String, String>,
}

impl Asked {
    /// Whether nothing was left out.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.only.is_empty() && self.without.is_empty() && self.form.is_empty()
    }

    /// Whether all that `other` asks for is asked for here too. `false` also where that cannot be told.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let holds = |all: &[String], some: &[String]| some.iter().all(|one| all.contains(one));
        self.form == other.form
            && self.only.iter().all(|(facet, names)| other.only.get(facet).is_some_and(|its| holds(names, its)))
            && self.without.iter().all(|(facet, names)| other.without.get(facet).is_some_and(|its| holds(its, names)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(only: &[(&str, &[&str])], without: &[(&str, &[&str])]) -> Asked {
        let map = |facets: &[(&str, &[&str])]| {
            let of = |(facet, names): &(&str, &[&str])| {
                ((*facet).to_owned(), names.iter().map(|name| (*name).to_owned()).collect())
            };
            facets.iter().map(of).collect()
        };
        Asked { only: map(only), without: map(without), form: BTreeMap::new() }
    }

    #[test]
    fn what_asks_for_more_covers_what_asks_for_less() {
        let all = Asked::default();
        let t = asked(&[("tables", &["t"])], &[]);
        let both = asked(&[("tables", &["t", "u"])], &[]);
        let but_u = asked(&[], &[("tables", &["u"])]);
        let but_both = asked(&[], &[("tables", &["u", "v"])]);
        for (wide, narrow) in [(&all, &t), (&both, &t), (&all, &but_u), (&but_u, &but_both)] {
            assert!(wide.covers(narrow) && !narrow.covers(wide), "{wide:?} {narrow:?}");
        }
        let elsewhere = asked(&[("namespace", &["n"])], &[]);
        for (one, other) in [(&t, &but_u), (&t, &elsewhere)] {
            assert!(!one.covers(other) && !other.covers(one), "{one:?} {other:?}");
        }
        let keyed = Asked { form: BTreeMap::from([("key".to_owned(), "id".to_owned())]), ..Asked::default() };
        assert!(!keyed.covers(&all) && !all.covers(&keyed) && keyed.covers(&keyed));
    }
}
