//! Shipping by XDR, as far as a receiver can tell: data centers of connectors, records of before, retries, copies sent twice,
//! the newest version of each record in no order across records and in order within one. Community Edition has none of it.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::codes::{field, op};
use crate::record::{Place, Record};
use crate::server::{Shared, lock};
use crate::store::Namespace;
use crate::wire::{put_field, put_request_op};

/// How long a node waits when it has nothing to ship, or nobody to ship to.
const PAUSE: Duration = Duration::from_millis(3);
/// Records shipped before their answers are waited for.
const ROUND: usize = 500;
/// Connections that a node ships by.
const CONNECTIONS: usize = 2;

const WRITE: u8 = 0x01;
const DELETE: u8 = 0x02;
const REPLACE: u8 = 0x10;
const XDR: u8 = 0x10;
const FIELD_UPDATED: u8 = 14;

/// What nodes know of shipping.
#[derive(Default)]
pub(crate) struct Xdr {
    /// By node and name.
    pub(crate) centers: Mutex<BTreeMap<(usize, String), Arc<Center>>>,
    /// Nodes that hold up the writes of transactions.
    pub(crate) held: Mutex<Vec<usize>>,
    /// Every order that was taken, by node.
    pub(crate) orders: Mutex<Vec<(usize, String)>>,
    /// Whether everything is shipped twice.
    pub(crate) twice: AtomicBool,
    /// Whether nothing is shipped.
    pub(crate) mute: AtomicBool,
    /// Whether nodes say that nothing is to be recovered, as those that have not counted yet.
    pub(crate) uncounted: AtomicBool,
    /// An order with these words in it finds that its node has restarted, so many times.
    pub(crate) restarts_at: Mutex<Option<(String, usize)>>,
    /// An order with these words in it is refused.
    pub(crate) refuses: Mutex<Option<String>>,
    /// Answers by result: done, again.
    pub(crate) done: AtomicU64,
    pub(crate) again: AtomicU64,
}

/// A data center on one node.
#[derive(Default)]
pub(crate) struct Center {
    pub(crate) is_connector: AtomicBool,
    pub(crate) address: Mutex<Option<String>>,
    pub(crate) namespace: Mutex<Option<String>>,
    /// What was updated before is not shipped; ms since 2010.
    from_ms: AtomicU64,
    shipped: Mutex<HashMap<Place, (u64, u16)>>,
    pub(crate) is_recovered: AtomicBool,
    /// Seconds since the oldest change was made that is not acknowledged; 0 if there is none.
    pub(crate) lag: AtomicU64,
    pub(crate) stop: AtomicBool,
}

impl Shared {
    /// A node that ends forgets what it was told while it ran.
    pub(crate) fn forget_centers(&self, node: usize) {
        lock(&self.xdr.centers).retain(|(on, _), center| {
            if *on == node {
                center.stop.store(true, Ordering::SeqCst);
            }
            *on != node
        });
        lock(&self.xdr.held).retain(|on| *on != node);
    }
}

/// Begins to ship.
pub(crate) fn begin(shared: &Arc<Shared>, node: usize, center: &Arc<Center>, from_ms: u64) {
    center.from_ms.store(from_ms, Ordering::SeqCst);
    let (weak, center) = (Arc::downgrade(shared), Arc::clone(center));
    std::thread::spawn(move || {
        let mut lanes: Vec<Option<TcpStream>> = (0..CONNECTIONS).map(|_| None).collect();
        while let Some(shared) = weak.upgrade() {
            if center.stop.load(Ordering::SeqCst) || !shared.is_alive(node) {
                return;
            }
            if shared.xdr.mute.load(Ordering::SeqCst) {
                drop(shared);
                std::thread::sleep(PAUSE);
                continue;
            }
            let due = due(&shared, node, &center);
            let now = shared.now_ms(node).max(0) as u64;
            let lag = due.iter().map(|it| now.saturating_sub(it.version.0) / 1000 + 1).max();
            center.lag.store(lag.unwrap_or(0), Ordering::SeqCst);
            if due.is_empty() {
                center.is_recovered.store(true, Ordering::SeqCst);
            }
            let shipped = !due.is_empty() && ship(&shared, &center, &mut lanes, &due).is_ok();
            if !shipped && !due.is_empty() {
                lanes.fill_with(|| None);
            }
            drop(shared);
            std::thread::sleep(PAUSE);
        }
    });
}

/// A change to be shipped.
struct Due {
    place: Place,
    version: (u64, u16),
    body: Vec<u8>,
}

/// What the node masters and has not shipped, in no order.
fn due(shared: &Shared, node: usize, center: &Center) -> Vec<Due> {
    let Some(name) = lock(&center.namespace).clone() else { return Vec::new() };
    let Some(namespace) = shared.namespace(name.as_bytes()) else { return Vec::new() };
    let namespace = namespace.read().unwrap_or_else(PoisonError::into_inner);
    let cluster = shared.cluster();
    let shipped = lock(&center.shipped);
    let from = center.from_ms.load(Ordering::SeqCst);
    let is_due = |place: &Place, version: (u64, u16)| {
        let is_ours = cluster.partitions[usize::from(place.partition())].working_master() == Some(node);
        is_ours && version.0 >= from && shipped.get(place).is_none_or(|last| *last != version)
    };
    let now_ms = shared.now_ms(node);
    let mut due: Vec<Due> = Vec::new();
    for (place, record) in &namespace.records {
        let version = (record.lut_ms, record.generation);
        if is_due(place, version) {
            due.push(Due { place: *place, version, body: put_body(&namespace, &name, place, record, now_ms) });
        }
        if due.len() >= ROUND {
            break;
        }
    }
    for (place, version) in &namespace.tombstones {
        if due.len() < ROUND && !namespace.records.contains_key(place) && is_due(place, *version) {
            due.push(Due { place: *place, version: *version, body: delete_body(&name, place, *version) });
        }
    }
    due.reverse();
    due
}

fn head(out: &mut Vec<u8>, info2: u8, info3: u8, generation: u16, ttl: u32, fields: u16, ops: u16) {
    out.extend_from_slice(&[22, XDR, info2, info3, 0, 0]);
    out.extend_from_slice(&u32::from(generation).to_be_bytes());
    out.extend_from_slice(&ttl.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&fields.to_be_bytes());
    out.extend_from_slice(&ops.to_be_bytes());
}

fn put_body(namespace: &Namespace, name: &str, place: &Place, record: &Record, now_ms: i64) -> Vec<u8> {
    let mut out = Vec::new();
    let set = namespace.set_name(record.set_id);
    let left = match record.void_time {
        0 => u32::MAX,
        over => over.saturating_sub((now_ms / 1000).max(0) as u32).max(1),
    };
    let fields = 3 + u16::from(!set.is_empty()) + u16::from(record.key.is_some());
    head(&mut out, WRITE, REPLACE, record.generation, left, fields, record.n_bins);
    put_field(&mut out, field::NAMESPACE, name.as_bytes());
    put_field(&mut out, field::DIGEST, &place.digest());
    if !set.is_empty() {
        put_field(&mut out, field::SET, set);
    }
    if let Some(key) = &record.key {
        put_field(&mut out, field::KEY, key);
    }
    put_field(&mut out, FIELD_UPDATED, &record.lut_ms.to_be_bytes());
    for bin in record.bins() {
        put_request_op(&mut out, op::WRITE, &bin.name, bin.particle, &bin.value);
    }
    out
}

fn delete_body(name: &str, place: &Place, (lut_ms, generation): (u64, u16)) -> Vec<u8> {
    let mut out = Vec::new();
    head(&mut out, WRITE | DELETE, 0, generation, 0, 3, 0);
    put_field(&mut out, field::NAMESPACE, name.as_bytes());
    put_field(&mut out, field::DIGEST, &place.digest());
    put_field(&mut out, FIELD_UPDATED, &lut_ms.to_be_bytes());
    out
}

/// Ships a round and takes the answers.
fn ship(shared: &Shared, center: &Center, lanes: &mut [Option<TcpStream>], due: &[Due]) -> io::Result<()> {
    let address = lock(&center.address).clone().unwrap_or_default();
    let copies = 1 + usize::from(shared.xdr.twice.load(Ordering::SeqCst));
    let count = lanes.len();
    for (number, lane) in lanes.iter_mut().enumerate() {
        // A record always takes the same way, so that its versions stay in order.
        let own = due.iter().filter(|it| usize::from(it.place.partition()) % count == number);
        let own: Vec<&Due> = own.flat_map(|it| std::iter::repeat_n(it, copies)).collect();
        if own.is_empty() {
            continue;
        }
        let stream = match lane {
            Some(stream) => stream,
            none => {
                let stream = TcpStream::connect(&address)?;
                stream.set_read_timeout(Some(Duration::from_secs(20)))?;
                none.insert(stream)
            }
        };
        let mut bytes = Vec::new();
        for it in &own {
            crate::wire::put_frame(&mut bytes, 3, &it.body);
        }
        stream.write_all(&bytes)?;
        for it in own {
            let mut answer = [0; 30];
            stream.read_exact(&mut answer)?;
            if answer[..8] != [2, 3, 0, 0, 0, 0, 0, 22] {
                return Err(io::ErrorKind::InvalidData.into());
            }
            match answer[13] {
                0 => {
                    lock(&center.shipped).insert(it.place, it.version);
                    shared.xdr.done.fetch_add(1, Ordering::SeqCst);
                }
                _ => {
                    shared.xdr.again.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
    }
    Ok(())
}
