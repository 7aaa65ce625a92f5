use super::*;

fn three_runs() -> ChunkPlain {
    let mut plain = ChunkPlain::default();
    plain.bytes.extend_from_slice(b"first");
    plain.end_run();
    plain.end_run();
    plain.bytes.extend_from_slice(b"third run");
    plain.end_run();
    plain
}

#[test]
fn equal_runs_have_equal_ids_and_every_difference_shows() {
    let plain = three_runs();
    let id = plain.id(&[1; 32], ChunkKind::Keys);
    assert_eq!(id, three_runs().id(&[1; 32], ChunkKind::Keys));
    assert_ne!(id, plain.id(&[2; 32], ChunkKind::Keys));
    assert_ne!(id, plain.id(&[1; 32], ChunkKind::Values));
    let mut other = plain.clone();
    other.ends[0] = 4;
    assert_ne!(id, other.id(&[1; 32], ChunkKind::Keys));
    assert_ne!(id, ChunkPlain::single(plain.bytes).id(&[1; 32], ChunkKind::Keys));
}

#[test]
fn runs_come_back_one_by_one_and_together() {
    let data = ChunkData::from_plain(three_runs());
    let mut run = b"left over".to_vec();
    data.run(2, &mut run).unwrap();
    assert_eq!(run, b"third run");
    assert_eq!((data.runs(), data.run_len(1), data.run_len(3)), (3, Some(0), None));
    assert!(data.run(3, &mut run).is_err());
    assert_eq!(data.plain().unwrap(), three_runs());
}

#[test]
fn verify_tells_another_chunk() {
    let plain = three_runs();
    let id = plain.id(&[1; 32], ChunkKind::Keys);
    let data = ChunkData::from_plain(plain);
    data.verify(&[1; 32], ChunkKind::Keys, &id).unwrap();
    assert!(data.verify(&[1; 32], ChunkKind::List, &id).is_err());
    assert!(data.verify(&[1; 32], ChunkKind::Keys, &ChunkId([0; 32])).is_err());
}

#[test]
fn plaintext_out_of_bounds_is_refused() {
    assert!(three_runs().check().is_ok());
    assert!(ChunkPlain { bytes: vec![0; 3], ends: vec![2] }.check().is_err());
    assert!(ChunkPlain { bytes: vec![0; 3], ends: vec![3, 2, 3] }.check().is_err());
    assert!(ChunkPlain { bytes: vec![0; 3], ends: vec![] }.check().is_err());
    assert!(ChunkPlain { bytes: vec![], ends: vec![0; MAX_RUNS + 1] }.check().is_err());
    assert!(ChunkPlain::single(vec![0; MAX_CHUNK_BYTES + 1]).check().is_err());
}

#[test]
fn run_tables_that_promise_too_much_are_refused() {
    for body in [
        &b"\x01\x00\x05\x04abcd"[..],                              // raw, lengths differ
        b"\x01\x01\x04\x04abcd",                                   // compressed but not smaller
        b"\x01\x02\x04\x04abcd",                                   // unknown method
        b"\x01\x00\x04\x04abc",                                    // cut off
        b"\x01\x00\x04\x04abcde",                                  // left over
        b"\x02\x01\x01\xff\xff\xff\x03\x01\x01\xff\xff\xff\x03aa", // more than a chunk holds
        b"\xff\xff\xff\xff\x0f",                                   // more runs than bytes
        b"",
    ] {
        assert!(ChunkData::parse(body.to_vec()).is_err(), "{body:?}");
    }
    assert_eq!(ChunkData::parse(b"\x01\x02\x04\x04abcd".to_vec()).unwrap_err(), super::ParseError::Method(2));
    let data = ChunkData::parse(b"\x01\x01\x02\x09ab".to_vec()).unwrap();
    assert!(data.run(0, &mut Vec::new()).is_err(), "not a compressed frame");
}

#[test]
fn a_compressed_run_must_have_its_declared_length() {
    let stored = zstd::bulk::compress(&[7; 1000], 1).unwrap();
    let mut out = b"kept".to_vec();
    codec::decompress_onto(&stored, 1000, &mut out).unwrap();
    assert_eq!(out.len(), 1004);
    assert!(codec::decompress_onto(&stored, 999, &mut out).is_err());
    assert!(codec::decompress_onto(&stored, 1001, &mut out).is_err());
    let twice = [&stored[..], &stored[..]].concat();
    assert!(codec::decompress_onto(&twice, 2000, &mut out).is_err());
    assert_eq!(out.len(), 1004, "a failure leaves nothing behind");
}

#[test]
fn memory_chunks_deduplicate_and_count() {
    let chunks = MemoryChunks::new([3; 32]);
    let plain = three_runs();
    let first = chunks.writer().put(ChunkKind::Keys, &plain).unwrap();
    let second = (&chunks).put(ChunkKind::Keys, &plain).unwrap();
    assert!(first.new && !second.new && first.id == second.id);
    assert_eq!((chunks.puts(), chunks.len(), second.stored_bytes), (2, 1, 0));
    assert_eq!(chunks.read(ChunkKind::Keys, &first.id).unwrap().plain().unwrap(), plain);
    assert!(matches!(chunks.read(ChunkKind::Values, &first.id), Err(RepoError::ChunkMissing { .. })));
}
