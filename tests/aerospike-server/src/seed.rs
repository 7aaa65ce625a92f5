//! Records as tests put them in and look at them: whole, with generation and times, past every policy.

use crate::codes::particle;
use crate::record::{Bin, Digest, Place, Record, digest_of, encode_bins};
use crate::store::Namespace;

/// A record to be put in. What is not said: no set, no stored key, generation 1, never expires, updated now.
#[derive(Clone, Debug, Default)]
pub struct Seed {
    set: Vec<u8>,
    key: Option<Vec<u8>>,
    stores_key: bool,
    digest: Option<Digest>,
    bins: Vec<(Vec<u8>, u8, Vec<u8>)>,
    generation: Option<u16>,
    void_time: u32,
    ttl_seconds: Option<u32>,
    lut_ms: Option<u64>,
}

impl Seed {
    /// A record with this user key: particle type and bytes.
    pub fn with_key(kind: u8, key: &[u8]) -> Self {
        let mut bytes = vec![kind];
        bytes.extend_from_slice(key);
        Self { key: Some(bytes), ..Self::default() }
    }

    /// A record with an integer key.
    pub fn int(key: i64) -> Self {
        Self::with_key(particle::INTEGER, &key.to_be_bytes())
    }

    /// A record with a string key.
    pub fn string(key: &str) -> Self {
        Self::with_key(particle::STRING, key.as_bytes())
    }

    /// A record with this digest, whatever its key would give.
    pub fn with_digest(digest: Digest) -> Self {
        Self { digest: Some(digest), ..Self::default() }
    }

    /// Gives it this digest, whatever its key would give.
    #[must_use]
    pub fn digest_is(mut self, digest: Digest) -> Self {
        self.digest = Some(digest);
        self
    }

    /// Puts it into a set.
    #[must_use]
    pub fn set(mut self, set: &str) -> Self {
        self.set = set.as_bytes().to_vec();
        self
    }

    /// Stores the user key with it.
    #[must_use]
    pub fn stores_key(mut self) -> Self {
        self.stores_key = true;
        self
    }

    /// Stores this user key, particle type first, which need not belong to the digest.
    #[must_use]
    pub fn stored_key_is(mut self, key: &[u8]) -> Self {
        self.key = Some(key.to_vec());
        self.stores_key()
    }

    /// Adds a bin as it is: the bytes are not looked at.
    #[must_use]
    pub fn bin(mut self, name: &str, kind: u8, value: &[u8]) -> Self {
        self.bins.push((name.as_bytes().to_vec(), kind, value.to_vec()));
        self
    }

    /// Adds an integer bin.
    #[must_use]
    pub fn bin_int(self, name: &str, value: i64) -> Self {
        self.bin(name, particle::INTEGER, &value.to_be_bytes())
    }

    /// Adds a string bin.
    #[must_use]
    pub fn bin_string(self, name: &str, value: &str) -> Self {
        self.bin(name, particle::STRING, value.as_bytes())
    }

    /// Sets the generation.
    #[must_use]
    pub fn generation(mut self, generation: u16) -> Self {
        self.generation = Some(generation);
        self
    }

    /// Sets the absolute void-time, seconds since 2010.
    #[must_use]
    pub fn void_time(mut self, seconds: u32) -> Self {
        self.void_time = seconds;
        self
    }

    /// Lets it expire so many seconds from now on.
    #[must_use]
    pub fn ttl(mut self, seconds: u32) -> Self {
        self.ttl_seconds = Some(seconds);
        self
    }

    /// Sets the time of the last update, milliseconds since 2010.
    #[must_use]
    pub fn lut_ms(mut self, ms: u64) -> Self {
        self.lut_ms = Some(ms);
        self
    }

    /// The digest it will have.
    pub fn digest(&self) -> Digest {
        match (&self.digest, self.key.as_deref()) {
            (Some(digest), _) => *digest,
            (None, Some([kind, key @ ..])) => digest_of(&self.set, *kind, key),
            (None, _) => digest_of(&self.set, particle::NULL, &[]),
        }
    }

    /// What it says, for writing it to another server.
    pub fn parts(&self) -> Parts<'_> {
        Parts {
            set: &self.set,
            stored_key: self.key.as_deref().filter(|_| self.stores_key),
            bins: &self.bins,
            ttl_seconds: self.ttl_seconds,
        }
    }

    /// Its place and what is to be stored there.
    pub(crate) fn record(self, namespace: &mut Namespace, now_ms: i64) -> (Place, Record) {
        let place = Place::of(&self.digest());
        let bins: Vec<Bin<'_>> = self
            .bins
            .iter()
            .map(|(name, kind, value)| Bin { name: name.into(), particle: *kind, value: value.into() })
            .collect();
        let (n_bins, bins) = encode_bins(&bins);
        let record = Record {
            generation: self.generation.unwrap_or(1),
            void_time: self.ttl_seconds.map_or(self.void_time, |ttl| now_ms.div_euclid(1000) as u32 + ttl),
            lut_ms: self.lut_ms.unwrap_or(now_ms.max(0) as u64),
            set_id: namespace.make_set(&self.set).expect("a test seeds no more sets than a namespace may have"),
            n_bins,
            key: self.key.filter(|_| self.stores_key).map(Vec::into_boxed_slice),
            bins,
        };
        (place, record)
    }
}

/// What a seed says, as far as a client can write it.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// Its set; empty without.
    pub set: &'a [u8],
    /// The key to be stored, particle type first.
    pub stored_key: Option<&'a [u8]>,
    /// Its bins: name, particle type, bytes.
    pub bins: &'a [(Vec<u8>, u8, Vec<u8>)],
    /// Seconds that it lives.
    pub ttl_seconds: Option<u32>,
}

/// A record as the server holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dumped {
    /// Its digest.
    pub digest: Digest,
    /// Its set; empty without.
    pub set: Vec<u8>,
    /// Its stored key, particle type first.
    pub key: Option<Vec<u8>>,
    /// Generation.
    pub generation: u16,
    /// Absolute void-time in seconds since 2010; 0 never.
    pub void_time: u32,
    /// Last update in milliseconds since 2010.
    pub lut_ms: u64,
    /// Bins sorted by name: name, particle type, bytes.
    pub bins: Vec<(Vec<u8>, u8, Vec<u8>)>,
}

impl Dumped {
    pub(crate) fn of(namespace: &Namespace, place: &Place, record: &Record) -> Self {
        let mut bins: Vec<_> = record
            .bins()
            .into_iter()
            .map(|bin| (bin.name.into_owned(), bin.particle, bin.value.into_owned()))
            .collect();
        bins.sort();
        Self {
            digest: place.digest(),
            set: namespace.set_name(record.set_id).to_vec(),
            key: record.key.as_deref().map(<[u8]>::to_vec),
            generation: record.generation,
            void_time: record.void_time,
            lut_ms: record.lut_ms,
            bins,
        }
    }

    /// The bytes of one bin.
    pub fn bin(&self, name: &str) -> Option<&[u8]> {
        self.bins.iter().find(|(have, _, _)| have == name.as_bytes()).map(|(_, _, value)| &value[..])
    }

    /// The same without the time of the last update, which a restore cannot give back.
    #[must_use]
    pub fn without_lut(mut self) -> Self {
        self.lut_ms = 0;
        self
    }
}
