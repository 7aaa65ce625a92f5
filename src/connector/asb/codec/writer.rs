//! Writing: one form for each content, and a word for what a version cannot carry.

use super::{
    Version,
    float::put_float_text,
    index::{Index, IndexKind, Module},
    record::{BLOB, BOOL, FLOAT, GEOJSON, INTEGER, NULL, STRING, letter_of},
};
use data_encoding::BASE64;

/// Why something is not written: the format cannot say it.
pub type Loss = String;

/// How items are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Form {
    /// The version of the file.
    pub version: Version,
    /// Bytes as they are instead of base64.
    pub compact: bool,
}

/// A record to write.
#[derive(Debug, Clone, Copy)]
pub struct RecordParts<'a> {
    /// Its namespace.
    pub namespace: &'a [u8],
    /// Its set; empty for none.
    pub set: &'a [u8],
    /// Its user key: the particle type, then the value.
    pub user_key: Option<&'a [u8]>,
    /// Its digest.
    pub digest: &'a [u8; 20],
    /// How often it was written.
    pub generation: u32,
    /// When it expires: seconds since 2010, 0 for never.
    pub void_time: u32,
}

/// Adds a name.
fn put_name(out: &mut Vec<u8>, name: &[u8], form: Form, what: &str) -> Result<(), Loss> {
    let shown = || name.escape_ascii();
    if name.contains(&0) {
        return Err(format!("{what} `{}` holds a zero byte, which the format cannot", shown()));
    }
    if !name.iter().any(|byte| matches!(byte, b' ' | b'\n' | b'\\')) {
        out.extend_from_slice(name);
        return Ok(());
    }
    if !form.version.escapes() {
        return Err(format!("{what} `{}` needs escapes, which version 3.0 has not", shown()));
    }
    for byte in name {
        if matches!(byte, b' ' | b'\n' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    Ok(())
}

fn put_number(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn put_base64(out: &mut Vec<u8>, value: &[u8]) {
    let len = BASE64.encode_len(value.len());
    put_number(out, len as u64);
    out.push(b' ');
    let start = out.len();
    out.resize(start + len, 0);
    BASE64.encode_mut(value, &mut out[start..]);
}

fn put_raw(out: &mut Vec<u8>, value: &[u8]) {
    put_number(out, value.len() as u64);
    out.push(b' ');
    out.extend_from_slice(value);
}

/// Adds a file's header.
///
/// # Errors
/// [`Loss`] if the version cannot say the namespace.
pub fn put_header(out: &mut Vec<u8>, namespace: &[u8], first_file: bool, form: Form) -> Result<(), Loss> {
    out.extend_from_slice(b"Version ");
    out.extend_from_slice(form.version.text().as_bytes());
    out.extend_from_slice(b"\n# namespace ");
    put_name(out, namespace, form, "the namespace")?;
    out.push(b'\n');
    if first_file {
        out.extend_from_slice(b"# first-file\n");
    }
    Ok(())
}

/// Adds an index.
///
/// # Errors
/// [`Loss`] if the version cannot say it; nothing was added then.
pub fn put_index(out: &mut Vec<u8>, index: &Index, form: Form) -> Result<(), Loss> {
    let start = out.len();
    let put = try_put_index(out, index, form);
    if put.is_err() {
        out.truncate(start);
    }
    put
}

fn try_put_index(out: &mut Vec<u8>, index: &Index, form: Form) -> Result<(), Loss> {
    let needs = index.needs();
    if needs > form.version {
        let what = match needs {
            Version::V33 => "it indexes a set",
            _ if index.expression.is_some() => "it indexes an expression",
            _ => "it is of the null set",
        };
        return Err(format!("{what}, which version {} cannot say ({needs} can)", form.version));
    }
    out.extend_from_slice(if index.expression.is_some() { b"* e " } else { b"* i " });
    put_name(out, &index.namespace, form, "the namespace")?;
    out.push(b' ');
    put_name(out, &index.set, form, "the set")?;
    out.push(b' ');
    put_name(out, &index.name, form, "the name")?;
    out.extend_from_slice(&[b' ', index.kind.letter(), b' ', b'1', b' ']);
    put_name(out, &index.bin, form, "the bin")?;
    out.extend_from_slice(&[b' ', index.data.letter()]);
    match (&index.context, &index.expression) {
        (Some(_), Some(_)) => {
            return Err("it has a path and an expression, of which no version can say both".to_owned());
        }
        (Some(text), None) | (None, Some(text)) => {
            out.push(b' ');
            out.extend_from_slice(text);
        }
        (None, None) => {}
    }
    out.push(b'\n');
    Ok(())
}

impl Index {
    /// The lowest version that can say it.
    #[must_use]
    pub fn needs(&self) -> Version {
        if self.kind == IndexKind::Set {
            Version::V33
        } else if self.expression.is_some() || self.set.is_empty() {
            // What 3.1 is read by takes an empty set for one named "null".
            Version::V32
        } else {
            Version::V30
        }
    }
}

/// Adds a module.
///
/// # Errors
/// [`Loss`] if the version cannot say its name; nothing was added then.
pub fn put_module(out: &mut Vec<u8>, module: &Module, form: Form) -> Result<(), Loss> {
    let start = out.len();
    out.extend_from_slice(b"* u L ");
    if let Err(loss) = put_name(out, &module.name, form, "the name") {
        out.truncate(start);
        return Err(loss);
    }
    out.push(b' ');
    put_raw(out, &module.content);
    out.push(b'\n');
    Ok(())
}

/// Adds a record with these bins: name, particle type and value each, as [`super::Bin`] has them.
///
/// # Errors
/// [`Loss`] if the format cannot say something of it; nothing was added then.
pub fn put_record<'b>(
    out: &mut Vec<u8>,
    record: &RecordParts<'_>,
    bins: impl Iterator<Item = (&'b [u8], u8, &'b [u8])> + Clone,
    form: Form,
) -> Result<(), Loss> {
    let start = out.len();
    let put = try_put_record(out, record, bins, form);
    if put.is_err() {
        out.truncate(start);
    }
    put
}

fn try_put_record<'b>(
    out: &mut Vec<u8>,
    record: &RecordParts<'_>,
    bins: impl Iterator<Item = (&'b [u8], u8, &'b [u8])> + Clone,
    form: Form,
) -> Result<(), Loss> {
    if let Some(key) = record.user_key {
        put_user_key(out, key, form)?;
    }
    out.extend_from_slice(b"+ n ");
    put_name(out, record.namespace, form, "the namespace")?;
    out.extend_from_slice(b"\n+ d ");
    let start = out.len();
    out.resize(start + 28, 0);
    BASE64.encode_mut(record.digest, &mut out[start..]);
    out.push(b'\n');
    if !record.set.is_empty() {
        out.extend_from_slice(b"+ s ");
        put_name(out, record.set, form, "the set")?;
        out.push(b'\n');
    }
    if record.generation > u32::from(u16::MAX) {
        return Err(format!("the generation {} is over 65535", record.generation));
    }
    out.extend_from_slice(b"+ g ");
    put_number(out, record.generation);
    out.extend_from_slice(b"\n+ t ");
    put_number(out, record.void_time);
    out.extend_from_slice(b"\n+ b ");
    let count = bins.clone().count();
    if count > usize::from(u16::MAX) {
        return Err(format!("it has {count} bins, and the format counts to 65535"));
    }
    put_number(out, count as u64);
    out.push(b'\n');
    for (name, particle, value) in bins {
        put_bin(out, name, particle, value, form)?;
    }
    Ok(())
}

fn put_user_key(out: &mut Vec<u8>, key: &[u8], form: Form) -> Result<(), Loss> {
    let Some((&particle, value)) = key.split_first() else { return Err("its user key is empty".to_owned()) };
    out.extend_from_slice(b"+ k ");
    match (particle, <[u8; 8]>::try_from(value)) {
        (INTEGER, Ok(bits)) => {
            out.extend_from_slice(b"I ");
            put_number(out, i64::from_be_bytes(bits));
        }
        (FLOAT, Ok(bits)) => {
            out.extend_from_slice(b"D ");
            put_float(out, u64::from_be_bytes(bits), || "its user key".to_owned())?;
        }
        (STRING, _) => {
            out.extend_from_slice(b"S ");
            put_raw(out, value);
        }
        (BLOB, _) if form.compact => {
            out.extend_from_slice(b"B! ");
            put_raw(out, value);
        }
        (BLOB, _) => {
            out.extend_from_slice(b"B ");
            put_base64(out, value);
        }
        _ => return Err(format!("user keys of particle type {particle} with {} bytes have no letter", value.len())),
    }
    out.push(b'\n');
    Ok(())
}

fn put_float(out: &mut Vec<u8>, bits: u64, what: impl Fn() -> String) -> Result<(), Loss> {
    let value = f64::from_bits(bits);
    if value.is_nan() && bits != f64::NAN.to_bits() {
        return Err(format!("{} is a NaN with the bits {bits:016x}, and the format knows but one NaN", what()));
    }
    put_float_text(out, value);
    Ok(())
}

fn put_bin(out: &mut Vec<u8>, name: &[u8], particle: u8, value: &[u8], form: Form) -> Result<(), Loss> {
    let what = || format!("bin `{}`", name.escape_ascii());
    let mut begin = |letter: &[u8]| -> Result<(), Loss> {
        out.extend_from_slice(b"- ");
        out.extend_from_slice(letter);
        out.push(b' ');
        put_name(out, name, form, "a bin")
    };
    match (particle, <[u8; 8]>::try_from(value), value) {
        (NULL, _, []) => begin(b"N")?,
        (BOOL, _, [value @ (0 | 1)]) => {
            begin(b"Z")?;
            out.extend_from_slice(if *value == 1 { b" T" } else { b" F" });
        }
        (INTEGER, Ok(bits), _) => {
            begin(b"I")?;
            out.push(b' ');
            put_number(out, i64::from_be_bytes(bits));
        }
        (FLOAT, Ok(bits), _) => {
            begin(b"D")?;
            out.push(b' ');
            put_float(out, u64::from_be_bytes(bits), what)?;
        }
        (STRING | GEOJSON, ..) => {
            begin(if particle == STRING { b"S" } else { b"G" })?;
            out.push(b' ');
            put_raw(out, value);
        }
        _ => {
            let letter = letter_of(particle);
            let Some(letter) = letter else {
                return Err(format!(
                    "{} has the particle type {particle} with {} bytes, for which the format has no letter",
                    what(),
                    value.len()
                ));
            };
            if form.compact {
                begin(&[letter, b'!'])?;
                out.push(b' ');
                put_raw(out, value);
            } else {
                begin(&[letter])?;
                out.push(b' ');
                put_base64(out, value);
            }
        }
    }
    out.push(b'\n');
    Ok(())
}
