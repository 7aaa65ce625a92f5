//! Which node owns which partition, who has a full copy, and what a node's death or arrival does to that. Plain data.

use std::hash::Hasher;

use crate::record::PARTITIONS;

/// One partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partition {
    /// Nodes that are to hold it, master first.
    pub owners: Vec<usize>,
    /// Nodes that have all of it.
    pub full: Vec<usize>,
}

impl Partition {
    /// The node that answers for it: the first owner with a full copy, else any node with one.
    pub fn working_master(&self) -> Option<usize> {
        self.owners.iter().find(|node| self.full.contains(node)).or(self.full.first()).copied()
    }

    /// The nodes by rank, as `replicas` tells them.
    pub fn ranked(&self) -> impl Iterator<Item = usize> {
        let master = self.working_master();
        master.into_iter().chain(self.owners.iter().copied().filter(move |node| Some(*node) != master))
    }

    fn is_migrating(&self) -> bool {
        self.owners.iter().any(|node| !self.full.contains(node))
    }
}

/// The cluster as its members see it.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// The partitions.
    pub partitions: Vec<Partition>,
    /// Moves when ownership does.
    pub partition_generation: u64,
    /// Moves when membership does.
    pub peers_generation: u64,
    /// Moves when membership does.
    pub rebalance_generation: u64,
    /// Changes with membership.
    pub key: u64,
    members: Vec<usize>,
    replication_factor: usize,
    /// By node; empty: none are known.
    racks: Vec<u32>,
}

impl Cluster {
    /// A cluster of the first `nodes` nodes, each partition full where it belongs.
    pub fn new(nodes: usize, replication_factor: usize, racks: &[u32]) -> Self {
        let mut cluster = Self {
            partitions: vec![Partition::default(); usize::from(PARTITIONS)],
            partition_generation: 0,
            peers_generation: 0,
            rebalance_generation: 0,
            key: 0xE2F2_D971_43F2,
            members: (0..nodes).collect(),
            replication_factor: replication_factor.max(1),
            racks: racks.to_vec(),
        };
        cluster.reassign();
        cluster.settle();
        cluster
    }

    /// The nodes that are in.
    pub fn members(&self) -> &[usize] {
        &self.members
    }

    /// The nodes that have all of a partition.
    pub fn holders(&self, pid: u16) -> &[usize] {
        &self.partitions[usize::from(pid)].full
    }

    /// Copies each partition is to have.
    pub fn replication_factor(&self) -> usize {
        self.replication_factor
    }

    /// Copies each partition has.
    pub fn effective_replication_factor(&self) -> usize {
        self.replication_factor.min(self.members.len())
    }

    /// Whether the node can answer a query on the partition.
    pub fn is_full(&self, node: usize, pid: u16) -> bool {
        self.partitions[usize::from(pid)].full.contains(&node)
    }

    /// Takes a node out and returns the partitions whose last full copy went with it. Those come back empty and available:
    /// nothing tells them from partitions that never held a record.
    pub fn remove(&mut self, node: usize) -> Vec<u16> {
        self.members.retain(|member| *member != node);
        let mut lost = Vec::new();
        for (pid, partition) in self.partitions.iter_mut().enumerate() {
            let had = partition.full.contains(&node);
            partition.full.retain(|member| *member != node);
            if had && partition.full.is_empty() {
                lost.push(pid as u16);
            }
        }
        self.reassign();
        for pid in &lost {
            let partition = &mut self.partitions[usize::from(*pid)];
            partition.full.clone_from(&partition.owners);
        }
        self.membership_moved(node as u64 * 2);
        lost
    }

    /// Takes a node in. What it is to own it does not have yet.
    pub fn add(&mut self, node: usize) {
        if !self.members.contains(&node) {
            self.members.push(node);
            self.members.sort_unstable();
        }
        self.reassign();
        self.membership_moved(node as u64 * 2 + 1);
    }

    /// Completes the migration of up to `n` partitions and returns how many are still under way.
    pub fn migrate(&mut self, n: usize) -> usize {
        let mut moved = 0;
        for partition in self.partitions.iter_mut().filter(|p| p.is_migrating()).take(n) {
            partition.full.clone_from(&partition.owners);
            moved += 1;
        }
        if moved > 0 {
            self.partition_generation += 1;
        }
        self.migrations_left()
    }

    /// Partitions with an owner that does not have them yet.
    pub fn migrations_left(&self) -> usize {
        self.partitions.iter().filter(|partition| partition.is_migrating()).count()
    }

    fn settle(&mut self) {
        for partition in &mut self.partitions {
            partition.full.clone_from(&partition.owners);
        }
    }

    fn membership_moved(&mut self, salt: u64) {
        self.partition_generation += 1;
        self.peers_generation += 1;
        self.rebalance_generation += 1;
        self.key = mix(self.key ^ salt ^ (self.peers_generation << 32)) >> 16;
    }

    fn reassign(&mut self) {
        let copies = self.effective_replication_factor();
        for (pid, partition) in self.partitions.iter_mut().enumerate() {
            let mut succession = self.members.clone();
            succession.sort_by_key(|node| mix(((*node as u64) << 32) | pid as u64));
            spread(&mut succession, &self.racks);
            succession.truncate(copies);
            partition.owners = succession;
        }
    }
}

/// Brings a node of each rack to the front, in their order.
fn spread(succession: &mut Vec<usize>, racks: &[u32]) {
    let mut seen = Vec::new();
    let (first, rest): (Vec<usize>, Vec<usize>) = succession.iter().partition(|node| match racks.get(**node) {
        Some(rack) if seen.contains(rack) => false,
        Some(rack) => {
            seen.push(*rack);
            true
        }
        None => true,
    });
    *succession = [first, rest].concat();
}

fn mix(seed: u64) -> u64 {
    // The keys of the default hasher are fixed, so the map is the same in every run.
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write_u64(seed);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losing_as_many_nodes_as_there_are_copies_leaves_every_partition_full_and_names_the_lost_ones() {
        let mut cluster = Cluster::new(2, 1, &[]);
        let held = cluster.partitions.iter().filter(|p| p.full == [1]).count();
        let lost = cluster.remove(1);
        assert_eq!(lost.len(), held);
        assert!((1500..2600).contains(&held), "{held}");
        assert!((0..PARTITIONS).all(|pid| cluster.is_full(0, pid)));
        assert_eq!((cluster.partition_generation, cluster.peers_generation, cluster.migrations_left()), (1, 1, 0));
    }

    #[test]
    fn with_two_copies_one_death_loses_nothing() {
        let mut cluster = Cluster::new(3, 2, &[]);
        assert_eq!(cluster.remove(2), Vec::<u16>::new());
        assert!(cluster.partitions.iter().all(|p| p.working_master().is_some()));
    }

    #[test]
    fn a_node_that_joins_serves_a_partition_only_after_its_migration() {
        let mut cluster = Cluster::new(1, 1, &[]);
        cluster.add(1);
        let left = cluster.migrations_left();
        assert!(left > 1500, "{left}");
        assert!((0..PARTITIONS).all(|pid| cluster.is_full(0, pid) && !cluster.is_full(1, pid)));
        assert_eq!(cluster.migrate(100), left - 100);
        assert_eq!(cluster.migrate(usize::MAX), 0);
        assert!((0..PARTITIONS).all(|pid| cluster.is_full(0, pid) != cluster.is_full(1, pid)));
    }

    #[test]
    fn copies_stand_in_different_racks() {
        let racks = [1, 1, 2, 2];
        let cluster = Cluster::new(4, 2, &racks);
        for partition in &cluster.partitions {
            let [one, other] = partition.owners[..] else { panic!("two copies") };
            assert_ne!(racks[one], racks[other]);
        }
    }
}
