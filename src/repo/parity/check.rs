//! Whether a group is whole, and its parity that of its members.

use super::{
    code::Encoder,
    group::{Head, has_name},
    path,
    shelf::Shelved,
    stretch::{self, block, stretches},
};
use crate::repo::{RepoError, Storage, object};

/// Reads a group whole; gives what is wrong with it.
///
/// # Errors
/// [`RepoError::Missing`] if it went; trouble of the storage.
pub fn is_whole(storage: &Storage, group: &Shelved) -> Result<Option<String>, RepoError> {
    let bytes = object::read(storage, &path(&group.name))?;
    match has_name(&group.name, &bytes) {
        Err(RepoError::Damaged { reason, .. }) => Ok(Some(reason)),
        other => other.map(|()| None),
    }
}

/// Reads a group and all of its members; gives what is wrong with it. What is wrong with a member is for others to say: columns
/// in which one is not what it was are passed over.
///
/// # Errors
/// [`RepoError::Missing`] if it went; trouble of the storage.
pub fn check(storage: &Storage, group: &Shelved) -> Result<Option<String>, RepoError> {
    let object = path(&group.name);
    let bytes = object::read(storage, &object)?;
    let head = match has_name(&group.name, &bytes).and_then(|()| Head::parse(&object, &bytes)) {
        Ok(head) => head,
        Err(RepoError::Damaged { reason, .. }) => return Ok(Some(reason)),
        Err(error) => return Err(error),
    };
    let outline = &head.outline;
    let mut encoder = Encoder::new(outline.places.len(), outline.rows)?;
    for columns in stretches(outline.columns()) {
        let first = columns.start;
        let mut read = Vec::with_capacity(outline.places.len());
        for place in &outline.places {
            let Some(member) = place.filter(|member| member.blocks() > first) else {
                read.push(None);
                continue;
            };
            match stretch::of_member(storage, &member, &columns) {
                Ok(Some(bytes)) => read.push(Some(bytes)),
                Ok(None) | Err(RepoError::Archived { .. }) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        for column in columns {
            let blocks: Vec<Option<&[u8]>> = read.iter().map(|read| block(read.as_ref(), column - first)).collect();
            let is_as_it_was = |(place, block): (usize, Option<&[u8]>)| match (block, outline.places[place]) {
                (Some(block), _) => head.is_block(place, column, block),
                (None, member) => member.is_none_or(|member| member.blocks() <= column),
            };
            if !blocks.iter().copied().enumerate().all(is_as_it_was) {
                continue;
            }
            let mut is_right = true;
            encoder.column(blocks.into_iter(), &mut |row, block| is_right &= head.is_parity(row, column, block))?;
            if !is_right {
                return Ok(Some("its parity is not that of its members".to_owned()));
            }
        }
    }
    Ok(None)
}
