//! A file as its readers know it: content from its first byte to its last, holes as the zeros that they read as, the
//! content of a hard link from the path that carries it.

use super::{
    ROOT,
    cells::{Attributes, Extent, Kind, decode_extents},
    is_valid_key,
    unkept::{Uncompared, Unkept},
};
use crate::{
    connector::RecordLookup,
    record::{BatchRow, KeyCodec, RecordBatch, StreamedValue},
};
use std::{
    io::{self, Read},
    vec,
};

/// Fills the holes between stretches.
pub(in crate::connector) struct Expanded<R> {
    inner: R,
    extents: vec::IntoIter<Extent>,
    next: Option<Extent>,
    at: u64,
    size: u64,
}

impl<R: Read> Expanded<R> {
    /// `inner` gives the stretches one after the other; without extents it is the content.
    pub(in crate::connector) fn new(inner: R, extents: Vec<Extent>, size: u64) -> Self {
        let mut extents = extents.into_iter();
        Self { inner, next: extents.next(), extents, at: 0, size }
    }
}

impl<R: Read> Read for Expanded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.next.is_some_and(|extent| self.at >= extent.start + extent.len) {
            self.next = self.extents.next();
        }
        let hole_ends = self.next.map_or(self.size, |extent| extent.start.min(self.size));
        let most = |bytes: u64, buffer: &[u8]| usize::try_from(bytes).unwrap_or(usize::MAX).min(buffer.len());
        if self.at < hole_ends {
            let zeros = most(hole_ends - self.at, buffer);
            buffer[..zeros].fill(0);
            self.at += zeros as u64;
            return Ok(zeros);
        }
        let Some(extent) = self.next else { return Ok(0) };
        let want = most(extent.start + extent.len - self.at, buffer);
        let read = self.inner.read(&mut buffer[..want])?;
        if read == 0 && want > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "its content is shorter than its extents"));
        }
        self.at += read as u64;
        Ok(read)
    }
}

/// The record that carries the content of another one.
pub(in crate::connector) struct Carrier {
    batch: RecordBatch,
    pub(in crate::connector) attributes: Attributes,
    stream: Option<Box<dyn StreamedValue>>,
}

/// Refuses a first path that is none.
pub(in crate::connector) fn check_first(first: &[u8], key: &[u8]) -> Result<(), String> {
    if !is_valid_key(first) || first == ROOT || first.ends_with(b"/") || first >= key {
        return Err("it is a hard link to something that is no earlier path".to_owned());
    }
    Ok(())
}

impl Carrier {
    /// Finds the first path of a hard link.
    pub(in crate::connector) fn find(records: Option<&dyn RecordLookup>, first: &[u8]) -> Result<Self, String> {
        let shown = KeyCodec::Path.show(first);
        let records = records.ok_or_else(|| format!("its content is that of {shown}, which is not there"))?;
        let carrier = Self::of(records, first).map_err(|error| format!("its content is that of {shown}: {error}"))?;
        if carrier.attributes.hardlink.is_some() {
            return Err(format!("its content is that of {shown}, which has none of its own"));
        }
        Ok(carrier)
    }

    /// A record, whether it carries content or not.
    fn of(records: &dyn RecordLookup, key: &[u8]) -> Result<Self, String> {
        let mut batch = RecordBatch::new();
        if !records.find(key, &mut batch).map_err(|error| error.to_string())? || batch.is_empty() {
            return Err("the snapshot does not hold it".to_owned());
        }
        let stream = batch.row(0).stream.and_then(|number| batch.take_stream(number));
        let (attributes, ..) = Attributes::decode(&batch.row(0)).map_err(|error| error.to_string())?;
        Ok(Self { batch, attributes, stream })
    }

    /// The content as it is stored: of a sparse file just its stretches.
    pub(in crate::connector) fn content(&mut self) -> Result<Box<dyn Read + '_>, String> {
        let (_, inline, _) = Attributes::decode(&self.batch.row(0)).map_err(|error| error.to_string())?;
        let inline = inline.unwrap_or_default();
        Ok(match &mut self.stream {
            None => Box::new(inline),
            Some(stream) => Box::new(inline.chain(stream.open().map_err(|error| error.to_string())?)),
        })
    }
}

/// Called with a file's whole content, and its length where that is known.
pub type Take<'a> = &'a mut dyn FnMut(&mut dyn Read, Option<u64>) -> Result<(), String>;

/// Gives a file's whole content to `take`, with its length where that is known. `false` if the record is no file, or none
/// that has content. The batch holds the record alone.
///
/// # Errors
/// In words, where the content cannot be had.
pub fn with_content(batch: &mut RecordBatch, records: &dyn RecordLookup, take: Take<'_>) -> Result<bool, String> {
    let stream = batch.row(0).stream.and_then(|number| batch.take_stream(number));
    let row = batch.row(0);
    let Ok((attributes, inline, _)) = Attributes::decode(&row) else { return Ok(false) };
    if attributes.kind != Kind::File {
        return Ok(false);
    }
    if let Some(first) = &attributes.hardlink {
        check_first(first, row.key)?;
        let mut carrier = Carrier::find(Some(records), first)?;
        let (extents, size) = (carrier.attributes.extents.take(), carrier.attributes.size);
        give(carrier.content()?, extents, size, take)?;
        return Ok(true);
    }
    let inline = inline.unwrap_or_default();
    let (extents, size) = (attributes.extents, attributes.size);
    match stream {
        None => give(Box::new(inline), extents, size, take)?,
        Some(mut stream) => {
            let rest = stream.open().map_err(|error| error.to_string())?;
            give(Box::new(inline.chain(rest)), extents, size, take)?;
        }
    }
    Ok(true)
}

fn give<'a>(
    mut content: Box<dyn Read + 'a>,
    extents: Option<Vec<Extent>>,
    size: Option<u64>,
    take: Take<'_>,
) -> Result<(), String> {
    match (extents, size) {
        (Some(extents), Some(size)) => take(&mut Expanded::new(content, extents, size), Some(size)),
        (Some(_), None) => Err("it is sparse and has no size".to_owned()),
        (None, size) => take(&mut content, size),
    }
}

/// Whether a path that the snapshot has as a further path of a file is that file in the live data too, though the first path
/// is not: as its own file, or linked to another path. Asked only of paths whose first one `stands_alone`. What the place could not keep
/// does not count, and is named.
///
/// # Errors
/// In words, where either cannot be read.
pub fn is_same_file(
    key: &[u8],
    saved: &dyn RecordLookup,
    live: &dyn RecordLookup,
    stands_alone: &dyn Fn(&[u8]) -> bool,
    (unkept, left): (Option<Unkept>, &mut Uncompared),
) -> Result<bool, String> {
    let link = Whole::find(saved, key)?;
    let Some(first) = link.own.hardlink.clone().filter(|first| stands_alone(first)) else { return Ok(false) };
    let (mut was, mut is) = (link.resolve(saved, &first)?, Whole::find(live, key)?);
    if let Some(first) = is.own.hardlink.clone() {
        is = is.resolve(live, &first)?;
    }
    let own = is.own.clone();
    if was.own != unkept.map_or_else(|| own.clone(), |unkept| unkept.forgiven(&was.own, own.clone(), left)) {
        return Ok(false);
    }
    let (mut one, mut other) = (was.carrier.content()?, is.carrier.content()?);
    let mut buffers = [vec![0; 64 << 10], vec![0; 64 << 10]];
    loop {
        let wanted = one.read(&mut buffers[0]).map_err(|error| error.to_string())?;
        if wanted == 0 {
            return other.read(&mut buffers[1]).map(|read| read == 0).map_err(|error| error.to_string());
        }
        if other.read_exact(&mut buffers[1][..wanted]).is_err() || buffers[0][..wanted] != buffers[1][..wanted] {
            return Ok(false);
        }
    }
}

/// A file's record with the one that carries its content, which may be the same.
struct Whole {
    own: Attributes,
    carrier: Carrier,
}

impl Whole {
    fn find(records: &dyn RecordLookup, key: &[u8]) -> Result<Self, String> {
        let carrier = Carrier::of(records, key)?;
        Ok(Self { own: carrier.attributes.clone(), carrier })
    }

    /// With the content of the first path, and what only that one's record says.
    fn resolve(self, records: &dyn RecordLookup, first: &[u8]) -> Result<Self, String> {
        let carrier = Carrier::find(Some(records), first)?;
        let Attributes { extents, xattrs, size, .. } = carrier.attributes.clone();
        Ok(Self { own: Attributes { hardlink: None, extents, xattrs, size, ..self.own }, carrier })
    }
}

/// How the content of a record differs from what its cells hold, where a record is written out for readers of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::connector) enum Filled {
    /// The holes of a sparse file are filled with zeros.
    Sparse,
    /// A hard link was given the content of its first path.
    Linked,
    /// The content is just the stretches of a sparse file that is too long to be filled.
    Stretches,
}

/// What a reader of files needs that the record's own cells do not say: how, and the content. `None` where the cells say
/// all. `value` is the whole value.
///
/// # Errors
/// In words, where the content cannot be had.
pub(in crate::connector) fn fill(
    row: &BatchRow<'_>,
    value: &[u8],
    records: Option<&dyn RecordLookup>,
    most_bytes: u64,
) -> Result<Option<(Filled, Vec<u8>)>, String> {
    let whole = BatchRow { value, stream: None, ..*row };
    let Ok((attributes, content, _)) = Attributes::decode(&whole) else { return Ok(None) };
    if attributes.kind != Kind::File {
        return Ok(None);
    }
    if let Some(first) = &attributes.hardlink {
        // Without the rest of the snapshot, or where it is too long for a line, the link is all there is.
        let (Some(_), Ok(())) = (records, check_first(first, row.key)) else { return Ok(None) };
        let mut carrier = Carrier::find(records, first)?;
        let (extents, size) = (carrier.attributes.extents.take(), carrier.attributes.size);
        let mut bytes = None;
        give(carrier.content()?, extents, size, &mut |content, _| {
            bytes = read_within(content, most_bytes)?;
            Ok(())
        })?;
        return Ok(bytes.map(|bytes| (Filled::Linked, bytes)));
    }
    let Some(extents) = attributes.extents else { return Ok(None) };
    let content = content.unwrap_or_default();
    if attributes.size.is_none_or(|size| size > most_bytes) {
        return Ok(Some((Filled::Stretches, content.to_vec())));
    }
    let mut bytes = None;
    give(Box::new(content), Some(extents), attributes.size, &mut |content, _| {
        bytes = read_within(content, most_bytes)?;
        Ok(())
    })?;
    Ok(bytes.map(|bytes| (Filled::Sparse, bytes)))
}

fn read_within(content: &mut dyn Read, most_bytes: u64) -> Result<Option<Vec<u8>>, String> {
    let mut bytes = Vec::new();
    content.take(most_bytes + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok((bytes.len() as u64 <= most_bytes).then_some(bytes))
}

/// The stretches of a sparse file out of its content; `None` if they do not lie in it, or what lies between is no hole.
pub(in crate::connector) fn stretches(content: &[u8], extents: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut at = 0;
    for extent in decode_extents(extents).ok()? {
        let (start, len) = (usize::try_from(extent.start).ok()?, usize::try_from(extent.len).ok()?);
        let hole = content.get(at..start)?;
        out.extend_from_slice(content.get(start..start.checked_add(len)?)?);
        at = start + len;
        if hole.iter().any(|byte| *byte != 0) {
            return None;
        }
    }
    content.get(at..)?.iter().all(|byte| *byte == 0).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn holes_are_filled_wherever_they_lie(
            stretches in prop::collection::vec((0_u64..9, 1_u64..9), 0..6), rest in 0_u64..9, step in 1_usize..7,
        ) {
            let (mut whole, mut data, mut extents) = (Vec::new(), Vec::new(), Vec::new());
            for (hole, len) in stretches {
                whole.resize(whole.len() + hole as usize, 0);
                extents.push(Extent { start: whole.len() as u64, len });
                let bytes: Vec<u8> = (0..len).map(|byte| byte as u8 + 1).collect();
                whole.extend(&bytes);
                data.extend(&bytes);
            }
            whole.resize(whole.len() + rest as usize, 0);
            let mut reader = Expanded::new(&data[..], extents.clone(), whole.len() as u64);
            let mut out = Vec::new();
            let mut buffer = vec![0xee; step];
            loop {
                match reader.read(&mut buffer).unwrap() {
                    0 => break,
                    read => out.extend(&buffer[..read]),
                }
            }
            prop_assert_eq!(&out, &whole);
            if let Some((_, short)) = data.split_last() {
                prop_assert!(Expanded::new(short, extents, whole.len() as u64).read_to_end(&mut out).is_err());
            }
        }
    }
}
