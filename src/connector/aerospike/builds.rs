//! What servers of which build can do, so that one that is too old is told by name instead of by a strange result.

use super::{cluster::Cluster, error::Error, options::AerospikeOptions};

/// A build by its first three numbers.
pub(super) type Build = [u32; 3];

/// Queries that give out whole partitions, and say which they could not.
const PARTITION_QUERIES: Build = [4, 9, 0];

/// Filter expressions: what was updated when, several sets, what never expires.
const EXPRESSIONS: Build = [5, 2, 0];

/// The numbers of `8.1.2.0`; `None` if it has none, which is taken for a build of today.
pub(super) fn parse(text: &str) -> Option<Build> {
    let mut numbers = text.split(['.', '-']).map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some([next()?, next()?, next().unwrap_or(0)])
}

fn shown(build: Build) -> String {
    format!("{}.{}", build[0], build[1])
}

/// The oldest node: its id and its build, if one is older than this.
fn older_than(cluster: &Cluster, least: Build) -> Option<(String, String)> {
    let nodes = cluster.nodes();
    let old = nodes.iter().filter(|node| parse(&node.build).is_some_and(|build| build < least));
    old.min_by_key(|node| parse(&node.build)).map(|node| (node.id.clone(), node.build.clone()))
}

/// Whether every node can tell what was updated since a time.
pub(super) fn has_change_filter(cluster: &Cluster) -> bool {
    older_than(cluster, EXPRESSIONS).is_none()
}

/// Says which node is too old for what is asked, and since which build servers can do it.
pub(super) fn check(cluster: &Cluster, options: &AerospikeOptions) -> Result<(), Error> {
    let too_old = |(node, build): (String, String), what: &str, since: Build| {
        Err(Error::TooOld(format!("node {node} runs server {build}: {what} since {}", shown(since))))
    };
    if let Some(old) = older_than(cluster, PARTITION_QUERIES) {
        return too_old(old, "servers give out partitions one by one, which a backup needs,", PARTITION_QUERIES);
    }
    let many_sets = options.sets.len() > 1 || options.sets.iter().any(String::is_empty);
    let asked = [
        (many_sets, "reading several sets, or the null set,"),
        (options.modified_after.is_some(), "a lower bound of update times"),
        (options.modified_before.is_some(), "an upper bound of update times"),
        (options.no_ttl_only, "choosing records without expiry"),
        (options.filter.is_some(), "a filter"),
    ];
    match (asked.iter().find(|(is_asked, _)| *is_asked), older_than(cluster, EXPRESSIONS)) {
        (Some((_, option)), Some(old)) => {
            too_old(old, &format!("{option} needs filter expressions, which servers have"), EXPRESSIONS)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_are_compared_by_their_numbers() {
        assert_eq!(parse("8.1.2.0"), Some([8, 1, 2]));
        assert_eq!(parse("6.4.0.1-rc2"), Some([6, 4, 0]));
        assert_eq!(parse("5.2"), Some([5, 2, 0]));
        assert!(parse("4.9.0.3") < Some(EXPRESSIONS) && parse("10.0.0.0") > Some(EXPRESSIONS));
        for odd in ["", "x", "8", "eight.one"] {
            assert_eq!(parse(odd), None, "{odd}");
        }
    }
}
