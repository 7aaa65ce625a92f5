//! Info commands: questions and answers in text, and the values of those that a reader asks.

use super::options::Address;
use crate::record::digest::PARTITIONS;
use data_encoding::BASE64;

/// The answers to a request, in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers {
    lines: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Answers {
    /// Takes an answer's body apart. Lines without a tab are commands without a value.
    #[must_use]
    pub fn parse(body: &[u8]) -> Self {
        let split = |line: &[u8]| match line.iter().position(|byte| *byte == b'\t') {
            Some(at) => (line[..at].to_vec(), line[at + 1..].to_vec()),
            None => (line.to_vec(), Vec::new()),
        };
        let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(split).collect();
        Self { lines }
    }

    /// The bytes that a command was answered with.
    #[must_use]
    pub fn bytes(&self, command: &str) -> Option<&[u8]> {
        self.lines.iter().find(|(asked, _)| asked == command.as_bytes()).map(|(_, value)| value.as_slice())
    }

    /// The text that a command was answered with.
    #[must_use]
    pub fn text(&self, command: &str) -> Option<&str> {
        std::str::from_utf8(self.bytes(command)?).ok()
    }
}

/// Whether an answer says that the command failed, and how: `ERROR:4:…`, `FAIL:4:…`, `error=…`.
#[must_use]
pub fn failure(answer: &str) -> Option<&str> {
    let lower = answer.get(..6.min(answer.len())).unwrap_or_default().to_ascii_lowercase();
    (lower.starts_with("error") || lower.starts_with("fail")).then_some(answer)
}

/// The value of `key` in `a=1;b=2` (or with another separator).
#[must_use]
pub fn value_of<'a>(list: &'a str, separator: char, key: &str) -> Option<&'a str> {
    list.split(separator).find_map(|pair| pair.split_once('=').filter(|(name, _)| *name == key).map(|(_, value)| value))
}

/// A node as its peers know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its id.
    pub id: String,
    /// The name its certificate bears, empty for none.
    pub tls_name: String,
    /// Where it listens.
    pub addresses: Vec<Address>,
}

/// Reads `peers-clear-std` and its kin: `generation,port,[[ID,tls,[host:port,host]],…]`.
#[must_use]
pub fn parse_peers(text: &str) -> Option<Vec<Peer>> {
    let (_, rest) = text.split_once(',')?;
    let (port, rest) = rest.split_once(',')?;
    let port = if port.is_empty() { super::options::DEFAULT_PORT } else { port.parse().ok()? };
    let mut rest = rest.trim().strip_prefix('[')?.strip_suffix(']')?;
    let mut peers = Vec::new();
    while !rest.is_empty() {
        let body = rest.strip_prefix('[')?;
        let (id, body) = body.split_once(',')?;
        let (tls_name, body) = body.split_once(',')?;
        let body = body.strip_prefix('[')?;
        // The list of addresses ends where its bracket and the peer's close; IPv6 addresses have brackets of their own.
        let (addresses, after) = body.split_once("]]").map(|(list, after)| {
            let closes_v6 = list.rsplit(',').next().is_some_and(|last| last.starts_with('['));
            if closes_v6 && !after.is_empty() && after.starts_with(']') {
                (&body[..=list.len()], &after[1..])
            } else {
                (list, after)
            }
        })?;
        let addresses: Option<Vec<Address>> =
            addresses.split(',').filter(|text| !text.is_empty()).map(|text| Address::parse(text, port)).collect();
        peers.push(Peer { id: id.to_owned(), tls_name: tls_name.to_owned(), addresses: addresses? });
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    Some(peers)
}

/// What a node says of the partitions of one namespace that it masters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mastered {
    /// The namespace.
    pub namespace: String,
    /// The regime: 0 without strong consistency; a higher one is newer.
    pub regime: u64,
    /// Copies of each partition.
    pub replicas: u32,
    bitmap: Vec<u8>,
    /// Those of the other copies, by rank.
    others: Vec<Vec<u8>>,
}

fn is_in(bitmap: &[u8], pid: u16) -> bool {
    bitmap.get(usize::from(pid >> 3)).is_some_and(|byte| byte & (0x80 >> (pid & 7)) != 0)
}

impl Mastered {
    /// Whether the node masters partition `pid`.
    #[must_use]
    pub fn has(&self, pid: u16) -> bool {
        is_in(&self.bitmap, pid)
    }

    /// Which copy of partition `pid` the node has beside the master's, counted from 1, if one.
    #[must_use]
    pub fn has_copy(&self, pid: u16) -> Option<usize> {
        self.others.iter().position(|bitmap| is_in(bitmap, pid)).map(|at| at + 1)
    }
}

/// Reads `rack-ids`: `ns:rack;…`. What is no number is left out.
#[must_use]
pub fn parse_racks(text: &str) -> Option<Vec<(String, u32)>> {
    if failure(text).is_some() {
        return None;
    }
    let pairs = text.split(';').filter_map(|pair| pair.rsplit_once(':'));
    Some(pairs.filter_map(|(namespace, rack)| Some((namespace.to_owned(), rack.parse().ok()?))).collect())
}

/// Reads `replicas`: `ns:regime,copies,bitmap[,bitmap…];…`.
#[must_use]
pub fn parse_replicas(text: &str) -> Option<Vec<Mastered>> {
    let mut all = Vec::new();
    for part in text.split(';').filter(|part| !part.is_empty()) {
        let (namespace, rest) = part.split_once(':')?;
        let mut items = rest.split(',');
        let regime = items.next()?.parse().ok()?;
        let replicas = items.next()?.parse().ok()?;
        let bitmap = match items.next() {
            Some(bitmap) => BASE64.decode(bitmap.as_bytes()).ok()?,
            None => Vec::new(),
        };
        if !bitmap.is_empty() && bitmap.len() != usize::from(PARTITIONS) / 8 {
            return None;
        }
        // One of a further copy that is none only means that nothing is read from it.
        let others = items.map(|text| BASE64.decode(text.as_bytes()).unwrap_or_default()).collect();
        all.push(Mastered { namespace: namespace.to_owned(), regime, replicas, bitmap, others });
    }
    Some(all)
}

/// What `query-show` says of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryCounts {
    /// Whether it is over.
    pub done: bool,
    /// Records sent.
    pub succeeded: u64,
    /// Records that could not be read.
    pub failed: u64,
}

/// Reads `query-show:trid=…`.
#[must_use]
pub fn parse_query_show(text: &str) -> Option<QueryCounts> {
    let number = |key: &str| value_of(text, ':', key)?.trim_end_matches(';').parse().ok();
    Some(QueryCounts {
        done: value_of(text, ':', "status")?.starts_with("done"),
        succeeded: number("recs-succeeded")?,
        failed: number("recs-failed")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_with_names_ports_and_ipv6_are_read() {
        assert_eq!(parse_peers("0,3000,[]"), Some(vec![]));
        let peers = parse_peers("7,3000,[[A1,,[10.0.0.1:3100,h]],[B2,tls,[[::1]:3200]],[C3,,[[fe80::2]]]]").unwrap();
        let shown: Vec<String> = peers
            .iter()
            .map(|peer| {
                let all: Vec<String> = peer.addresses.iter().map(Address::to_string).collect();
                format!("{}/{}/{}", peer.id, peer.tls_name, all.join("+"))
            })
            .collect();
        assert_eq!(shown, ["A1//10.0.0.1:3100+h:3000", "B2/tls/[::1]:3200", "C3//[fe80::2]:3000"]);
        for bad in ["", "1", "1,x,[]", "1,3000,[[A1]]", "1,3000,[[A1,,[a:b]]]", "1,3000,["] {
            assert_eq!(parse_peers(bad), None, "{bad}");
        }
    }

    #[test]
    fn bitmaps_say_which_partitions_a_node_masters() {
        let mut bitmap = vec![0u8; 512];
        bitmap[0] = 0x80;
        bitmap[511] = 0x01;
        let text = format!("a:0,1,{};b:3,2,{},{}", BASE64.encode(&bitmap), BASE64.encode(&bitmap), "x");
        let all = parse_replicas(&text).unwrap();
        assert!(all[0].has(0) && all[0].has(4095) && !all[0].has(1) && !all[0].has(u16::MAX));
        assert_eq!((all[1].regime, all[1].replicas), (3, 2));
        let two = parse_replicas(&format!("a:0,2,{},{}", BASE64.encode(&[0; 512]), BASE64.encode(&bitmap))).unwrap();
        assert_eq!((two[0].has(0), two[0].has_copy(0), two[0].has_copy(1)), (false, Some(1), None));
        assert_eq!(parse_racks("a:1;b:20;c:x"), Some(vec![("a".to_owned(), 1), ("b".to_owned(), 20)]));
        assert_eq!((parse_racks("ERROR:25:enterprise only"), parse_racks("")), (None, Some(vec![])));
        for bad in ["a", "a:", "a:0,1,AAAA", "a:x,1", "a:0,1,?"] {
            assert_eq!(parse_replicas(bad), None, "{bad}");
        }
    }

    #[test]
    fn counts_of_queries_are_read() {
        let text = "trid=5:job-type=basic:ns=t:status=done(ok):recs-succeeded=12:recs-failed=1:run-time=3;";
        assert_eq!(parse_query_show(text), Some(QueryCounts { done: true, succeeded: 12, failed: 1 }));
        assert_eq!(parse_query_show("ERROR:22:forbidden"), None);
        assert_eq!(failure("ERROR:22:forbidden"), Some("ERROR:22:forbidden"));
        assert_eq!(failure("error=not_found"), Some("error=not_found"));
        assert_eq!(failure("ok"), None);
    }
}
