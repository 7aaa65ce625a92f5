//! How long the service's own certificates hold: it is told before they end, not when nobody can connect any more.

use crate::record::Timestamp;
use pkcs8::der::{
    Decode as _, Reader as _, SliceReader, Tag, Tagged as _,
    asn1::{AnyRef, GeneralizedTime, UtcTime},
};
use std::{
    collections::BTreeMap,
    sync::{PoisonError, RwLock},
};

/// It is told so long before the end, or for the last quarter of what holds for a shorter time.
const MOST_AHEAD_MILLIS: i64 = 21 * 86_400_000;

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Use {
    /// What the service shows, with what it was signed with.
    Server,
    /// The authorities of clients.
    ClientAuthority,
    /// What these took back.
    RevocationList,
}

impl Use {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::ClientAuthority => "client-authority",
            Self::RevocationList => "revocation-list",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Server => "the service's own certificate",
            Self::ClientAuthority => "a certificate of an authority of clients",
            Self::RevocationList => "a list of what an authority of clients took back",
        }
    }

    const fn behind(self) -> &'static str {
        match self {
            Self::Server => "clients refuse the service from then on",
            Self::ClientAuthority => "it goes on vouching for clients, and should not",
            Self::RevocationList => "its clients are refused from then on",
        }
    }
}

/// When the first of a file ends that nothing in it follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct End {
    pub(super) of: Use,
    pub(super) file: String,
    pub(super) at: Timestamp,
    /// It is told from then on.
    soon: Timestamp,
}

/// How an end stands to now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Nearness {
    Far,
    Soon,
    Over,
}

impl End {
    pub(super) fn nearness(&self, now: Timestamp) -> Nearness {
        match now {
            now if now >= self.at => Nearness::Over,
            now if now >= self.soon => Nearness::Soon,
            _ => Nearness::Far,
        }
    }

    /// For people.
    pub(super) fn words(&self, now: Timestamp) -> String {
        let verb = if self.nearness(now) == Nearness::Over { "ended" } else { "ends" };
        format!("{}: {} {verb} at {}: {}", self.file, self.of.words(), self.at, self.of.behind())
    }
}

/// What is known of all files, as they were read last.
#[derive(Debug, Default)]
pub(super) struct Certificates(RwLock<Vec<End>>);

impl Certificates {
    pub(super) fn put(&self, ends: Vec<End>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = ends;
    }

    pub(super) fn ends(&self) -> Vec<End> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Those that somebody should look after.
    pub(super) fn near(&self, now: Timestamp) -> Vec<End> {
        let mut ends = self.ends();
        ends.retain(|end| end.nearness(now) > Nearness::Far);
        ends
    }
}

/// When something begins and ends to hold, and of whom it is.
struct Span {
    name: Vec<u8>,
    from: i64,
    to: i64,
}

/// Of what one file holds, DER each; `None` where nothing in it says an end.
pub(super) fn end_of<'d>(of: Use, file: &str, all: impl Iterator<Item = &'d [u8]>) -> Option<End> {
    let mut last: BTreeMap<Vec<u8>, Span> = BTreeMap::new();
    for der in all {
        let read = if of == Use::RevocationList { of_list(der) } else { of_certificate(der) };
        let Some(span) = read.ok().flatten() else { continue };
        // One that is followed by another of the same name may end.
        match last.get(&span.name) {
            Some(known) if known.to >= span.to => {}
            _ => drop(last.insert(span.name.clone(), span)),
        }
    }
    let first = last.into_values().min_by_key(|span| span.to)?;
    let [at, soon] = [first.to, first.to - ahead(first.to - first.from)].map(Timestamp::from_millis);
    Some(End { of, file: file.to_owned(), at, soon })
}

/// How long before its end something is told that holds for so long.
fn ahead(lasts: i64) -> i64 {
    MOST_AHEAD_MILLIS.min(lasts.max(0) / 4)
}

type Der<T> = pkcs8::der::Result<T>;

/// The parts of what stands in a sequence.
fn parts(sequence: AnyRef<'_>) -> Der<Vec<AnyRef<'_>>> {
    let mut reader = SliceReader::new(sequence.value())?;
    let mut parts = Vec::new();
    while !reader.is_finished() {
        parts.push(reader.decode()?);
    }
    Ok(parts)
}

/// The parts of what was signed: the first of what is there.
fn signed(der: &[u8]) -> Der<Vec<AnyRef<'_>>> {
    let outer = AnyRef::from_der(der)?;
    let mut reader = SliceReader::new(outer.value())?;
    parts(reader.decode()?)
}

fn time(part: AnyRef<'_>) -> Option<i64> {
    let since = match part.tag() {
        Tag::UtcTime => part.decode_as::<UtcTime>().ok()?.to_unix_duration(),
        Tag::GeneralizedTime => part.decode_as::<GeneralizedTime>().ok()?.to_unix_duration(),
        _ => return None,
    };
    i64::try_from(since.as_millis()).ok()
}

/// Serial number, algorithm, issuer, validity, subject, behind a version that may be left out (RFC 5280, 4.1).
fn of_certificate(der: &[u8]) -> Der<Option<Span>> {
    let parts = signed(der)?;
    let begin = usize::from(parts.first().is_some_and(|part| part.tag() != Tag::Integer));
    let (Some(validity), Some(subject)) = (parts.get(begin + 3), parts.get(begin + 4)) else { return Ok(None) };
    let mut reader = SliceReader::new(validity.value())?;
    let (from, to) = (reader.decode()?, reader.decode()?);
    let span = |from, to| Span { name: subject.value().to_vec(), from, to };
    Ok(time(from).zip(time(to)).map(|(from, to)| span(from, to)))
}

/// Algorithm, issuer, when it was made, when the next one is, behind a version that may be left out (RFC 5280, 5.1).
fn of_list(der: &[u8]) -> Der<Option<Span>> {
    let parts = signed(der)?;
    let begin = usize::from(parts.first().is_some_and(|part| part.tag() == Tag::Integer));
    let Some(issuer) = parts.get(begin + 1) else { return Ok(None) };
    let times: Vec<i64> = parts.iter().skip(begin + 2).take(2).filter_map(|part| time(*part)).collect();
    let [from, to] = times[..] else { return Ok(None) };
    Ok(Some(Span { name: issuer.value().to_vec(), from, to }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, pem::PemObject as _};

    fn end(of: Use, names: &[&str]) -> Option<End> {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls");
        let mut all = Vec::new();
        for path in names.iter().map(|name| folder.join(name)) {
            if of == Use::RevocationList {
                let read = CertificateRevocationListDer::pem_file_iter(path).unwrap();
                all.extend(read.map(|list| list.unwrap().as_ref().to_vec()));
            } else {
                let read = CertificateDer::pem_file_iter(path).unwrap();
                all.extend(read.map(|one| one.unwrap().as_ref().to_vec()));
            }
        }
        end_of(of, "f", all.iter().map(Vec::as_slice))
    }

    fn day(end: Option<End>) -> String {
        end.unwrap().at.to_string()[..10].to_owned()
    }

    /// The days are those that openssl shows of these files.
    #[test]
    fn the_end_of_a_file_is_the_first_that_nothing_in_it_follows() {
        assert_eq!(day(end(Use::Server, &["loopback.pem"])), "2126-10-28");
        assert_eq!(day(end(Use::RevocationList, &["stale.crl.pem"])), "2020-01-02");
        // A newer list of the same authority follows the one that is over.
        let both = day(end(Use::RevocationList, &["stale.crl.pem", "gone.crl.pem"]));
        assert_eq!(both, day(end(Use::RevocationList, &["gone.crl.pem"])));
        assert_eq!(end(Use::Server, &[]), None);
    }

    #[test]
    fn what_is_damaged_has_no_end_and_harms_nobody() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tls/loopback.pem");
        let whole = CertificateDer::from_pem_file(path).unwrap().as_ref().to_vec();
        for cut in 0..whole.len() {
            let _ = end_of(Use::Server, "f", std::iter::once(&whole[..cut]));
            let _ = end_of(Use::RevocationList, "f", std::iter::once(&whole[..cut]));
            let mut other = whole.clone();
            other[cut] ^= 0x55;
            let _ = end_of(Use::Server, "f", std::iter::once(&other[..]));
        }
        assert_eq!(end_of(Use::Server, "f", std::iter::once(&b""[..])), None);
    }

    #[test]
    fn it_is_told_for_the_last_three_weeks_or_the_last_quarter() {
        let end = |days: i64| {
            let mut end = end(Use::Server, &["loopback.pem"]).unwrap();
            end.soon = Timestamp::from_millis(end.at.as_millis() - ahead(days * 86_400_000));
            end
        };
        let before = |end: &End, days: i64| Timestamp::from_millis(end.at.as_millis() - days * 86_400_000);
        let (year, week) = (end(365), end(8));
        assert_eq!(year.nearness(before(&year, 22)), Nearness::Far);
        assert_eq!(year.nearness(before(&year, 20)), Nearness::Soon);
        assert_eq!(week.nearness(before(&week, 3)), Nearness::Far);
        assert_eq!(week.nearness(before(&week, 1)), Nearness::Soon);
        assert_eq!(week.nearness(week.at), Nearness::Over);
        assert!(week.words(week.at).contains("ended at") && week.words(before(&week, 1)).contains("ends at"));
    }
}
