//! Making a pack again, in stretches of a few columns, from what is right of it and of the others in its group.

use super::{
    code::{Block, Decoder},
    group::{self, Head},
    path,
    shelf::{Shelf, Shelved, There},
    stretch::{self, block, stretches},
};
use crate::repo::{
    ObjectName, RepoError, RepoId, Storage,
    ids::PackKind,
    object,
    pack::{self, Header},
    storage::{Class, Created},
};
use bytes::Bytes;

/// What trying to make a pack again came to.
#[derive(Debug)]
pub enum Rebuilt {
    /// Its bytes, which have the hash that it is named by.
    Whole(Bytes),
    /// No group names it.
    NoGroup,
    /// What stands in the way.
    TooMuchIsLost(String),
}

/// Makes a pack again from the groups that name it.
///
/// # Errors
/// Trouble of the storage; [`RepoError::Archived`] if another member has to be thawed first.
pub fn rebuild(storage: &Storage, shelf: &Shelf, there: &There, name: &ObjectName) -> Result<Rebuilt, RepoError> {
    let mut why = Rebuilt::NoGroup;
    for group in shelf.naming(name, there) {
        match from(storage, group, name) {
            Ok(Ok(bytes)) => return Ok(Rebuilt::Whole(bytes)),
            Ok(Err(reason)) => why = Rebuilt::TooMuchIsLost(reason),
            Err(error @ RepoError::Archived { .. }) => return Err(error),
            Err(error) if error.is_of_one_object() || matches!(error, RepoError::Missing { .. }) => {
                why = Rebuilt::TooMuchIsLost(error.to_string());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(why)
}

fn from(storage: &Storage, group: &Shelved, name: &ObjectName) -> Result<Result<Bytes, String>, RepoError> {
    let object = path(&group.name);
    let head = storage.read_range(&object, 0..group.outline.head_bytes() as u64)?;
    let head = Head::parse(&object, &head)?;
    let outline = &head.outline;
    let Some(own_place) = outline.place_of(name) else {
        return Err(RepoError::damaged(object, "it has changed while it was read"));
    };
    let Some(member) = outline.places[own_place] else { return Ok(Err(format!("{object} does not name it"))) };
    // What is right of it is taken as it is; what is longer than it may be is not looked at.
    let own = match storage.read_at_most(&pack::path(name), pack::MAX_PACK_BYTES as u64) {
        Ok(bytes) => Some(bytes),
        Err(error @ RepoError::Archived { .. }) => return Err(error),
        Err(error) if error.is_of_one_object() || matches!(error, RepoError::Missing { .. }) => None,
        Err(error) => return Err(error),
    };
    let mut decoder = Decoder::new(outline.places.len(), outline.rows)?;
    let mut whole: Vec<u8> = Vec::with_capacity(member.bytes as usize);
    for columns in stretches(member.blocks()) {
        let first = columns.start;
        let right = |column: usize| block(own.as_ref(), column).filter(|block| head.is_block(own_place, column, block));
        if columns.clone().all(|column| right(column).is_some()) {
            columns.filter_map(right).for_each(|block| whole.extend_from_slice(block));
            continue;
        }
        let others = outline.places.iter().enumerate().map(|(place, other)| match other {
            Some(other) if place != own_place && other.blocks() > first => stretch::of_member(storage, other, &columns),
            _ => Ok(None),
        });
        let others: Vec<Option<Vec<u8>>> = others.collect::<Result<_, _>>()?;
        let rows = (0..outline.rows).map(|row| stretch::read(storage, &object, head.range(row, columns.clone())));
        let rows: Vec<Option<Vec<u8>>> = rows.collect::<Result<_, _>>()?;
        for column in columns {
            if let Some(block) = right(column) {
                whole.extend_from_slice(block);
                continue;
            }
            let places: Vec<Block<'_>> = outline
                .places
                .iter()
                .enumerate()
                .map(|(place, other)| match other {
                    _ if place == own_place => Block::Lost,
                    Some(other) if other.blocks() > column => {
                        let read = block(others[place].as_ref(), column - first);
                        read.filter(|it| head.is_block(place, column, it)).map_or(Block::Lost, Block::Right)
                    }
                    _ => Block::Zeros,
                })
                .collect();
            let rows: Vec<Option<&[u8]>> = rows
                .iter()
                .enumerate()
                .map(|(row, bytes)| block(bytes.as_ref(), column - first).filter(|it| head.is_parity(row, column, it)))
                .collect();
            let Some(found) = decoder.find(own_place, &places, &rows)? else {
                let others: Vec<String> = places
                    .iter()
                    .zip(&outline.places)
                    .filter(|(block, _)| matches!(block, Block::Lost))
                    .filter_map(|(_, member)| member.filter(|it| it.name != *name).map(|it| pack::path(&it.name)))
                    .collect();
                let others = if others.is_empty() { "rows of parity".to_owned() } else { others.join(", ") };
                return Ok(Err(format!("{object} cannot make it again: {others} of its group are lost too")));
            };
            whole.extend_from_slice(&found);
        }
    }
    if *blake3::hash(&whole).as_bytes() != name.0 {
        return Ok(Err(format!("what {object} makes is not what the pack is named by: somebody forged it")));
    }
    Ok(Ok(Bytes::from(whole)))
}

/// Puts a pack's own bytes where they belong. What lies there instead goes first, and before that they are stored as a group of
/// their own: what is damaged may hold blocks that other members of its group need, should this end half-way.
pub fn put_back(
    storage: &Storage,
    repo: RepoId,
    name: &ObjectName,
    bytes: &Bytes,
    is_listed: bool,
) -> Result<(), RepoError> {
    let path = pack::path(name);
    let is_data = Header::parse_front(&path, bytes).is_ok_and(|(header, _)| header.kind == PackKind::Data);
    let class = if is_data { Class::Data } else { Class::Metadata };
    if !is_listed {
        match storage.create_shared(&path, bytes, class) {
            // Somebody else made it again.
            Ok(Created::New | Created::Exists) => return Ok(()),
            Err(RepoError::Damaged { .. } | RepoError::Obstructed { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let (spare, group) = group::make(repo, 1, &[(*name, bytes.clone())])?;
    let spare = super::path(&spare);
    storage.create_shared(&spare, &Bytes::from(group), Class::Metadata)?;
    storage.delete(&path)?;
    storage.create_shared(&path, bytes, class)?;
    storage.delete(&spare)
}

/// A whole pack, if it is what its name says.
pub fn read_whole(storage: &Storage, name: &ObjectName) -> Result<Bytes, RepoError> {
    let path = pack::path(name);
    let bytes = object::read(storage, &path)?;
    if *blake3::hash(&bytes).as_bytes() == name.0 {
        Ok(Bytes::from(bytes))
    } else {
        Err(RepoError::damaged(path, "its bytes do not have the hash that it is named by"))
    }
}
