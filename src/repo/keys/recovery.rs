//! Recovery keys as people write them down: 256 random bits and three check bytes in base32, in groups of four.

use super::{RecoveryKey, crypto::random};
use crate::repo::RepoError;
use data_encoding::BASE32_NOPAD;
use zeroize::Zeroizing;

const CHECK_BYTES: usize = 3;
const CHECK_PREFIX: &[u8] = b"rekeep recovery key";

impl RecoveryKey {
    /// Draws a new one.
    pub fn generate() -> Result<Self, RepoError> {
        Ok(Self(print(&Zeroizing::new(random()?))))
    }
}

fn check(key: &[u8; 32]) -> [u8; CHECK_BYTES] {
    let hash = blake3::Hasher::new().update(CHECK_PREFIX).update(key).finalize();
    let mut check = [0; CHECK_BYTES];
    check.copy_from_slice(&hash.as_bytes()[..CHECK_BYTES]);
    check
}

pub(super) fn print(key: &[u8; 32]) -> String {
    let mut bytes = Zeroizing::new(key.to_vec());
    bytes.extend_from_slice(&check(key));
    let text = Zeroizing::new(BASE32_NOPAD.encode(&bytes));
    let mut grouped = String::with_capacity(text.len() * 5 / 4);
    for (index, letter) in text.chars().enumerate() {
        if index > 0 && index % 4 == 0 {
            grouped.push('-');
        }
        grouped.push(letter);
    }
    grouped
}

/// Reads one back, telling typing errors from keys that open nothing.
pub(super) fn parse(text: &str) -> Result<Zeroizing<[u8; 32]>, RepoError> {
    let mistyped = |what: &str| RepoError::Invalid(format!("the recovery key is mistyped: {what}"));
    let mut letters = Zeroizing::new(String::with_capacity(text.len()));
    for letter in text.chars().filter(|letter| !letter.is_whitespace() && *letter != '-') {
        letters.push(match letter {
            '0' => 'O',
            '1' => 'I',
            '8' => 'B',
            other => other.to_ascii_uppercase(),
        });
    }
    let bytes = BASE32_NOPAD
        .decode(letters.as_bytes())
        .map(Zeroizing::new)
        .map_err(|_| mistyped("it has letters that no recovery key has, or a wrong number of them"))?;
    let (key, given) = bytes.split_first_chunk::<32>().ok_or_else(|| mistyped("it is too short"))?;
    if given.len() != CHECK_BYTES {
        return Err(mistyped("it has a wrong number of letters"));
    }
    if given != check(key) {
        return Err(mistyped("its check letters do not fit the others"));
    }
    Ok(Zeroizing::new(*key))
}
