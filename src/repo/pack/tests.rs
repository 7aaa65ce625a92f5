use super::*;
use crate::repo::{
    ChunkPlain,
    keys::{Role, Suite},
};
use std::sync::Arc;

const LEASE: SnapshotId = SnapshotId([7; 16]);

fn keyring() -> Arc<Keyring> {
    Arc::new(Keyring::ephemeral().unwrap())
}

/// Bytes without pattern, the same for the same seed.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn mixed_chunk(seed: u64) -> ChunkPlain {
    let mut plain = ChunkPlain::default();
    plain.bytes.extend_from_slice(&noise(seed, 20_000));
    plain.end_run();
    plain.bytes.extend(std::iter::repeat_n(b"pattern ", 5_000).flatten());
    plain.end_run();
    plain.end_run();
    plain.bytes.extend_from_slice(b"short");
    plain.end_run();
    plain
}

fn pack_of(keyring: &Arc<Keyring>, plains: &[ChunkPlain], level: i32) -> SealedPack {
    let mut builder = PackBuilder::new(keyring.clone(), PackKind::Metadata, LEASE).unwrap();
    for plain in plains {
        let id = plain.id(&keyring.secrets.chunk_id, ChunkKind::Keys);
        builder.add(id, ChunkKind::Keys, plain, level, true).unwrap();
    }
    builder.finish().unwrap()
}

fn frame<'a>(pack: &'a SealedPack, entry: &PackEntry) -> &'a [u8] {
    &pack.bytes[entry.offset as usize..][..entry.stored_len as usize]
}

#[test]
fn chunks_come_back_from_pack_header_and_directory() {
    let keyring = keyring();
    let plains = [mixed_chunk(1), ChunkPlain::default(), ChunkPlain::single(Vec::new()), mixed_chunk(2)];
    for level in [0, 1, 3] {
        let pack = pack_of(&keyring, &plains, level);
        assert_eq!(pack.bytes.len() % PADDING_BYTES, 0);
        let (header, kind, lease, entries) = read_directory(&keyring, &pack.name, &pack.bytes).unwrap();
        assert_eq!((&header, kind, lease), (&pack.header, PackKind::Metadata, LEASE));
        assert_eq!(entries, pack.entries);
        let key = PackKey::unwrap(&keyring, &pack.name, &header).unwrap();
        for (ordinal, (entry, plain)) in entries.iter().zip(&plains).enumerate() {
            let data = key.open_frame(ordinal as u64, entry, frame(&pack, entry)).unwrap();
            assert_eq!(&data.plain().unwrap(), plain);
            data.verify(&keyring.secrets.chunk_id, ChunkKind::Keys, &entry.id).unwrap();
        }
    }
}

#[test]
fn each_run_is_compressed_only_if_it_shrinks() {
    let keyring = keyring();
    let compressed = |level| {
        let pack = pack_of(&keyring, &[mixed_chunk(1)], level);
        let key = PackKey::unwrap(&keyring, &pack.name, &pack.header).unwrap();
        let data = key.open_frame(0, &pack.entries[0], frame(&pack, &pack.entries[0])).unwrap();
        data.runs.iter().map(|run| run.compressed).collect::<Vec<_>>()
    };
    assert_eq!(compressed(3), [false, true, false, false]);
    assert_eq!(compressed(0), [false; 4]);
}

#[test]
fn a_frame_opens_only_in_its_own_place() {
    let keyring = keyring();
    let pack = pack_of(&keyring, &[mixed_chunk(1), mixed_chunk(2)], 0);
    let key = PackKey::unwrap(&keyring, &pack.name, &pack.header).unwrap();
    let [first, second] = [pack.entries[0], pack.entries[1]];
    assert_eq!(first.stored_len, second.stored_len);
    assert!(key.open_frame(0, &first, frame(&pack, &second)).is_err(), "moved");
    assert!(key.open_frame(1, &first, frame(&pack, &first)).is_err(), "another ordinal");
    assert!(key.open_frame(0, &PackEntry { id: second.id, ..first }, frame(&pack, &first)).is_err(), "another id");
    assert!(key.open_frame(0, &PackEntry { kind: ChunkKind::Values, ..first }, frame(&pack, &first)).is_err());
    assert!(key.open_frame(0, &PackEntry { plain_len: 1, ..first }, frame(&pack, &first)).is_err());
    let other = pack_of(&keyring, &[mixed_chunk(1)], 0);
    let other_key = PackKey::unwrap(&keyring, &other.name, &other.header).unwrap();
    assert!(other_key.open_frame(0, &first, frame(&pack, &first)).is_err(), "another pack");
    assert!(PackKey::unwrap(&self::keyring(), &pack.name, &pack.header).is_err(), "another repository");
}

#[test]
fn no_flipped_or_cut_byte_of_header_or_frame_goes_unseen() {
    let keyring = keyring();
    let plain = ChunkPlain::single(b"a small chunk, a small chunk".repeat(4));
    let pack = pack_of(&keyring, &[plain], 3);
    for at in 0..pack.header.len() {
        for bit in 0..8 {
            let mut header = pack.header.to_vec();
            header[at] ^= 1 << bit;
            assert!(PackKey::unwrap(&keyring, &pack.name, &header).is_err(), "header byte {at}");
        }
    }
    let key = PackKey::unwrap(&keyring, &pack.name, &pack.header).unwrap();
    let entry = pack.entries[0];
    let whole = frame(&pack, &entry).to_vec();
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << bit;
            assert!(key.open_frame(0, &entry, &flipped).is_err(), "frame byte {at}");
        }
        let cut = PackEntry { stored_len: at as u32, ..entry };
        assert!(key.open_frame(0, &cut, &whole[..at]).is_err());
        assert!(key.open_frame(0, &entry, &whole[..at]).is_err());
    }
    let longer = [&whole[..], &[0]].concat();
    assert!(key.open_frame(0, &PackEntry { stored_len: longer.len() as u32, ..entry }, &longer).is_err());
}

/// Reads under the name that fits the bytes: what someone who renames a changed pack can do.
fn reads(keyring: &Keyring, bytes: &[u8]) -> bool {
    read_directory(keyring, &ObjectName(*blake3::hash(bytes).as_bytes()), bytes).is_ok()
}

#[test]
fn no_flipped_byte_of_directory_padding_or_trailer_goes_unseen() {
    let keyring = keyring();
    let pack = pack_of(&keyring, &[ChunkPlain::single(b"x".to_vec())], 3);
    assert!(reads(&keyring, &pack.bytes));
    assert!(read_directory(&keyring, &ObjectName([0; 32]), &pack.bytes).is_err());
    let directory = pack.entries[0].offset as usize + pack.entries[0].stored_len as usize;
    let len = pack.bytes.len();
    for at in (0..pack.header.len()).chain(directory..directory + 200).chain(len - 100..len) {
        let mut flipped = pack.bytes.clone();
        flipped[at] ^= 0x10;
        assert!(!reads(&keyring, &flipped), "byte {at}");
    }
    for end in [0, 1, 63, 64, 135, 136, 192, 65_535, len - 1] {
        assert!(!reads(&keyring, &pack.bytes[..end]), "cut at {end}");
    }
    assert!(!reads(&keyring, &[&pack.bytes[..], &vec![0; PADDING_BYTES]].concat()));
}

#[test]
fn newer_versions_and_suites_are_told() {
    let keyring = keyring();
    let pack = pack_of(&keyring, &[], 3);
    let mut newer = pack.header.to_vec();
    newer[8] = 2;
    assert!(matches!(PackKey::unwrap(&keyring, &pack.name, &newer), Err(RepoError::NewerFormat { found: 2, .. })));
    for field in [10, 11, 48] {
        let mut unknown = pack.header.to_vec();
        unknown[field] = 9;
        assert!(matches!(PackKey::unwrap(&keyring, &pack.name, &unknown), Err(RepoError::UnknownFeature { .. })));
    }
}

#[test]
fn entries_of_an_unknown_kind_are_no_damage() {
    let keyring = keyring();
    let mut builder = PackBuilder::new(keyring.clone(), PackKind::Data, LEASE).unwrap();
    let plain = mixed_chunk(1);
    let id = plain.id(&keyring.secrets.chunk_id, ChunkKind::Values);
    builder.add(id, ChunkKind::Values, &plain, 3, true).unwrap();
    let mut bytes = Vec::new();
    put_entries(&mut bytes, &builder.finish().unwrap().entries);
    let read = |bytes: &[u8]| read_entries(&mut Reader::new(bytes), PackKind::Data);
    assert!(read(&bytes).is_ok());
    // Behind the count and the id.
    bytes[33] = 8;
    let error = unread_entries("index/x", read(&bytes).unwrap_err());
    assert!(
        matches!(&error, RepoError::UnknownFeature { feature, .. } if feature == "chunk kind 8 (values as differences)")
    );
    bytes[33] = 0;
    let error = unread_entries("index/x", read(&bytes).unwrap_err());
    assert!(matches!(error, RepoError::Damaged { .. }), "nothing has the number 0");
}

#[test]
fn a_builder_refuses_what_a_reader_would_and_stays_usable() {
    let keyring = keyring();
    let mut builder = PackBuilder::new(keyring.clone(), PackKind::Data, LEASE).unwrap();
    let plain = mixed_chunk(1);
    let id = plain.id(&keyring.secrets.chunk_id, ChunkKind::Values);
    assert!(builder.add(id, ChunkKind::Keys, &plain, 3, true).is_err());
    let torn = ChunkPlain { bytes: vec![0; 9], ends: vec![8] };
    assert!(builder.add(id, ChunkKind::Values, &torn, 3, true).is_err());
    assert!(builder.is_empty() && builder.len() == 136);
    builder.add(id, ChunkKind::Values, &plain, 3, true).unwrap();
    let largest = ChunkPlain::single(noise(3, MAX_CHUNK_BYTES));
    builder.add(id, ChunkKind::Values, &largest, 1, true).unwrap();
    let pack = builder.finish().unwrap();
    assert_eq!(read_directory(&keyring, &pack.name, &pack.bytes).unwrap().3.len(), 2);
    assert!(path(&pack.name).starts_with(&format!("packs/{}/", &pack.name.to_string()[..2])));
}

/// Values of a put-only host: it can write them and not read them; so can metadata be read by everybody.
#[test]
fn values_of_a_put_only_host_open_for_who_may_read_values() {
    let admin = keyring();
    for suite in crate::repo::keys::Suite::ALL {
        let put_only = Arc::new(admin.for_role(Role::PutOnly).unwrap().with_suite(suite));
        let plain = mixed_chunk(1);
        for (kind, chunk) in [(PackKind::Data, ChunkKind::Values), (PackKind::Metadata, ChunkKind::Keys)] {
            let mut builder = PackBuilder::new(put_only.clone(), kind, LEASE).unwrap();
            let id = plain.id(&put_only.secrets.chunk_id, chunk);
            builder.add(id, chunk, &plain, 3, true).unwrap();
            let pack = builder.finish().unwrap();
            for role in Role::ALL {
                let keyring = admin.for_role(role).unwrap();
                match PackKey::unwrap(&keyring, &pack.name, &pack.header) {
                    Ok(key) => {
                        let data = key.open_frame(0, &pack.entries[0], frame(&pack, &pack.entries[0])).unwrap();
                        assert_eq!(data.plain().unwrap(), plain);
                        assert!(role != Role::PutOnly || kind == PackKind::Metadata);
                    }
                    Err(error) => {
                        assert!(matches!(error, RepoError::Role { .. }), "{error}");
                        assert_eq!((role, kind), (Role::PutOnly, PackKind::Data));
                    }
                }
            }
        }
    }
}

#[test]
fn builders_can_move_between_threads() {
    fn is_send<T: Send>() {}
    fn is_shared<T: Send + Sync>() {}
    is_send::<PackBuilder>();
    is_shared::<PackKey>();
    is_shared::<Keyring>();
}

/// A pack of one keyring, as another one takes it over.
fn moved_to(to: &Keyring, from: &Arc<Keyring>, pack: &SealedPack) -> Result<SealedPack, RepoError> {
    let described = Described { name: pack.name, header: &pack.header, entries: &pack.entries };
    moved(from, to, SnapshotId([9; 16]), &described, pack.bytes.clone())
}

#[test]
fn a_pack_that_is_taken_over_keeps_its_frames_and_opens_there_alone() {
    let (from, to, third) = (keyring(), keyring(), keyring());
    let plains = [mixed_chunk(1), mixed_chunk(2)];
    let pack = pack_of(&from, &plains, 1);
    let taken = moved_to(&to, &from, &pack).unwrap();
    let front = pack.header.len();
    assert_eq!(taken.header.len(), front);
    assert!(taken.bytes[front..] == pack.bytes[front..] && taken.bytes.starts_with(&taken.header));
    assert_ne!(taken.name, pack.name);
    let (_, _, lease, entries) = read_directory(&to, &taken.name, &taken.bytes).unwrap();
    assert_eq!((lease, &entries), (SnapshotId([9; 16]), &pack.entries));
    let key = PackKey::unwrap(&to, &taken.name, &taken.header).unwrap();
    for (ordinal, (entry, plain)) in entries.iter().zip(&plains).enumerate() {
        assert_eq!(&key.open_frame(ordinal as u64, entry, frame(&taken, entry)).unwrap().plain().unwrap(), plain);
    }
    for stranger in [&from, &third] {
        let error = PackKey::unwrap(stranger, &taken.name, &taken.header).err().unwrap();
        assert!(matches!(error, RepoError::Damaged { .. }), "{error}");
    }
    // On to a third repository, and back to where it came from.
    for last in [&third, &from] {
        let again = moved_to(last, &to, &taken).unwrap();
        assert_eq!(read_directory(last, &again.name, &again.bytes).unwrap().3, pack.entries);
        assert!(again.bytes[front..] == pack.bytes[front..]);
    }
}

#[test]
fn a_pack_is_taken_over_only_if_it_is_what_the_index_says() {
    let (from, to) = (keyring(), keyring());
    let pack = pack_of(&from, &[mixed_chunk(1), mixed_chunk(2)], 1);
    for at in [3, pack.header.len() + 40, pack.bytes.len() - 40, pack.bytes.len() - 1] {
        let mut harmed = pack.clone();
        harmed.bytes[at] ^= 1;
        assert!(matches!(moved_to(&to, &from, &harmed), Err(RepoError::Damaged { .. })), "{at}");
    }
    let mut other = pack.clone();
    other.entries.swap(0, 1);
    assert!(moved_to(&to, &from, &other).unwrap_err().to_string().contains("directory"));
    let cut = SealedPack { bytes: pack.bytes[..pack.bytes.len() - 1].to_vec(), ..pack.clone() };
    assert!(moved_to(&to, &from, &cut).is_err());
    assert!(moved_to(&to, &from, &SealedPack { bytes: Vec::new(), ..pack.clone() }).is_err());
    // Who may not read values has no key to wrap one for values.
    let values = {
        let mut builder = PackBuilder::new(from.clone(), PackKind::Data, LEASE).unwrap();
        let plain = mixed_chunk(3);
        builder.add(plain.id(&from.secrets.chunk_id, ChunkKind::Values), ChunkKind::Values, &plain, 1, false).unwrap();
        builder.finish().unwrap()
    };
    let put_only = to.for_role(Role::PutOnly).unwrap();
    let can = |pack: &SealedPack, to: &Keyring| Header::parse("it", &pack.header).unwrap().can_move(&from, to);
    assert!(can(&values, &to) && can(&pack, &put_only) && !can(&values, &put_only));
    assert!(matches!(moved_to(&put_only, &from, &values), Err(RepoError::Role { .. })));
    // Sealed under an epoch that is over, or as the other repository seals nothing, it is sealed anew.
    let mut newer = from.for_role(Role::Admin).unwrap();
    newer.current_epoch += 1;
    assert!(!Header::parse("it", &pack.header).unwrap().can_move(&newer, &to));
    let other_suite = Suite::ALL.into_iter().find(|suite| *suite != to.suite).unwrap();
    assert!(!can(&pack, &to.for_role(Role::Admin).unwrap().with_suite(other_suite)));
}
