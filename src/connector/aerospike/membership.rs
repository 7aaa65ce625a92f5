//! Who belongs to a cluster, by each node's own word, and what became of them since. What a cluster lost it serves as empty,
//! complete and available: its key, its size and when its nodes started are all that tells (`format-spec/aerospike.md`).

use std::{
    collections::BTreeMap,
    sync::LazyLock,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// Milliseconds by which two observations of a node's start may differ: nodes tell whole seconds.
const START_TOLERANCE_MILLIS: i64 = 3_000;

/// The host's clock when first asked, and a clock that no one sets.
static BASE: LazyLock<(i64, Instant)> = LazyLock::new(|| {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    (unix, Instant::now())
});

/// When a node started, in milliseconds of Unix time by this host, from the seconds that it says it has been up.
pub(super) fn started_millis(uptime_seconds: i64) -> i64 {
    let (unix, base) = *BASE;
    unix + base.elapsed().as_millis() as i64 - uptime_seconds.saturating_mul(1000)
}

/// What one node says of the cluster, and of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct NodeView {
    pub(super) cluster_key: String,
    pub(super) cluster_size: String,
    /// When it started; `None` if it does not tell, or tells no number of seconds.
    pub(super) started_millis: Option<i64>,
}

impl NodeView {
    /// What it does not tell of what shows that a cluster stood still, or tells nonsense of.
    fn untold(&self) -> Option<&'static str> {
        let is_key = u64::from_str_radix(&self.cluster_key, 16).is_ok_and(|key| key != 0);
        match (is_key, self.cluster_size.parse::<u32>(), self.started_millis) {
            (false, ..) => Some("cluster_key"),
            (_, Err(_), _) => Some("cluster_size"),
            (.., None) => Some("uptime"),
            _ => None,
        }
    }

    /// Whether the node has started since it was seen like that.
    pub(super) fn restarted_since(&self, before_millis: Option<i64>) -> bool {
        let known = self.started_millis.zip(before_millis);
        known.is_some_and(|(now, before)| now > before + START_TOLERANCE_MILLIS)
    }
}

/// Who was in the cluster, by each node's own word.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Membership {
    pub(super) nodes: BTreeMap<String, NodeView>,
    /// Nodes that others name and that do not answer.
    pub(super) silent: usize,
}

/// Nodes with what they had, as far as anybody can tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) gone: Vec<String>,
    pub(super) restarted: Vec<String>,
}

impl Lost {
    pub(super) fn count(&self) -> usize {
        self.gone.len() + self.restarted.len()
    }

    /// `node A is gone, node B restarted`.
    pub(super) fn in_words(&self) -> String {
        let named = |ids: &[String], one: &str, many: &str| match ids {
            [] => None,
            [id] => Some(format!("node {id} {one}")),
            ids => Some(format!("nodes {} {many}", ids.join(", "))),
        };
        let parts = [named(&self.gone, "is gone", "are gone"), named(&self.restarted, "restarted", "restarted")];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

impl Membership {
    /// Why the nodes that answer are not one whole cluster, if so.
    pub(super) fn split(&self) -> Option<String> {
        let mut clusters: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (id, view) in self.nodes.iter().filter(|(_, view)| !view.cluster_key.is_empty()) {
            clusters.entry(&view.cluster_key).or_default().push(id);
        }
        if clusters.len() > 1 {
            let sides: Vec<String> = clusters.iter().map(|(key, ids)| format!("{} of {key}", ids.join(", "))).collect();
            return Some(format!(
                "the cluster is split: its nodes tell of {} clusters ({}), and each has what the other does not know",
                sides.len(),
                sides.join("; ")
            ));
        }
        let found = self.nodes.len();
        let other = |view: &NodeView| {
            view.cluster_size.parse::<usize>().ok().filter(|size| *size != found && *size != found + self.silent)
        };
        self.nodes.iter().find_map(|(id, view)| {
            let size = other(view)?;
            Some(format!("node {id} tells of a cluster of {size} nodes, and {found} were found"))
        })
    }

    /// Why these nodes cannot show whether the cluster stood still, if so.
    pub(super) fn untold(&self) -> Option<String> {
        let of = |(id, view): (&String, &NodeView)| {
            let what = view.untold()?;
            Some(format!(
                "node {id} does not tell its `{what}`, so that nobody can say whether the cluster stood still"
            ))
        };
        self.nodes.iter().find_map(of)
    }

    /// Whether anybody came, went, or started since, or the cluster formed anew.
    pub(super) fn moved_since(&self, before: &Self) -> bool {
        let mut pairs = self.nodes.iter().zip(&before.nodes);
        self.nodes.len() != before.nodes.len()
            || pairs.any(|((id, now), (same, then))| {
                id != same
                    || now.cluster_key != then.cluster_key
                    || now.cluster_size != then.cluster_size
                    || now.restarted_since(then.started_millis)
            })
    }

    /// Which nodes of then are gone, or have started since.
    pub(super) fn lost_since(&self, before: &Self) -> Lost {
        let starts = before.nodes.iter().map(|(id, view)| (id.clone(), view.started_millis));
        self.lost_of(&starts.collect())
    }

    /// As [`Self::lost_since`], of nodes and when each had started.
    pub(super) fn lost_of(&self, before: &BTreeMap<String, Option<i64>>) -> Lost {
        let mut lost = Lost::default();
        for (id, started) in before {
            match self.nodes.get(id) {
                None => lost.gone.push(id.clone()),
                Some(now) if now.restarted_since(*started) => lost.restarted.push(id.clone()),
                Some(_) => {}
            }
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(nodes: &[(&str, &str, i64)]) -> Membership {
        let view = |key: &str, started| NodeView {
            cluster_key: key.to_owned(),
            cluster_size: nodes.len().to_string(),
            started_millis: Some(started),
        };
        let nodes = nodes.iter().map(|(id, key, started)| ((*id).to_owned(), view(key, *started))).collect();
        Membership { nodes, silent: 0 }
    }

    #[test]
    fn a_cluster_that_formed_anew_lost_or_restarted_a_node_has_moved() {
        let before = cluster(&[("a", "k", 0), ("b", "k", 0)]);
        assert!(!cluster(&[("a", "k", 900), ("b", "k", -900)]).moved_since(&before), "seconds are told");
        for (now, lost) in [
            (cluster(&[("a", "l", 0), ("b", "l", 0)]), ""),
            (cluster(&[("a", "l", 0)]), "node b is gone"),
            (cluster(&[("a", "k", 0), ("b", "k", 9_000)]), "node b restarted"),
            (cluster(&[("b", "k", 9_000), ("c", "k", 0)]), "node a is gone, node b restarted"),
        ] {
            assert!(now.moved_since(&before));
            assert_eq!(now.lost_since(&before).in_words(), lost);
        }
    }

    #[test]
    fn nodes_that_tell_of_several_clusters_or_of_others_are_no_whole_one() {
        assert_eq!(cluster(&[("a", "k", 0), ("b", "k", 0)]).split(), None);
        assert!(cluster(&[("a", "k", 0), ("b", "l", 0)]).split().unwrap().contains("a of k; b of l"));
        let mut half = cluster(&[("a", "k", 0), ("b", "k", 0)]);
        half.nodes.remove("b");
        assert!(half.split().unwrap().contains("2 nodes, and 1 were found"));
        half.silent = 1;
        assert_eq!(half.split(), None, "the other one is known, and does not answer");
        let mut odd = cluster(&[("a", "", 0), ("b", "k", 0)]);
        odd.nodes.values_mut().for_each(|view| view.cluster_size = "many".to_owned());
        assert_eq!(odd.split(), None, "who does not tell is no other cluster");
        assert!(odd.untold().unwrap().contains("node a does not tell its `cluster_key`"));
    }

    #[test]
    fn who_does_not_tell_what_shows_it_cannot_have_stood_still() {
        let whole = || cluster(&[("a", "9F0C", 0), ("b", "9F0C", 0)]);
        assert_eq!(whole().untold(), None);
        let spoilt = |spoil: fn(&mut NodeView)| {
            let mut odd = whole();
            spoil(odd.nodes.get_mut("b").unwrap());
            odd.untold().unwrap_or_default()
        };
        for key in ["", "0", "none", "9F0C9F0C9F0C9F0C9F0C"] {
            let mut odd = whole();
            odd.nodes.get_mut("b").unwrap().cluster_key = key.to_owned();
            assert!(odd.untold().unwrap().contains("node b does not tell its `cluster_key`"), "{key}");
        }
        assert!(spoilt(|view| view.cluster_size = String::new()).contains("`cluster_size`"));
        assert!(spoilt(|view| view.cluster_size = "many".to_owned()).contains("`cluster_size`"));
        assert!(spoilt(|view| view.started_millis = None).contains("`uptime`"));
    }
}
