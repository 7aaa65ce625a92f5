//! Keys of encrypted files: a hash over an RSA private key, in PEM or in any of the forms that the tools take it in.

use super::cipher::{Cipher, Mode};
use data_encoding::BASE64;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// How often base64 may lie in base64.
const MAX_WRAPPINGS: usize = 3;

/// The cipher of a key and a mode.
///
/// # Errors
/// In words, what is no key.
pub fn cipher_of(mode: Mode, key: &[u8]) -> Result<Cipher, String> {
    let der = Zeroizing::new(pkcs1_of(key)?);
    let hash = Zeroizing::new(<[u8; 32]>::from(Sha256::digest(der.as_slice())));
    Ok(Cipher::new(mode, &hash))
}

/// The PKCS#1 form of a private key that is given as PEM, as base64 of PEM or DER, or as DER.
fn pkcs1_of(key: &[u8]) -> Result<Vec<u8>, String> {
    let mut key = Zeroizing::new(key.to_vec());
    for _ in 0..MAX_WRAPPINGS {
        if let Some(der) = pem(&key)? {
            return unwrap(&der);
        }
        if key.first() == Some(&0x30) {
            return unwrap(&key);
        }
        let packed: Zeroizing<Vec<u8>> =
            Zeroizing::new(key.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect());
        key = match BASE64.decode(&packed) {
            Ok(inner) if !inner.is_empty() => Zeroizing::new(inner),
            _ => break,
        };
    }
    Err("it is no RSA private key in PEM, and no base64 of one".to_owned())
}

/// The bytes of the first private key in a PEM text.
fn pem(text: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
    let Ok(text) = std::str::from_utf8(text) else { return Ok(None) };
    let Some(begin) = text.find("-----BEGIN ") else { return Ok(None) };
    let text = &text[begin + 11..];
    let Some((label, rest)) = text.split_once("-----") else { return Err("its PEM has no end".to_owned()) };
    match label {
        "RSA PRIVATE KEY" | "PRIVATE KEY" => {}
        "ENCRYPTED PRIVATE KEY" => {
            return Err("its private key is itself encrypted, which the tools do not take".to_owned());
        }
        other => return Err(format!("it is a `{other}`, not a private key")),
    }
    let Some((body, _)) = rest.split_once("-----END ") else { return Err("its PEM has no end".to_owned()) };
    if body.contains("ENCRYPTED") {
        return Err("its private key is itself encrypted, which the tools do not take".to_owned());
    }
    let body: Zeroizing<String> = Zeroizing::new(body.split_ascii_whitespace().collect());
    let der = BASE64.decode(body.as_bytes()).map_err(|_| "its PEM is not base64".to_owned())?;
    Ok(Some(Zeroizing::new(der)))
}

/// PKCS#1 as it is; out of PKCS#8, what it wraps.
fn unwrap(der: &[u8]) -> Result<Vec<u8>, String> {
    let wrong = || "it is no RSA private key".to_owned();
    let (0x30, body, []) = element(der).ok_or_else(wrong)? else { return Err(wrong()) };
    let (0x02, version, rest) = element(body).ok_or_else(wrong)? else { return Err(wrong()) };
    match element(rest).ok_or_else(wrong)? {
        // The modulus follows.
        (0x02, ..) => Ok(der.to_vec()),
        (0x30, algorithm, rest) if version == [0] => {
            const RSA: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
            match (element(algorithm), element(rest)) {
                (Some((0x06, oid, _)), Some((0x04, inner, _))) if oid == RSA => Ok(inner.to_vec()),
                (Some((0x06, ..)), _) => Err("it is a private key of another kind than RSA".to_owned()),
                _ => Err(wrong()),
            }
        }
        _ => Err(wrong()),
    }
}

/// Tag, content and what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut len = usize::from(first);
    if first & 0x80 != 0 {
        let (bytes, after) = rest.split_at_checked(usize::from(first & 0x7f)).filter(|(bytes, _)| bytes.len() <= 4)?;
        len = bytes.iter().fold(0, |len, byte| len << 8 | usize::from(*byte));
        rest = after;
    }
    let (content, after) = rest.split_at_checked(len)?;
    Some((tag, content, after))
}
