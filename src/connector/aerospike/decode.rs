//! From a message to a row of a batch: bins sorted by name, particles as they came. The order of names is remembered, so
//! that records alike cost neither a sort nor an allocation.

use super::wire::{Bin, Bins, Message, WireError};
use crate::record::{CellWriter, Digest, Meta, RecordBatch, RowHead, Shape, Tag};
use std::{collections::HashMap, sync::Arc};

pub use crate::connector::void_time::{MONITOR_SET, VOID_TIME_EPOCH_SECONDS, expiry_of, void_time_of};

/// Orders of names remembered.
const MAX_LAYOUTS: usize = 1024;

const INTEGER: u8 = 1;
const GEOJSON: u8 = 23;

/// The sorted names of bins that came in some order.
#[derive(Debug, Clone)]
struct Layout {
    /// The names as they came, each after its length.
    came: Vec<u8>,
    shape: Arc<Shape>,
    /// For each cell in order the place at which its bin came.
    order: Vec<u16>,
}

/// Decodes records.
#[derive(Debug, Default)]
pub struct Decoder {
    last: Option<Arc<Layout>>,
    layouts: HashMap<Vec<u8>, Arc<Layout>>,
    places: Vec<BinSpan>,
}

/// Where a bin's value lies among the bytes of all bins.
#[derive(Debug, Clone, Copy)]
struct BinSpan {
    at: u32,
    len: u32,
    particle: u8,
}

impl BinSpan {
    fn of(self, bins: &[u8]) -> &[u8] {
        bins.get(self.at as usize..).and_then(|rest| rest.get(..self.len as usize)).unwrap_or_default()
    }
}

/// The rest of a record's key row.
#[must_use]
pub const fn meta_of<'a>(message: &Message<'a>) -> Meta<'a> {
    Meta {
        set: message.set,
        generation: message.generation,
        expiry: expiry_of(message.void_time),
        stamp: 0,
        user_key: message.user_key,
    }
}

impl Decoder {
    /// Adds the record of a message to the batch.
    ///
    /// # Errors
    /// [`WireError`] for bins that are cut, bear one name twice, or hold what no particle of their type holds.
    pub fn push(&mut self, message: &Message<'_>, digest: &Digest, batch: &mut RecordBatch) -> Result<(), WireError> {
        let bytes = message.bins.bytes();
        let mut bins = message.bins.clone();
        self.places.clear();
        let last = self.last.take();
        let mut expected = last.as_ref().map(|last| last.came.as_slice());
        while let Some(bin) = bins.next() {
            let Bin { name, particle, value } = bin?;
            if particle == 0 {
                continue;
            }
            let at = bytes.len() - bins.bytes().len() - value.len();
            self.places.push(BinSpan { at: at as u32, len: value.len() as u32, particle });
            expected = expected.and_then(|expected| strip_name(expected, name));
        }
        let layout = match last {
            Some(last) if expected.is_some_and(<[u8]>::is_empty) => last,
            _ => self.layout(message.bins.clone())?,
        };
        let key = digest.sort_key();
        let head = RowHead { key: &key, meta: meta_of(message) };
        let mut wrong = None;
        batch.push(head, &layout.shape, |cells| {
            for at in &layout.order {
                let place = self.places.get(usize::from(*at)).ok_or(WireError::Invalid("the number of bins"));
                if let Err(error) = place.and_then(|place| write_bin(cells, place.particle, place.of(bytes))) {
                    cells.cell(Tag::NULL, &[]);
                    wrong = Some(error);
                }
            }
        });
        self.last = Some(layout);
        wrong.map_or(Ok(()), Err)
    }

    /// The layout of these bins' names.
    fn layout(&mut self, bins: Bins<'_>) -> Result<Arc<Layout>, WireError> {
        let mut came = Vec::new();
        for bin in bins {
            let bin = bin?;
            if bin.particle != 0 {
                came.push(bin.name.len() as u8);
                came.extend_from_slice(bin.name);
            }
        }
        if let Some(known) = self.layouts.get(&came) {
            return Ok(Arc::clone(known));
        }
        let layout = Arc::new(Layout::of(&came)?);
        if self.layouts.len() >= MAX_LAYOUTS {
            self.layouts.clear();
        }
        self.layouts.insert(came, Arc::clone(&layout));
        Ok(layout)
    }
}

impl Layout {
    fn of(came: &[u8]) -> Result<Self, WireError> {
        let mut names: Vec<(&[u8], u16)> = Vec::new();
        let mut rest = came;
        while let Some((&len, tail)) = rest.split_first() {
            let (name, tail) = tail.split_at_checked(usize::from(len)).ok_or(WireError::Truncated("a bin's name"))?;
            names.push((name, names.len() as u16));
            rest = tail;
        }
        if names.len() > crate::record::value::MAX_CELLS {
            return Err(WireError::Invalid("the number of bins"));
        }
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(WireError::Invalid("a bin that comes twice: the name"));
        }
        let order = names.iter().map(|(_, at)| *at).collect();
        let shape = Arc::new(Shape::new(names.into_iter().map(|(name, _)| name.to_vec()).collect()));
        Ok(Self { came: came.to_vec(), shape, order })
    }
}

/// What follows a name, each after its length.
#[inline]
fn strip_name<'a>(names: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (&len, rest) = names.split_first()?;
    let (known, rest) = rest.split_at_checked(usize::from(len))?;
    is_same_name(known, name).then_some(rest)
}

/// Whether both are the same name. Names are short, so that calling for a comparison would take longer than it.
#[inline]
fn is_same_name(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() || a.len() > 16 {
        return a == b;
    }
    match (a.first_chunk::<8>(), a.last_chunk::<8>(), b.first_chunk::<8>(), b.last_chunk::<8>()) {
        (Some(a), Some(a_end), Some(b), Some(b_end)) => (a, a_end) == (b, b_end),
        _ => a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0,
    }
}

#[inline]
fn write_bin(cells: &mut CellWriter<'_>, particle: u8, value: &[u8]) -> Result<(), WireError> {
    match particle {
        INTEGER if value.len() != 8 => cells.integer(widen(value)?),
        GEOJSON => cells.cell(Tag::JSON, geojson_text(value)?),
        particle => cells.cell(Tag(particle), value),
    }
    Ok(())
}

fn widen(value: &[u8]) -> Result<i64, WireError> {
    match *value {
        [a] => Ok(i64::from(i8::from_be_bytes([a]))),
        [a, b] => Ok(i64::from(i16::from_be_bytes([a, b]))),
        [a, b, c, d] => Ok(i64::from(i32::from_be_bytes([a, b, c, d]))),
        _ => Err(WireError::Invalid("the length of an integer")),
    }
}

/// The JSON text behind flags, cell count and cells.
fn geojson_text(value: &[u8]) -> Result<&[u8], WireError> {
    let head = value.get(..3).ok_or(WireError::Truncated("a GeoJSON value"))?;
    let cells = usize::from(u16::from_be_bytes([head[1], head[2]]));
    value.get(3 + 8 * cells..).ok_or(WireError::Truncated("the cells of a GeoJSON value"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::aerospike::wire::{FRAME_HEAD_BYTES, Request, field};
    use crate::record::Expiry;

    /// A message with these bins.
    fn message(bins: &[(&[u8], u8, &[u8])]) -> Vec<u8> {
        let mut request = Request::default().field(field::DIGEST, &[9; 20]);
        for (name, _, value) in bins {
            request = request.op(1, name, value);
        }
        let mut bytes = request.encode(0, 0, 0)[FRAME_HEAD_BYTES..].to_vec();
        let mut at = 22 + 25;
        for (name, particle, value) in bins {
            bytes[at + 5] = *particle;
            at += 8 + name.len() + value.len();
        }
        bytes
    }

    fn decode(decoder: &mut Decoder, bytes: &[u8], batch: &mut RecordBatch) -> Result<(), WireError> {
        let (message, _) = Message::parse(bytes)?;
        decoder.push(&message, &message.digest.unwrap(), batch)
    }

    #[test]
    fn bins_are_sorted_and_particles_kept_as_they_came() {
        let (mut decoder, mut batch) = (Decoder::default(), RecordBatch::new());
        let geo = [&[0u8, 0, 1][..], &[1; 8], b"{}"].concat();
        let bins: [(&[u8], u8, &[u8]); 5] =
            [(b"z", 3, b"\xff"), (b"a", 1, &[0xff, 0xfe]), (b"none", 0, b""), (b"g", 23, &geo), (b"odd", 99, b"x")];
        for _ in 0..2 {
            decode(&mut decoder, &message(&bins), &mut batch).unwrap();
        }
        for row in batch.rows() {
            let names: Vec<&[u8]> = row.shape.names().iter().map(Vec::as_slice).collect();
            assert_eq!(names, [b"a".as_slice(), b"g", b"odd", b"z"]);
            let cells: Vec<(u8, &[u8])> =
                row.shape.cells(row.value).map(|cell| cell.map(|cell| (cell.tag.0, cell.bytes)).unwrap()).collect();
            assert_eq!(
                cells,
                [(1, (-2i64).to_be_bytes().as_slice()), (23, b"{}"), (99, b"x"), (3, b"\xff".as_slice())]
            );
        }
        assert!(Arc::ptr_eq(batch.row(0).shape, batch.row(1).shape));
    }

    #[test]
    fn names_are_the_same_only_if_all_of_them_is() {
        let text = b"abcdefghijklmnopqrstuvwxyz";
        for len in 0..text.len() {
            let copy = text[..len].to_vec();
            assert!(is_same_name(&text[..len], &copy));
            assert!(!is_same_name(&text[..len], &text[..=len]));
            for at in 0..len {
                let mut other = text[..len].to_vec();
                other[at] ^= 0x80;
                assert!(!is_same_name(&text[..len], &other), "{len} {at}");
            }
        }
        assert_eq!(strip_name(b"\x01a\x02bc", b"a"), Some(b"\x02bc".as_slice()));
        assert_eq!((strip_name(b"\x05a", b"a"), strip_name(b"", b"")), (None, None));
    }

    #[test]
    fn more_bins_than_fit_inline_are_kept() {
        let names: Vec<Vec<u8>> = (0..1000).rev().map(|n| format!("bin{n:04}").into_bytes()).collect();
        let bins: Vec<(&[u8], u8, &[u8])> = names.iter().map(|name| (name.as_slice(), 4, name.as_slice())).collect();
        let (mut decoder, mut batch) = (Decoder::default(), RecordBatch::new());
        decode(&mut decoder, &message(&bins), &mut batch).unwrap();
        let row = batch.row(0);
        assert_eq!(row.shape.len(), 1000);
        for (name, cell) in row.shape.names().iter().zip(row.shape.cells(row.value)) {
            assert_eq!(name, cell.unwrap().bytes);
        }
    }

    #[test]
    fn what_no_server_sends_is_refused() {
        let refused = |bins: &[(&[u8], u8, &[u8])]| {
            decode(&mut Decoder::default(), &message(bins), &mut RecordBatch::new()).is_err()
        };
        assert!(refused(&[(b"a", 1, b"123")]));
        assert!(refused(&[(b"a", 23, b"\0")]));
        assert!(refused(&[(b"a", 23, b"\0\0\x01{}")]));
        assert!(refused(&[(b"a", 4, b"1"), (b"a", 4, b"2")]));
        assert!(!refused(&[]));
    }

    #[test]
    fn void_times_become_expiries() {
        assert_eq!(expiry_of(0), Expiry::NEVER);
        assert_eq!(expiry_of(1).as_millis(), 1_262_304_002_000);
        for void_time in [0, 1, 2, 532_947_977, u32::MAX] {
            assert_eq!(void_time_of(expiry_of(void_time)), Some(void_time));
        }
        assert_eq!(void_time_of(Expiry::from_millis(5)), Some(1));
        assert_eq!(void_time_of(Expiry::from_millis(u64::MAX)), None);
    }

    #[test]
    fn a_record_is_live_through_the_second_of_its_void_time() {
        let expiry = expiry_of(10);
        let at =
            |millis: i64| crate::record::Timestamp::from_millis((VOID_TIME_EPOCH_SECONDS as i64 + 10) * 1000 + millis);
        assert!(!expiry.is_over_at(at(0)) && !expiry.is_over_at(at(999)) && expiry.is_over_at(at(1000)));
    }
}
