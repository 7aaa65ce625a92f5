//! A server outside of this process, written and read by plain requests that share no code with the reader under test.

use crate::{
    place::{Living, SERVER_EPOCH_MILLIS, real},
    raw::{Answer, Client, Request},
};
use rekeep::{
    connector::aerospike::info::parse_peers,
    record::{Clock as _, SystemClock, Timestamp},
};
use rekeep_aerospike_server::{
    Digest, Dumped, Seed,
    codes::{field, info1, info2, info3, op},
    partition_of,
    wire::{self, put_frame},
};
use std::{
    collections::{BTreeMap, HashMap},
    net::{SocketAddr, ToSocketAddrs as _},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Writes that are sent before their answers are read.
const IN_FLIGHT: usize = 128;

const NEVER: u32 = 0xffff_ffff;
const AS_IT_IS: u32 = 0xffff_fffe;

/// Tests share the server one after the other.
static TURN: Mutex<()> = Mutex::new(());

pub struct Outside {
    address: String,
    client: Mutex<Client>,
    nodes: Vec<SocketAddr>,
    /// The sets of what was put, which a server wants to hear again.
    sets: Mutex<HashMap<Digest, Vec<u8>>>,
    _turn: MutexGuard<'static, ()>,
}

fn resolve(address: &str) -> SocketAddr {
    address.to_socket_addrs().ok().and_then(|mut all| all.next()).unwrap_or_else(|| {
        panic!("REKEEP_TEST_AEROSPIKE={address}: write HOST:PORT of a server whose test namespaces may be emptied")
    })
}

impl Outside {
    /// Takes the server for a test, and empties these namespaces.
    pub fn empty(address: &str, namespaces: &[String]) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let first = resolve(address);
        let mut client = Client::connect(first);
        let mut nodes = vec![first];
        for peer in parse_peers(&client.info("peers-clear-std")).unwrap() {
            nodes.extend(peer.addresses.first().map(|address| resolve(&address.to_string())));
        }
        let known = client.info("namespaces");
        for namespace in namespaces {
            assert!(known.split(';').any(|name| name == namespace), "{address} has no namespace {namespace}: {known}");
            let emptied = client.info(&format!("truncate-namespace:namespace={namespace}"));
            assert!(emptied.eq_ignore_ascii_case("ok"), "{namespace} could not be emptied: {emptied}");
            for index in client.info(&format!("sindex-list:namespace={namespace}")).split(';') {
                let value = |key: &str| {
                    let pair = index.split(':').find_map(|pair| pair.strip_prefix(key));
                    pair.filter(|value| !value.eq_ignore_ascii_case("null")).map(str::to_owned)
                };
                if let Some(name) = value("indexname=") {
                    let set = value("set=").map_or(String::new(), |set| format!("set={set};"));
                    client.info(&format!("sindex-delete:namespace={namespace};{set}indexname={name}"));
                }
            }
        }
        // What is written in the millisecond of the truncation would go with it.
        std::thread::sleep(Duration::from_millis(20));
        Self { address: address.to_owned(), client: Mutex::new(client), nodes, sets: Mutex::default(), _turn: turn }
    }

    fn client(&self) -> MutexGuard<'_, Client> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The records of these partitions, from whichever node has them.
    fn records(&self, namespace: &str, pids: std::ops::Range<u16>) -> BTreeMap<Vec<u8>, Dumped> {
        static QUERIES: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        let pids: Vec<u8> = pids.flat_map(u16::to_le_bytes).collect();
        let mut all = BTreeMap::new();
        for node in &self.nodes {
            let number = QUERIES.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let id = u64::from(std::process::id()) << 32 | number;
            let query = Request::bare(info1::READ | info1::GET_ALL, 0, info3::PARTITION_DONE)
                .field(field::NAMESPACE, real(namespace).as_bytes())
                .field(field::TRID, &id.to_be_bytes())
                .field(field::PID_ARRAY, &pids);
            let (answers, end) = Client::connect(*node).query(&query);
            assert_eq!(end, Some(0), "{node} did not give out what it holds");
            for answer in
                answers.iter().filter(|answer| answer.result == 0 && answer.info3 & info3::PARTITION_DONE == 0)
            {
                let dumped = dumped(answer);
                all.insert(rekeep::record::Digest(dumped.digest).sort_key().to_vec(), dumped);
            }
        }
        all
    }

    fn command(namespace: &str, digest: &Digest, info2: u8, info3: u8) -> Request {
        Request::bare(0, info2, info3).field(field::NAMESPACE, real(namespace).as_bytes()).field(field::DIGEST, digest)
    }

    /// The request that writes a seed.
    pub fn write(namespace: &str, seed: &Seed) -> Request {
        let parts = seed.parts();
        let mut request = Self::command(namespace, &seed.digest(), info2::WRITE, info3::CREATE_OR_REPLACE)
            .ttl(parts.ttl_seconds.unwrap_or(NEVER));
        if !parts.set.is_empty() {
            request = request.field(field::SET, parts.set);
        }
        if let Some(key) = parts.stored_key {
            request = request.field(field::KEY, key);
        }
        for (name, kind, value) in parts.bins {
            request = request.write(std::str::from_utf8(name).unwrap(), *kind, value);
        }
        request
    }
}

fn dumped(answer: &Answer) -> Dumped {
    let mut bins: Vec<_> =
        answer.ops.iter().map(|(name, kind, value)| (name.clone().into_bytes(), *kind, value.clone())).collect();
    bins.sort();
    Dumped {
        digest: answer.digest(),
        set: answer.field(field::SET).unwrap_or_default().to_vec(),
        key: answer.field(field::KEY).map(<[u8]>::to_vec),
        generation: answer.generation as u16,
        void_time: answer.void_time,
        lut_ms: 0,
        bins,
    }
}

impl Living for Outside {
    fn url(&self) -> String {
        format!("aerospike://{}/{}", self.address, real("test"))
    }

    fn put(&self, namespace: &str, seed: Seed) -> Digest {
        let digest = seed.digest();
        self.put_all(namespace, [seed]);
        digest
    }

    fn try_put(&self, namespace: &str, seed: &Seed) -> u8 {
        self.client().ask(&Self::write(namespace, seed)).result
    }

    fn put_all(&self, namespace: &str, seeds: impl IntoIterator<Item = Seed>) {
        let mut client = self.client();
        let seeds: Vec<Seed> = seeds.into_iter().collect();
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        sets.extend(seeds.iter().map(|seed| (seed.digest(), seed.parts().set.to_vec())));
        drop(sets);
        for some in seeds.chunks(IN_FLIGHT) {
            let mut frames = Vec::new();
            for seed in some {
                put_frame(&mut frames, wire::MESSAGE, &Self::write(namespace, seed).body());
            }
            client.send_raw(&frames);
            for seed in some {
                let answer = crate::raw::messages(&client.receive().unwrap().1).remove(0);
                assert_eq!(
                    answer.result, 0,
                    "{} refuses {seed:?} (a result of 22: the namespace must take records that expire, so set nsup-period)",
                    self.address
                );
            }
        }
    }

    fn get(&self, namespace: &str, digest: &Digest) -> Option<Dumped> {
        let pid = partition_of(digest);
        self.records(namespace, pid..pid + 1).remove(rekeep::record::Digest(*digest).sort_key().as_slice())
    }

    fn delete(&self, namespace: &str, digest: &Digest) -> bool {
        let answer = self.client().ask(&Self::command(namespace, digest, info2::WRITE | info2::DELETE, 0));
        assert!(matches!(answer.result, 0 | 2), "{} does not delete: {answer:?}", self.address);
        answer.result == 0
    }

    fn touch(&self, namespace: &str, digest: &Digest) -> bool {
        let mut touch = Self::command(namespace, digest, info2::WRITE, 0).ttl(AS_IT_IS).op(op::TOUCH, "", 0, &[]);
        let sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(set) = sets.get(digest).filter(|set| !set.is_empty()) {
            touch = touch.field(field::SET, set);
        }
        drop(sets);
        let answer = self.client().ask(&touch);
        assert!(matches!(answer.result, 0 | 2), "{} does not touch: {answer:?}", self.address);
        answer.result == 0
    }

    fn truncate(&self, namespace: &str, set: Option<&str>) {
        let namespace = real(namespace);
        let command = match set {
            Some(set) => format!("truncate:namespace={namespace};set={set}"),
            None => format!("truncate-namespace:namespace={namespace}"),
        };
        let answer = self.client().info(&command);
        assert!(answer.eq_ignore_ascii_case("ok"), "{command}: {answer}");
        std::thread::sleep(Duration::from_millis(20));
    }

    fn dump(&self, namespace: &str) -> Vec<Dumped> {
        self.records(namespace, 0..rekeep_aerospike_server::PARTITIONS).into_values().collect()
    }

    fn info(&self, command: &str) -> String {
        self.client().info(command)
    }

    fn advance(&self, by: Duration) {
        std::thread::sleep(by.min(Duration::from_secs(1)));
    }

    fn now(&self) -> Timestamp {
        let about = self.client().info(&format!("namespace/{}", real("test")));
        let seconds = about.split(';').find_map(|pair| pair.strip_prefix("current_time="));
        // Whole seconds: later by up to one.
        seconds.and_then(|text| text.parse::<i64>().ok()).map_or_else(
            || SystemClock.now(),
            |seconds| Timestamp::from_millis((seconds + 1) * 1000 + SERVER_EPOCH_MILLIS),
        )
    }
}
