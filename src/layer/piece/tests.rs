use super::*;
use crate::{layer::tests::model::Rng, repo::chunk::MemoryChunks};

fn writer() -> PieceWriter {
    PieceWriter::new(&crate::layer::tests::model::context())
}

#[test]
fn a_list_over_1024_entries_nests_and_reads_back() {
    let chunks = MemoryChunks::new([1; 32]);
    let reader: Arc<dyn ChunkReader> = Arc::new(chunks.clone());
    for count in [1usize, 1024, 1025, 2048, 2049, 5000] {
        let mut pieces = writer();
        let mut expected = Vec::new();
        for i in 0..count {
            let bytes = (i as u64).to_le_bytes().to_vec();
            expected.extend_from_slice(&bytes);
            let put = chunks.writer().put(ChunkKind::Piece, &ChunkPlain::single(bytes)).unwrap();
            pieces.push(0, PieceRef { id: put.id, bytes: 8 }, &mut chunks.writer()).unwrap();
        }
        let list = pieces.finish(&mut chunks.writer()).unwrap();
        assert_eq!(list[0], u8::from(count > 1024));
        let mut value = Vec::new();
        PieceReader::open(&reader, &list, expected.len() as u64).unwrap().read_to_end(&mut value).unwrap();
        assert!(value == expected, "{count} pieces");
        let mut visited = 0;
        for_each_piece(&reader, &list, &mut |_| {
            visited += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(visited, count + if count > 1024 { count.div_ceil(1024) } else { 0 });
        assert!(PieceReader::open(&reader, &list, expected.len() as u64 + 1).is_err());
    }
}

#[test]
fn a_piece_of_another_length_is_refused() {
    let chunks = MemoryChunks::new([1; 32]);
    let reader: Arc<dyn ChunkReader> = Arc::new(chunks.clone());
    let put = chunks.writer().put(ChunkKind::Piece, &ChunkPlain::single(vec![1; 10])).unwrap();
    let mut list = Vec::new();
    PieceList::encode(0, &[PieceRef { id: put.id, bytes: 11 }], &mut list);
    let error = PieceReader::open(&reader, &list, 11).unwrap().read_to_end(&mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("10 bytes"), "{error}");
}

/// Reads in odd steps.
struct Dribble<'a>(&'a [u8], usize);
impl Read for Dribble<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.1 = self.1 * 7 % 99_991 + 1;
        let len = self.1.min(out.len()).min(self.0.len());
        out[..len].copy_from_slice(&self.0[..len]);
        self.0 = &self.0[len..];
        Ok(len)
    }
}

#[test]
fn pieces_do_not_depend_on_how_the_source_reads() {
    let mut rng = Rng(1);
    let bytes = rng.bytes(6 << 20);
    let chunks = MemoryChunks::new([1; 32]);
    let mut seen = Vec::new();
    let whole =
        writer().write(&bytes, &mut io::empty(), &mut chunks.writer(), &mut |part| seen.extend_from_slice(part));
    let Ok((whole, total)) = whole else { panic!("memory does not fail") };
    assert!(seen == bytes && total == bytes.len() as u64);
    let mut rest = Dribble(&bytes[200_000..], 5);
    let again = writer().write(&bytes[..200_000], &mut rest, &mut chunks.writer(), &mut |_| ());
    assert!(again.is_ok_and(|again| again == (whole, total)));
}

#[test]
fn the_decoder_of_lists_survives_any_damage() {
    let mut rng = Rng(2);
    let entries: Vec<PieceRef> =
        (0..20u8).map(|i| PieceRef { id: ChunkId([i; 32]), bytes: 1 + rng.below(1 << 30) }).collect();
    let mut list = Vec::new();
    PieceList::encode(1, &entries, &mut list);
    assert_eq!(PieceList::decode(&list), Ok(PieceList { depth: 1, entries }));
    for _ in 0..20_000 {
        let mut damaged = list.clone();
        let at = rng.below(damaged.len() as u64) as usize;
        damaged[at] = rng.next() as u8;
        damaged.truncate(rng.below(2 * list.len() as u64) as usize);
        let _ = PieceList::decode(&damaged);
    }
}
