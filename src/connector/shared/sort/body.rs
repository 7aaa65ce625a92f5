//! The body of a record that is sorted: everything of it but its key.

use crate::record::{
    Meta, Shape,
    bytes::{put_slice, put_u64},
};

/// Everything of a record but its key.
pub(in crate::connector) fn encode_body(meta: &Meta<'_>, shape: &Shape, value: &[u8]) -> Vec<u8> {
    let mut names = Vec::new();
    shape.encode(&mut names);
    let mut body = Vec::with_capacity(meta.set.len() + names.len() + value.len() + 48);
    put_named(&mut body, meta, &names, value);
    body
}

/// The same, appended, with the names of cells as [`Shape::encode`] writes them.
pub(in crate::connector) fn put_named(body: &mut Vec<u8>, meta: &Meta<'_>, names: &[u8], value: &[u8]) {
    put_slice(body, meta.set);
    put_u64(body, u64::from(meta.generation));
    put_u64(body, meta.expiry.as_millis());
    put_u64(body, meta.stamp);
    match meta.user_key {
        None => body.push(0),
        Some(user_key) => {
            body.push(1);
            put_slice(body, user_key);
        }
    }
    put_slice(body, names);
    body.extend_from_slice(value);
}
