//! Logging in with user and password, where the cluster wants it.

use super::wire::{FRAME_HEAD_BYTES, KIND_SECURITY, put_frame_head};
use zeroize::Zeroizing;

const HEAD_BYTES: usize = 16;
const LOGIN: u8 = 20;
const USER: u8 = 0;
const CREDENTIAL: u8 = 3;

/// The server has no security: nobody needs to log in.
pub(super) const NOT_CONFIGURED: u8 = 52;
/// The same of servers that cannot have it.
pub(super) const NOT_SUPPORTED: u8 = 51;

/// The salt that every client of Aerospike uses.
const SALT: [u8; 16] = [0xf4, 0x6b, 0x0b, 0xbe, 0xcf, 0xfe, 0x8d, 0x1b, 0x06, 0x67, 0xd8, 0x4f, 0x6d, 0xc1, 0xd8, 0xa9];

/// Who logs in, ready to be sent.
#[derive(Clone)]
pub(super) struct Credential {
    user: String,
    hash: Zeroizing<String>,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Credential {
    /// Hashes the password as servers keep it.
    pub(super) fn new(user: &str, password: &str) -> Result<Self, String> {
        if password.is_empty() || password.len() > 72 {
            return Err("a password has 1 to 72 bytes".to_owned());
        }
        let hashed = bcrypt::hash_with_salt(password, 10, SALT).map_err(|error| error.to_string())?;
        let hash = Zeroizing::new(hashed.format_for_version(bcrypt::Version::TwoA));
        Ok(Self { user: user.to_owned(), hash })
    }

    /// The frame of a login.
    pub(super) fn request(&self) -> Zeroizing<Vec<u8>> {
        let mut body = Zeroizing::new(vec![0, 0, LOGIN, 2]);
        body.resize(HEAD_BYTES, 0);
        for (kind, value) in [(USER, self.user.as_bytes()), (CREDENTIAL, self.hash.as_bytes())] {
            body.extend_from_slice(&(value.len() as u32 + 1).to_be_bytes());
            body.push(kind);
            body.extend_from_slice(value);
        }
        let mut out = Zeroizing::new(Vec::with_capacity(FRAME_HEAD_BYTES + body.len()));
        put_frame_head(&mut out, KIND_SECURITY, body.len());
        out.extend_from_slice(&body);
        out
    }
}

/// The result code of an answer's body; `None` if it is no answer.
pub(super) fn result(body: &[u8]) -> Option<u8> {
    (body.len() >= HEAD_BYTES).then(|| body[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_carries_the_hash_that_servers_keep() {
        let credential = Credential::new("admin", "admin").unwrap();
        assert!(credential.hash.starts_with("$2a$10$7EqJtq98hPqEX7fNZaFWoO"), "{}", credential.hash.as_str());
        assert_eq!(credential.hash.len(), 60);
        let request = credential.request();
        assert_eq!(&request[..12], [2, 2, 0, 0, 0, 0, 0, (request.len() - 8) as u8, 0, 0, 20, 2]);
        assert_eq!(&request[24..34], [0, 0, 0, 6, 0, b'a', b'd', b'm', b'i', b'n']);
    }

    #[test]
    fn a_short_answer_is_none() {
        assert_eq!(result(&[0; 15]), None);
        assert_eq!(result(&[0, 52, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), Some(52));
    }
}
