use super::model::*;
use crate::{
    layer::{Layer, Stack, StackCursor, Version, Versions, diff_stacks, merge_layers},
    record::{Expiry, KeyRange},
    repo::{ChunkData, ChunkId, ChunkKind, ChunkReader, RepoError, chunk::MemoryChunks, manifest::LayerRef},
};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

fn record(rng: &mut Rng, now: i64) -> Rec {
    let names = ["a", "b", "c", "d", "e"];
    let mut rec = Rec::of(&[]);
    for name in names {
        if rng.below(3) > 0 {
            let (tag, bytes) = match rng.below(3) {
                0 => (1, rng.bytes(8)),
                1 => (3, vec![b'x'; rng.below(60) as usize]),
                _ => {
                    let len = rng.below(700) as usize;
                    (4, rng.bytes(len))
                }
            };
            rec.cells.push((name.as_bytes().to_vec(), tag, bytes));
        }
    }
    rec.set = if rng.below(4) == 0 { b"s".to_vec() } else { Vec::new() };
    rec.generation = rng.below(5) as u32;
    touch(&mut rec, rng, now);
    rec
}

fn touch(rec: &mut Rec, rng: &mut Rng, now: i64) {
    rec.expiry = if rng.below(2) == 0 { 0 } else { now as u64 + rng.below(60) };
    if rng.below(4) == 0 {
        rec.user_key = if rng.below(2) == 0 { None } else { Some(rng.bytes(5)) };
    }
    if rng.below(3) == 0 {
        rec.generation += 1;
    }
}

fn key(rng: &mut Rng) -> Vec<u8> {
    let len = rng.below(4) as usize + 2;
    let mut key = rng.bytes(len);
    key[0] &= 7;
    key
}

fn change(model: &mut Model, rng: &mut Rng, now: i64) {
    let keys: Vec<Vec<u8>> = model.keys().cloned().collect();
    for key in keys {
        match rng.below(30) {
            0 => {
                model.remove(&key);
            }
            1 => {
                model.insert(key, record(rng, now));
            }
            2 | 3 => touch(model.get_mut(&key).unwrap(), rng, now),
            _ => {}
        }
    }
    for _ in 0..30 {
        model.insert(key(rng), record(rng, now));
    }
}

fn ranges() -> Vec<KeyRange> {
    KeyRange::between(&[vec![2], vec![5, 1]])
}

pub(super) struct History {
    pub(super) chunks: MemoryChunks,
    pub(super) layers: Vec<LayerRef>,
    /// The stack's length, the end and the model of each snapshot.
    pub(super) states: Vec<(usize, i64, Model)>,
}

pub(super) fn history(seed: u64, steps: i64) -> History {
    let mut rng = Rng(seed);
    let chunks = MemoryChunks::new([1; 32]);
    let mut model = Model::new();
    for _ in 0..1500 {
        model.insert(key(&mut rng), record(&mut rng, 0));
    }
    let mut layers: Vec<LayerRef> = Vec::new();
    let mut states: Vec<(usize, i64, Model)> = Vec::new();
    for step in 0..steps {
        let end = 1000 + step * 20 - if step == 3 { 35 } else { 0 };
        if step > 0 {
            change(&mut model, &mut rng, end);
        }
        let parent = (!layers.is_empty()).then_some(layers.as_slice());
        let parent_end = states.last().map_or(0, |state| state.1);
        let (layer, outcomes, sum) = backup(&chunks, &model, parent, false, (parent_end, end), &ranges());
        let live = model.values().filter(|rec| rec.is_live(end)).count() as u64;
        assert_eq!(outcomes.iter().map(|outcome| outcome.counts.records).sum::<u64>(), live);
        layers.extend(layer);
        states.push((layers.len(), end, model.clone()));
        assert_eq!(assert_reads(&chunks, &layers, end, &model), sum, "seed {seed}, step {step}");
    }
    History { chunks, layers, states }
}

#[test]
fn every_state_of_a_random_history_comes_back() {
    for seed in 0..3 {
        let history = history(seed, 7);
        for (len, end, model) in &history.states {
            assert_reads(&history.chunks, &history.layers[..*len], *end, model);
        }
    }
}

#[test]
fn merged_layers_read_as_the_stack_they_replace() {
    for seed in 10..13 {
        let mut rng = Rng(seed);
        let history = history(seed, 7);
        let all = &history.layers;
        let reader = reader(&history.chunks);
        let merge = |part: &[LayerRef], includes_base, time| {
            let stack = Stack::open(&reader, part).unwrap();
            let mut writer = history.chunks.writer();
            merge_layers(&context(), &stack, includes_base, at(time), &ranges(), &mut writer).unwrap().unwrap()
        };
        let from = 1 + rng.below(4) as usize;
        let to = from + 2 + rng.below((all.len() - from - 1) as u64) as usize;
        let mut stack = all[..from].to_vec();
        stack.push(merge(&all[from..to], false, 0));
        stack.extend_from_slice(&all[to..]);
        for (len, end, model) in history.states.iter().filter(|state| state.0 <= from || state.0 >= to) {
            let len = if *len >= to { len - (to - from) + 1 } else { *len };
            assert_reads(&history.chunks, &stack[..len], *end, model);
        }
        // The base rolls forward to the third snapshot, before time ran backwards.
        let (len, end, _) = history.states[2];
        let mut rolled = vec![merge(&all[..len], true, end)];
        rolled.extend_from_slice(&all[len..]);
        for (state_len, end, model) in history.states.iter().filter(|state| state.0 >= len && state.1 >= end) {
            assert_reads(&history.chunks, &rolled[..=state_len - len], *end, model);
        }
    }
}

#[test]
fn a_new_base_is_the_same_whatever_the_history() {
    let history = history(20, 5);
    let (_, end, model) = history.states.last().unwrap();
    let (fresh, ..) = backup(&history.chunks, model, None, false, (0, *end), &ranges());
    let (rebuilt, outcomes, sum) = backup(&history.chunks, model, Some(&history.layers), true, (*end, *end), &ranges());
    assert_eq!(fresh, rebuilt);
    assert!(outcomes.iter().all(|outcome| outcome.counts.new + outcome.counts.changed + outcome.counts.deleted == 0));
    assert_eq!(assert_reads(&history.chunks, &[fresh.unwrap()], *end, model), sum);
    let stack = Stack::open(&reader(&history.chunks), &history.layers).unwrap();
    let mut writer = history.chunks.writer();
    let merged = merge_layers(&context(), &stack, true, at(*end), &ranges(), &mut writer).unwrap();
    assert_eq!(merged, rebuilt);
}

#[test]
fn an_unchanged_collection_adds_no_layer() {
    let history = history(21, 2);
    let (_, end, model) = history.states.last().unwrap();
    let (layer, ..) = backup(&history.chunks, model, Some(&history.layers), false, (*end, *end), &ranges());
    assert_eq!(layer, None);
}

#[test]
fn cursors_over_parts_of_the_keys_give_the_whole() {
    let history = history(22, 4);
    let (_, end, model) = history.states.last().unwrap();
    let stack = Stack::open(&reader(&history.chunks), &history.layers).unwrap();
    let mut rng = Rng(1);
    for _ in 0..20 {
        let mut splits: Vec<Vec<u8>> = (0..5).map(|_| key(&mut rng)).collect();
        splits.sort();
        splits.dedup();
        let mut keys = Vec::new();
        for range in KeyRange::between(&splits) {
            let mut cursor = stack.cursor(&range, at(*end), true).unwrap();
            while cursor.advance().unwrap() {
                assert!(range.contains(cursor.key()));
                keys.push(cursor.key().to_vec());
            }
        }
        let expected: Vec<Vec<u8>> =
            model.iter().filter(|(_, rec)| rec.is_live(*end)).map(|(key, _)| key.clone()).collect();
        assert_eq!(keys, expected);
    }
}

#[test]
fn differences_are_those_of_the_models() {
    let history = history(23, 6);
    let reader = reader(&history.chunks);
    for (a, b) in [(0, 1), (1, 4), (5, 2), (3, 3)] {
        let ((len_a, end_a, model_a), (len_b, end_b, model_b)) = (&history.states[a], &history.states[b]);
        let stack_a = Stack::open(&reader, &history.layers[..*len_a]).unwrap();
        let stack_b = Stack::open(&reader, &history.layers[..*len_b]).unwrap();
        let mut found = Vec::new();
        diff_stacks(&stack_a, at(*end_a), &stack_b, at(*end_b), &KeyRange::all(), &mut |key, change| {
            found.push((key.to_vec(), change));
            true
        })
        .unwrap();
        assert_eq!(found, expected_diff((model_a, *end_a), (model_b, *end_b)));
    }
}

#[test]
fn single_versions_are_found_without_reading_the_rest() {
    let history = history(24, 5);
    let reader = reader(&history.chunks);
    let versions = Versions::new(&reader);
    for (len, end, model) in &history.states {
        let stack = &history.layers[..*len];
        for (key, rec) in model.iter().filter(|(_, rec)| rec.is_live(*end)).step_by(97) {
            let newest = stack.iter().rev().map(|layer| versions.version(layer, key).unwrap());
            let newest = newest.into_iter().find(|version| !matches!(version, Version::Absent)).unwrap();
            let Version::Live { generation, expiry, user_key, value_bytes, .. } = newest else { panic!("{newest:?}") };
            assert_eq!((generation, expiry), (rec.generation, Expiry::from_millis(rec.expiry)));
            assert_eq!((user_key, value_bytes), (rec.user_key.clone(), rec.value().len() as u64));
            let (shape, value) = versions.value(stack, key, 1 << 20).unwrap().unwrap();
            assert_eq!((shape, value), (rec.shape(), rec.value()));
        }
        assert!(matches!(versions.version(&stack[0], b"no such key").unwrap(), Version::Absent));
    }
}

#[test]
fn every_chunk_of_a_layer_is_visited() {
    let history = history(25, 3);
    let mut ids = std::collections::HashSet::new();
    for layer in &history.layers {
        let layer = Layer::open(&reader(&history.chunks), layer).unwrap();
        let mut rows = 0;
        layer
            .for_each_block(&mut |block| {
                rows += block.rows;
                Ok(())
            })
            .unwrap();
        assert_eq!(rows, layer.reference().rows);
        layer
            .for_each_chunk(&mut |id| {
                ids.insert(id);
                Ok(())
            })
            .unwrap();
        assert_eq!(layer.ranges(), ranges());
    }
    assert_eq!(ids.len(), history.chunks.len());
}

/// Counts the keys chunks that are read.
struct Counted(MemoryChunks, AtomicUsize);

impl ChunkReader for Counted {
    fn read(&self, kind: ChunkKind, id: &ChunkId) -> Result<ChunkData, RepoError> {
        self.1.fetch_add(usize::from(kind == ChunkKind::Keys), Ordering::Relaxed);
        self.0.read(kind, id)
    }

    fn stored_len(&self, id: &ChunkId) -> Result<Option<u64>, RepoError> {
        self.0.stored_len(id)
    }
}

#[test]
fn a_cursor_that_follows_another_reads_no_keys_again_and_one_alone_reads_them_all() {
    let history = history(26, 5);
    let (_, end, model) = history.states.last().unwrap();
    let counted = Arc::new(Counted(history.chunks.clone(), AtomicUsize::new(0)));
    let chunks: Arc<dyn ChunkReader> = Arc::clone(&counted) as _;
    let stack = Stack::open(&chunks, &history.layers).unwrap();
    let expected: Vec<&Vec<u8>> = model.iter().filter(|(_, rec)| rec.is_live(*end)).map(|(key, _)| key).collect();
    let walk = |cursor: &mut StackCursor<'_>, most: usize, keys: &mut Vec<Vec<u8>>| {
        for _ in 0..most {
            if !cursor.advance().unwrap() {
                return false;
            }
            keys.push(cursor.key().to_vec());
        }
        true
    };
    let reads = || counted.1.swap(0, Ordering::Relaxed);
    let mut alone = Vec::new();
    walk(&mut stack.cursor_behind(&KeyRange::all(), at(*end), true), usize::MAX, &mut alone);
    let all = reads();
    assert!(all > history.layers.len() && alone.iter().eq(expected.iter().copied()));
    for lead in [1, 50, usize::MAX] {
        let (mut led, mut followed) = (Vec::new(), Vec::new());
        let mut before = stack.cursor_before(&KeyRange::all(), at(*end));
        let mut behind = stack.cursor_behind(&KeyRange::all(), at(*end), true);
        while walk(&mut before, lead, &mut led) {
            walk(&mut behind, lead, &mut followed);
        }
        walk(&mut behind, usize::MAX, &mut followed);
        assert!(led == alone && followed == alone);
        assert_eq!(reads(), all, "with a lead of {lead}");
    }
}
