//! What a record says of a file: its attributes as cells, and back. The cells are specified in `format-spec/files.md`.

use crate::record::{
    BatchRow, Shape, Tag,
    bytes::{DecodeError, Reader, put_slice, put_u64},
};
use std::{collections::HashMap, sync::Arc};

/// The cell names, sorted; the content comes last, so that it can be a stream.
const NAMES: [&[u8]; 14] = [
    b"attr.device",
    b"attr.extents",
    b"attr.gid",
    b"attr.group",
    b"attr.hardlink",
    b"attr.mode",
    b"attr.mtime",
    b"attr.size",
    b"attr.target",
    b"attr.type",
    b"attr.uid",
    b"attr.user",
    b"attr.xattrs",
    b"content",
];
const CONTENT: usize = NAMES.len() - 1;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::connector) enum Kind {
    #[default]
    File,
    Directory,
    Symlink,
    Fifo,
    Socket,
    CharDevice,
    BlockDevice,
}

const KINDS: [(Kind, &[u8]); 7] = [
    (Kind::File, b"file"),
    (Kind::Directory, b"directory"),
    (Kind::Symlink, b"symlink"),
    (Kind::Fifo, b"fifo"),
    (Kind::Socket, b"socket"),
    (Kind::CharDevice, b"chardev"),
    (Kind::BlockDevice, b"blockdev"),
];

/// A time as file systems keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::connector) struct FileTime {
    /// Seconds since 1970.
    pub(in crate::connector) seconds: i64,
    /// Nanoseconds after that, below 10^9.
    pub(in crate::connector) nanos: u32,
}

/// A stretch of a sparse file that holds data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::connector) struct Extent {
    pub(in crate::connector) start: u64,
    pub(in crate::connector) len: u64,
}

/// All that is known of an entry beside its key and content. What is `None` was not known where the record was made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::connector) struct Attributes {
    pub(in crate::connector) kind: Kind,
    /// Major and minor number of a device.
    pub(in crate::connector) device: Option<(u32, u32)>,
    /// Where a sparse file's data lies; the content is just these stretches, one after the other.
    pub(in crate::connector) extents: Option<Vec<Extent>>,
    pub(in crate::connector) gid: Option<u32>,
    pub(in crate::connector) group: Option<Vec<u8>>,
    /// The key of the first path of the same file: this one has no content of its own.
    pub(in crate::connector) hardlink: Option<Vec<u8>>,
    /// The twelve permission bits.
    pub(in crate::connector) mode: Option<u32>,
    pub(in crate::connector) mtime: Option<FileTime>,
    pub(in crate::connector) size: Option<u64>,
    /// Where a symbolic link points.
    pub(in crate::connector) target: Option<Vec<u8>>,
    pub(in crate::connector) uid: Option<u32>,
    pub(in crate::connector) user: Option<Vec<u8>>,
    /// Extended attributes, sorted by name.
    pub(in crate::connector) xattrs: Vec<Xattr>,
}

/// The name and the value of an extended attribute.
pub(in crate::connector) type Xattr = (Vec<u8>, Vec<u8>);

/// The attributes of a record, what the row holds of its content, and the names of cells that are not known.
pub(in crate::connector) type Decoded<'a> = (Attributes, Option<&'a [u8]>, Vec<String>);

/// One cell before the content: its place in the names, its tag and bytes.
pub(in crate::connector) type NamedCell = (usize, Tag, Vec<u8>);

impl Attributes {
    /// The cells before the content, in order.
    pub(in crate::connector) fn cells(&self) -> Vec<NamedCell> {
        let integer = |value: i64| (Tag::INTEGER, value.to_be_bytes().to_vec());
        let text = |bytes: &Vec<u8>| (Tag::STRING, bytes.clone());
        let kind = KINDS.iter().find(|(kind, _)| *kind == self.kind).map_or(&b"file"[..], |(_, name)| name);
        let cells = [
            self.device.map(|(major, minor)| integer(i64::from(major) << 32 | i64::from(minor))),
            self.extents.as_ref().map(|extents| (Tag::BLOB, encode_extents(extents))),
            self.gid.map(|gid| integer(i64::from(gid))),
            self.group.as_ref().map(text),
            self.hardlink.as_ref().map(text),
            self.mode.map(|mode| integer(i64::from(mode))),
            self.mtime.map(encode_time),
            self.size.map(|size| integer(size as i64)),
            self.target.as_ref().map(text),
            Some((Tag::STRING, kind.to_vec())),
            self.uid.map(|uid| integer(i64::from(uid))),
            self.user.as_ref().map(text),
            (!self.xattrs.is_empty()).then(|| (Tag::BLOB, encode_xattrs(&self.xattrs))),
        ];
        cells.into_iter().enumerate().filter_map(|(at, cell)| cell.map(|(tag, bytes)| (at, tag, bytes))).collect()
    }

    /// Reads a record's cells. The second is what the row holds of the content, `None` where it has no such cell; the
    /// third names cells that are not known here.
    pub(in crate::connector) fn decode<'a>(row: &BatchRow<'a>) -> Result<Decoded<'a>, DecodeError> {
        let mut attributes = Self::default();
        let (mut content, mut unknown, mut typed) = (None, Vec::new(), false);
        for (name, cell) in row.shape.names().iter().zip(row.shape.cells(row.value)) {
            let cell = cell?;
            if name == NAMES[CONTENT] {
                content = Some(cell.bytes);
                continue;
            }
            let integer = || {
                let bytes = <[u8; 8]>::try_from(cell.bytes).ok().filter(|_| cell.tag == Tag::INTEGER);
                bytes.map(i64::from_be_bytes).ok_or(DecodeError::Invalid("an integer attribute"))
            };
            let small = || u32::try_from(integer()?).map_err(|_| DecodeError::Invalid("a numeric attribute"));
            match name.as_slice() {
                b"attr.device" => {
                    let number = integer()?;
                    attributes.device = Some(((number >> 32) as u32, number as u32));
                }
                b"attr.extents" => attributes.extents = Some(decode_extents(cell.bytes)?),
                b"attr.gid" => attributes.gid = Some(small()?),
                b"attr.group" => attributes.group = Some(cell.bytes.to_vec()),
                b"attr.hardlink" => attributes.hardlink = Some(cell.bytes.to_vec()),
                b"attr.mode" => attributes.mode = Some(small()? & 0o7777),
                b"attr.mtime" => attributes.mtime = Some(decode_time(cell.tag, cell.bytes)?),
                b"attr.size" => {
                    let size = u64::try_from(integer()?).map_err(|_| DecodeError::Invalid("a size"))?;
                    attributes.size = Some(size);
                }
                b"attr.target" => attributes.target = Some(cell.bytes.to_vec()),
                b"attr.type" => {
                    let kind = KINDS.iter().find(|(_, name)| *name == cell.bytes);
                    attributes.kind = kind.ok_or(DecodeError::Invalid("the kind of a file"))?.0;
                    typed = true;
                }
                b"attr.uid" => attributes.uid = Some(small()?),
                b"attr.user" => attributes.user = Some(cell.bytes.to_vec()),
                b"attr.xattrs" => attributes.xattrs = decode_xattrs(cell.bytes)?,
                other => unknown.push(String::from_utf8_lossy(other).into_owned()),
            }
        }
        if !typed {
            return Err(DecodeError::Truncated("the cells of a file (attr.type is absent)"));
        }
        Ok((attributes, content, unknown))
    }
}

/// The shapes met so far, by which names are in them.
#[derive(Default)]
pub(in crate::connector) struct Shapes {
    known: HashMap<u16, Arc<Shape>>,
}

impl Shapes {
    /// The shape of these cells, with a content cell or without.
    pub(in crate::connector) fn of(&mut self, cells: &[NamedCell], content: bool) -> Arc<Shape> {
        let mask = cells.iter().fold(u16::from(content) << CONTENT, |mask, (at, ..)| mask | 1 << at);
        let make = || {
            let names = NAMES.iter().enumerate().filter(|(at, _)| mask >> at & 1 == 1);
            Arc::new(Shape::new(names.map(|(_, name)| name.to_vec()).collect()))
        };
        Arc::clone(self.known.entry(mask).or_insert_with(make))
    }
}

const BILLION: i128 = 1_000_000_000;

/// Nanoseconds since 1970 where they fit (1677 to 2262), else `SECONDS.NNNNNNNNN` as text.
fn encode_time(time: FileTime) -> (Tag, Vec<u8>) {
    let nanos = i128::from(time.seconds) * BILLION + i128::from(time.nanos);
    match i64::try_from(nanos) {
        Ok(nanos) => (Tag::INTEGER, nanos.to_be_bytes().to_vec()),
        Err(_) => (Tag::STRING, format!("{}.{:09}", time.seconds, time.nanos).into_bytes()),
    }
}

fn decode_time(tag: Tag, bytes: &[u8]) -> Result<FileTime, DecodeError> {
    let invalid = DecodeError::Invalid("a time");
    if tag == Tag::INTEGER {
        let nanos = i64::from_be_bytes(bytes.try_into().map_err(|_| invalid)?);
        let (seconds, nanos) = (nanos.div_euclid(BILLION as i64), nanos.rem_euclid(BILLION as i64));
        return Ok(FileTime { seconds, nanos: nanos as u32 });
    }
    let text = std::str::from_utf8(bytes).map_err(|_| invalid)?;
    let (seconds, nanos) = text
        .split_once('.')
        .filter(|(_, nanos)| nanos.len() == 9 && nanos.bytes().all(|byte| byte.is_ascii_digit()))
        .ok_or(invalid)?;
    let nanos: u32 = nanos.parse().map_err(|_| invalid)?;
    if nanos >= BILLION as u32 {
        return Err(invalid);
    }
    Ok(FileTime { seconds: seconds.parse().map_err(|_| invalid)?, nanos })
}

/// For each stretch the hole before it and its length.
fn encode_extents(extents: &[Extent]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut end = 0;
    for extent in extents {
        put_u64(&mut out, extent.start - end);
        put_u64(&mut out, extent.len);
        end = extent.start + extent.len;
    }
    out
}

/// The stretches that a cell names.
pub(in crate::connector) fn decode_extents(bytes: &[u8]) -> Result<Vec<Extent>, DecodeError> {
    let invalid = DecodeError::Invalid("the extents of a sparse file");
    let mut reader = Reader::new(bytes);
    let (mut extents, mut end) = (Vec::new(), 0u64);
    while !reader.is_empty() {
        let start = end.checked_add(reader.u64("an extent")?).ok_or(invalid)?;
        let len = reader.u64("an extent")?;
        end = start.checked_add(len).filter(|end| i64::try_from(*end).is_ok()).ok_or(invalid)?;
        extents.push(Extent { start, len });
    }
    Ok(extents)
}

fn encode_xattrs(xattrs: &[Xattr]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in xattrs {
        put_slice(&mut out, name);
        put_slice(&mut out, value);
    }
    out
}

fn decode_xattrs(bytes: &[u8]) -> Result<Vec<Xattr>, DecodeError> {
    let mut reader = Reader::new(bytes);
    let mut xattrs: Vec<Xattr> = Vec::new();
    while !reader.is_empty() {
        let name = reader.slice("the name of an extended attribute")?;
        let ordered = xattrs.last().is_none_or(|(last, _)| last.as_slice() < name);
        if name.is_empty() || name.contains(&0) || !ordered {
            return Err(DecodeError::Invalid("the name of an extended attribute"));
        }
        xattrs.push((name.to_vec(), reader.slice("an extended attribute")?.to_vec()));
    }
    Ok(xattrs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{RecordBatch, RowHead};

    fn full() -> Attributes {
        Attributes {
            kind: Kind::CharDevice,
            device: Some((0xffff_fff0, 7)),
            extents: Some(vec![Extent { start: 0, len: 1 }, Extent { start: 1 << 40, len: 4096 }]),
            gid: Some(u32::MAX),
            group: Some(b"\xff".to_vec()),
            hardlink: Some(b"a/b".to_vec()),
            mode: Some(0o7755),
            mtime: Some(FileTime { seconds: -1, nanos: 999_999_999 }),
            size: Some(1 << 41),
            target: Some(b"../x".to_vec()),
            uid: Some(0),
            user: Some(b"root".to_vec()),
            xattrs: vec![(b"user.a".to_vec(), vec![0, 1]), (b"user.b".to_vec(), Vec::new())],
        }
    }

    fn round_trip(attributes: &Attributes) -> Attributes {
        let cells = attributes.cells();
        let shape = Shapes::default().of(&cells, false);
        let mut batch = RecordBatch::new();
        batch.push(RowHead::default(), &shape, |writer| {
            for (_, tag, bytes) in &cells {
                writer.cell(*tag, bytes);
            }
        });
        Attributes::decode(&batch.row(0)).unwrap().0
    }

    #[test]
    fn attributes_come_back() {
        assert!(NAMES.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(round_trip(&full()), full());
        assert_eq!(round_trip(&Attributes::default()), Attributes::default());
        for (seconds, nanos) in [(i64::MAX, 0), (i64::MIN, 1), (9_223_372_036, 854_775_808), (0, 0)] {
            let time = FileTime { seconds, nanos };
            let attributes = Attributes { mtime: Some(time), ..full() };
            assert_eq!(round_trip(&attributes), attributes);
        }
    }

    #[test]
    fn damaged_cells_are_refused() {
        assert!(decode_extents(&[0xff]).is_err());
        assert!(decode_extents(&[1]).is_err());
        let mut huge = Vec::new();
        put_u64(&mut huge, u64::MAX);
        put_u64(&mut huge, 1);
        assert!(decode_extents(&huge).is_err());
        assert!(decode_xattrs(&[1, b'b', 0, 1, b'a', 0]).is_err());
        assert!(decode_xattrs(&[0, 0]).is_err());
        assert!(decode_time(Tag::STRING, b"1.9").is_err());
        assert!(decode_time(Tag::STRING, b"1.+00000001").is_err());
    }
}
