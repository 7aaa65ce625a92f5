//! What servers of which build can do, so that one that is too old is told by name instead of by a strange result.

use super::{cluster::Cluster, error::Error};

/// A build by its first three numbers.
pub(super) type Build = [u32; 3];

/// The oldest that is read and written: before it a batch's first row means something else, and the queries that give out
/// partitions are others.
const LEAST: Build = [6, 0, 0];

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

/// Says which node is too old, and since which build servers are read and written.
pub(super) fn check(cluster: &Cluster) -> Result<(), Error> {
    match older_than(cluster, LEAST) {
        Some((node, build)) => Err(Error::TooOld(format!(
            "node {node} runs server {build}: servers are read and written from {} on",
            shown(LEAST)
        ))),
        None => Ok(()),
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
        assert!(parse("5.7.0.31") < Some(LEAST) && parse("6.0.0.0") >= Some(LEAST) && parse("10.0.0.0") > Some(LEAST));
        for odd in ["", "x", "8", "eight.one"] {
            assert_eq!(parse(odd), None, "{odd}");
        }
    }
}
