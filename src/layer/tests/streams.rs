use super::model::*;
use crate::{
    layer::{JoinOptions, Layer, LayerError, Stack, join_range, merge_layers},
    record::KeyRange,
    repo::{RepoError, chunk::MemoryChunks},
};

fn file(content: Vec<u8>, stamp: u64) -> Rec {
    let mut rec = Rec::of(&[("mode", 1, &[0; 8])]);
    rec.cells.push((b"z".to_vec(), 4, content));
    rec.stream = Stream::Good;
    rec.stamp = stamp;
    rec
}

fn all() -> Vec<KeyRange> {
    vec![KeyRange::all()]
}

#[test]
fn long_values_are_cut_so_that_an_insertion_stores_few_pieces() {
    let mut rng = Rng(1);
    let chunks = MemoryChunks::new([1; 32]);
    let mut model = Model::new();
    let content = rng.bytes(12 << 20);
    model.insert(b"big".to_vec(), file(content.clone(), 1));
    model.insert(b"edge".to_vec(), file(rng.bytes(128 * 1024), 1));
    model.insert(b"small".to_vec(), file(rng.bytes(100), 1));
    let mut inline = file(rng.bytes(700_000), 0);
    inline.stream = Stream::None;
    model.insert(b"inline".to_vec(), inline);
    let (base, _, sum) = backup(&chunks, &model, None, false, (0, 10), &all());
    let base = base.unwrap();
    assert_eq!(assert_reads(&chunks, std::slice::from_ref(&base), 10, &model), sum);
    let before = chunks.len();
    let mut moved = b"inserted".to_vec();
    moved.extend_from_slice(&content);
    model.insert(b"big".to_vec(), file(moved, 2));
    let (delta, ..) = backup(&chunks, &model, Some(std::slice::from_ref(&base)), false, (10, 20), &all());
    // Keys chunk, root list, and the pieces at the front.
    assert!(chunks.len() - before <= 5, "{} new chunks", chunks.len() - before);
    let layers = [base, delta.unwrap()];
    assert_reads(&chunks, &layers, 20, &model);
    let stack = Stack::open(&reader(&chunks), &layers).unwrap();
    let reads = chunks.reads();
    let merged = merge_layers(&context(), &stack, true, at(20), &all(), &mut chunks.writer()).unwrap().unwrap();
    assert!(chunks.reads() - reads <= 4, "a merge reads no pieces");
    assert_reads(&chunks, &[merged], 20, &model);
}

#[test]
fn a_stamp_that_stands_opens_no_stream() {
    let mut rng = Rng(2);
    let chunks = MemoryChunks::new([1; 32]);
    let mut model = Model::new();
    for i in 0..20u8 {
        model.insert(vec![i], file(rng.bytes(if i == 7 { 600_000 } else { 500 }), 9));
    }
    let (base, ..) = backup(&chunks, &model, None, false, (0, 10), &all());
    let base = base.unwrap();
    let good = model.clone();
    for rec in model.values_mut() {
        rec.stream = Stream::Broken;
    }
    let (delta, outcomes, _) = backup(&chunks, &model, Some(std::slice::from_ref(&base)), false, (10, 20), &all());
    assert_eq!((delta, outcomes[0].counts.unreadable), (None, 0));
    let (again, outcomes, _) = backup(&chunks, &model, Some(std::slice::from_ref(&base)), true, (10, 20), &all());
    assert_eq!(outcomes[0].counts.unreadable, 0);
    assert_eq!(again, Some(base.clone()));
    // Only generations move: rows are inherited, also over a row in pieces, also twice.
    let mut layers = vec![base];
    for generation in 1..3 {
        for rec in model.values_mut() {
            rec.generation = generation;
        }
        let (delta, outcomes, _) = backup(&chunks, &model, Some(&layers), false, (10, 20), &all());
        assert_eq!((outcomes[0].counts.changed, outcomes[0].counts.inherited), (20, 20));
        layers.extend(delta);
    }
    let mut expected = good;
    for rec in expected.values_mut() {
        rec.generation = 2;
    }
    assert_reads(&chunks, &layers, 20, &expected);
}

#[test]
fn whoever_reads_all_finds_what_was_written_behind_a_stamp() {
    let mut rng = Rng(5);
    let chunks = MemoryChunks::new([1; 32]);
    let mut model = Model::new();
    for i in 0..6_u8 {
        model.insert(vec![i], file(rng.bytes(if i == 3 { 600_000 } else { 500 }), 9));
    }
    let (base, ..) = backup(&chunks, &model, None, false, (0, 10), &all());
    let layers = [base.unwrap()];
    // A write that no time tells of.
    model.insert(vec![2], file(rng.bytes(500), 9));
    model.insert(vec![3], file(rng.bytes(600_000), 9));
    let (delta, ..) = backup(&chunks, &model, Some(&layers), false, (10, 20), &all());
    assert_eq!(delta, None);
    let stack = Stack::open(&reader(&chunks), &layers).unwrap();
    let options = JoinOptions {
        parent: Some(&stack),
        new_base: false,
        parent_end: at(10),
        end: at(20),
        is_end_known: true,
        carries: false,
        read_all: true,
        doubtful: &[],
        progress: &|_, _| true,
    };
    let mut source = Source::new(&model, &KeyRange::all(), 3);
    let outcome = join_range(&context(), &mut source, &KeyRange::all(), &options, &mut chunks.writer()).unwrap();
    assert_eq!((outcome.counts.new, outcome.counts.changed, outcome.counts.records), (0, 2, 6));
}

#[test]
fn a_touched_long_value_is_inherited_and_its_user_key_may_move() {
    let mut rng = Rng(3);
    let chunks = MemoryChunks::new([1; 32]);
    let mut model = Model::new();
    model.insert(b"k".to_vec(), file(rng.bytes(900_000), 1));
    let (base, ..) = backup(&chunks, &model, None, false, (0, 10), &all());
    let rec = model.get_mut(b"k".as_slice()).unwrap();
    (rec.stamp, rec.user_key) = (2, Some(b"user".to_vec()));
    let base = base.unwrap();
    let (delta, outcomes, _) = backup(&chunks, &model, Some(std::slice::from_ref(&base)), false, (10, 20), &all());
    assert_eq!(outcomes[0].counts.inherited, 1);
    assert_reads(&chunks, &[base, delta.unwrap()], 20, &model);
}

#[test]
fn an_unreadable_value_leaves_the_parents_row_and_is_named() {
    let mut rng = Rng(4);
    for new_base in [false, true] {
        let chunks = MemoryChunks::new([1; 32]);
        let mut model = Model::new();
        model.insert(b"a".to_vec(), file(rng.bytes(300), 1));
        model.insert(b"b".to_vec(), file(rng.bytes(300_000), 1));
        let (base, ..) = backup(&chunks, &model, None, false, (0, 10), &all());
        let before = model.clone();
        for key in [b"a", b"b", b"c"] {
            let mut rec = file(rng.bytes(400_000), 2);
            rec.stream = Stream::Broken;
            model.insert(key.to_vec(), rec);
        }
        let base = base.unwrap();
        let (layer, outcomes, _) =
            backup(&chunks, &model, Some(std::slice::from_ref(&base)), new_base, (10, 20), &all());
        let outcome = &outcomes[0];
        assert_eq!((outcome.counts.unreadable, outcome.counts.deleted, outcome.stood), (3, 0, 2));
        assert_eq!(outcome.problems.len(), 3);
        assert!(outcome.problems[0].1.contains("the disk is gone"));
        if new_base {
            assert_reads(&chunks, &[layer.unwrap()], 20, &before);
        } else {
            assert_eq!(layer, None);
        }
    }
}

#[test]
fn a_torn_value_is_stored_without_its_stamp_so_that_it_is_read_again() {
    let chunks = MemoryChunks::new([1; 32]);
    let mut model = Model::new();
    let mut rec = file(vec![1; 50], 7);
    rec.stream = Stream::Torn;
    model.insert(b"t".to_vec(), rec);
    let (base, outcomes, _) = backup(&chunks, &model, None, false, (0, 10), &all());
    assert_eq!((outcomes[0].counts.torn, outcomes[0].problems.len()), (1, 1));
    let rec = model.get_mut(b"t".as_slice()).unwrap();
    rec.stamp = 0;
    let base = base.unwrap();
    assert_reads(&chunks, std::slice::from_ref(&base), 10, &model);
    model.insert(b"t".to_vec(), file(vec![1; 50], 7));
    let (delta, outcomes, _) = backup(&chunks, &model, Some(std::slice::from_ref(&base)), false, (10, 20), &all());
    assert_eq!(outcomes[0].counts.inherited, 1);
    assert_reads(&chunks, &[base, delta.unwrap()], 20, &model);
}

#[test]
fn records_beyond_the_limits_are_counted_and_named() {
    let chunks = MemoryChunks::new([1; 32]);
    let mut model = Model::new();
    model.insert(vec![1; 65_536], Rec::of(&[("a", 3, b"fits")]));
    let fits = model.clone();
    model.insert(vec![1; 65_537], Rec::of(&[("a", 3, b"does not")]));
    let mut wide = Rec::of(&[("a", 3, b"v")]);
    wide.user_key = Some(vec![0; 2 << 20]);
    model.insert(vec![2], wide);
    model.insert(vec![3], Rec { cells: vec![(vec![b'n'; 2 << 20], 0, Vec::new())], ..Rec::of(&[]) });
    let (base, outcomes, _) = backup(&chunks, &model, None, false, (0, 10), &all());
    assert_eq!((outcomes[0].counts.unreadable, outcomes[0].problems.len()), (3, 3));
    assert_reads(&chunks, &[base.unwrap()], 10, &fits);
}

/// Gives the same key in two batches.
struct Twice(u8);
impl crate::record::RecordStream for Twice {
    fn next_batch(&mut self, batch: &mut crate::record::RecordBatch) -> Result<bool, crate::record::StreamError> {
        batch.clear();
        let rec = Rec::of(&[]);
        let head = crate::record::RowHead { key: b"k", meta: rec.meta() };
        batch.push_encoded(head, &rec.shape(), &[]);
        self.0 += 1;
        Ok(self.0 < 3)
    }
}

#[test]
fn a_source_out_of_order_or_range_ends_the_join() {
    let (chunks, context) = (MemoryChunks::new([1; 32]), context());
    let model: Model = (0..9u8).map(|i| (vec![i], Rec::of(&[]))).collect();
    let options = JoinOptions {
        parent: None,
        new_base: false,
        parent_end: at(0),
        end: at(0),
        is_end_known: true,
        carries: false,
        read_all: false,
        doubtful: &[],
        progress: &|_, _| true,
    };
    let range = KeyRange { start: vec![2], end: Some(vec![5]) };
    let mut source = Source::new(&model, &KeyRange::all(), 3);
    let error = join_range(&context, &mut source, &range, &options, &mut chunks.writer()).unwrap_err();
    assert!(matches!(error, LayerError::Inconsistent { .. }), "{error}");
    let error = join_range(&context, &mut Twice(0), &KeyRange::all(), &options, &mut chunks.writer()).unwrap_err();
    assert!(matches!(error, LayerError::Order { .. }), "{error}");
    let stopped = JoinOptions { progress: &|_, _| false, ..options };
    let mut source = Source::new(&model, &KeyRange::all(), 3);
    let error = join_range(&context, &mut source, &KeyRange::all(), &stopped, &mut chunks.writer()).unwrap_err();
    assert!(matches!(error, LayerError::Repo(RepoError::Interrupted)), "{error}");
}

#[test]
fn a_reference_with_other_counts_is_refused() {
    let chunks = MemoryChunks::new([1; 32]);
    let model: Model = (0..9u8).map(|i| (vec![i], Rec::of(&[]))).collect();
    let (base, ..) = backup(&chunks, &model, None, false, (0, 10), &all());
    let mut wrong = base.unwrap();
    wrong.rows += 1;
    assert!(matches!(Layer::open(&reader(&chunks), &wrong), Err(LayerError::Inconsistent { .. })));
}
