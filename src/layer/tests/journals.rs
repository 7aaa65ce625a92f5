//! Journals against a model: random changes, read at every moment, merged and thinned out.

use super::model::*;
use crate::{
    layer::{
        JournalChange, JournalWriter, KeptVersions, Layer, LayerError, PlayedSpan, Stack, Version, VersionTime,
        Versions, finish_layer, held_versions, merge_journals, newest_versions, play, read_totals,
    },
    record::KeyRange,
    repo::{
        ChunkKind, ChunkWriter as _,
        carried::Carried,
        chunk::MemoryChunks,
        manifest::{KeptMoments, LayerRef, Moments},
    },
};
use std::collections::BTreeMap;

/// What happened: by key and time, the record or its deletion.
type Happened = BTreeMap<(Vec<u8>, u64, u64), Option<Rec>>;

fn rec(rng: &mut Rng) -> Rec {
    let len = rng.below(300) as usize;
    let bytes = rng.bytes(len);
    let mut rec = Rec::of(&[("a", 4, &bytes), ("b", 1, &rng.next().to_be_bytes())]);
    rec.generation = rng.below(9) as u32;
    rec.expiry = if rng.below(3) == 0 { 40 + rng.below(90) } else { 0 };
    rec
}

fn journal(chunks: &MemoryChunks, happened: &Happened) -> LayerRef {
    let context = context();
    let mut writer = chunks.writer();
    let mut journal = JournalWriter::new(&context);
    let mut rows: Vec<_> = happened.iter().collect();
    rows.sort_by_key(|((key, millis, order), _)| (key, std::cmp::Reverse((*millis, *order))));
    for ((key, millis, order), rec) in rows {
        let time = VersionTime { millis: *millis, order: *order };
        match rec {
            None => journal.push(&mut writer, key, time, &JournalChange::Delete).unwrap(),
            Some(rec) => {
                let (shape, value) = (rec.shape(), rec.value());
                let put = JournalChange::Put { meta: rec.meta(), shape: &shape, value: &value };
                journal.push(&mut writer, key, time, &put).unwrap();
                // What comes twice is there once.
                journal.push(&mut writer, key, time, &put).unwrap();
            }
        }
    }
    journal.finish(&mut writer).unwrap().unwrap()
}

fn state(base: &Model, happened: &[Happened], at: u64) -> Model {
    let mut changes: Vec<(u64, u64, &Vec<u8>, &Option<Rec>)> = Vec::new();
    for ((key, millis, order), rec) in happened.iter().flatten() {
        changes.push((*millis, *order, key, rec));
    }
    changes.sort_by_key(|(millis, order, ..)| (*millis, *order));
    let mut state = base.clone();
    for (_, _, key, rec) in changes.into_iter().filter(|change| change.0 <= at) {
        match rec {
            Some(rec) => drop(state.insert(key.clone(), rec.clone())),
            None => drop(state.remove(key)),
        }
    }
    state
}

fn key(rng: &mut Rng) -> Vec<u8> {
    let len = rng.below(4) as usize;
    (0..len).map(|_| [0, 1, 0xff][rng.below(3) as usize]).collect()
}

fn stream(rng: &mut Rng, journals: u64, changes: u64) -> Vec<Happened> {
    let mut all = Vec::new();
    for n in 0..journals {
        let mut happened = Happened::new();
        for _ in 0..changes {
            // Journals overlap in time: across keys a stream is out of order.
            let millis = 10 + n * 10 + rng.below(25);
            let rec = if rng.below(4) == 0 { None } else { Some(rec(rng)) };
            happened.insert((key(rng), millis, rng.below(3) + n * 3), rec);
        }
        all.push(happened);
    }
    all
}

fn merged(chunks: &MemoryChunks, layers: &[LayerRef], keep: Option<&KeptVersions>) -> LayerRef {
    let (context, stack) = (context(), Stack::open(&reader(chunks), layers).unwrap());
    let mut writer = chunks.writer();
    let range = stack.layers()[0].ranges().remove(0);
    let (built, totals) = merge_journals(&context, &stack, keep, &range, &mut writer, &|_, _| true).unwrap();
    let layer = finish_layer(&context, &mut writer, &[(range.clone(), built)]).unwrap().unwrap();
    let opened = Layer::open(&reader(chunks), &layer).unwrap();
    let (read, _) = read_totals(&context, &opened, &range, None, &|_, _| true).unwrap();
    assert_eq!(read, totals);
    layer
}

#[test]
fn a_stack_with_journals_is_read_at_every_moment() {
    for seed in 0..12 {
        let mut rng = Rng(seed);
        let chunks = MemoryChunks::default();
        let mut base = Model::new();
        for _ in 0..20 {
            base.insert(key(&mut rng), rec(&mut rng));
        }
        let all = [KeyRange::all()];
        let (lowest, ..) = backup(&chunks, &base, None, true, (0, 5), &all);
        let happened = stream(&mut rng, 4, 60);
        let mut stack = vec![lowest.unwrap()];
        stack.extend(happened.iter().map(|happened| journal(&chunks, happened)));
        let whole = merged(&chunks, &stack[1..], None);
        let some = [stack[0].clone(), stack[1].clone(), merged(&chunks, &stack[2..4], None), stack[4].clone()];
        assert_eq!(merged(&chunks, &some[1..], None), whole, "merging in steps gives the same layer");
        for at in 5..80 {
            let expected = state(&base, &happened, at);
            assert_reads(&chunks, &stack, at as i64, &expected);
            assert_reads(&chunks, &some, at as i64, &expected);
            assert_reads(&chunks, &[stack[0].clone(), whole.clone()], at as i64, &expected);
        }
    }
}

#[test]
fn the_lowest_layer_may_be_a_journal() {
    let mut rng = Rng(77);
    let chunks = MemoryChunks::default();
    let happened = stream(&mut rng, 2, 200);
    let stack: Vec<LayerRef> = happened.iter().map(|happened| journal(&chunks, happened)).collect();
    for at in 5..60 {
        assert_reads(&chunks, &stack, at as i64, &state(&Model::new(), &happened, at));
    }
}

#[test]
fn thinned_journals_show_the_moments_that_are_kept() {
    for seed in 0..12 {
        let mut rng = Rng(1000 + seed);
        let chunks = MemoryChunks::default();
        let happened = stream(&mut rng, 3, 120);
        let stack: Vec<LayerRef> = happened.iter().map(|happened| journal(&chunks, happened)).collect();
        let every = 1 + rng.below(9);
        let moments = Moments {
            kept: vec![KeptMoments { until: at(30), every, other: Carried::default() }],
            ..Moments::from(at(7))
        };
        let ends = vec![at(13), at(19)];
        let keep = KeptVersions { after: None, moments: moments.clone(), ends: ends.clone() };
        let thin = merged(&chunks, &stack, Some(&keep));
        let whole = merged(&chunks, &stack, None);
        assert!(thin.rows <= whole.rows);
        assert_eq!(merged(&chunks, std::slice::from_ref(&thin), Some(&keep)), thin, "thinning again drops nothing");
        for time in 7..70 {
            if moments.at_or_before(at(time)) == Some(at(time)) || ends.contains(&at(time)) {
                assert_reads(&chunks, std::slice::from_ref(&thin), time, &state(&Model::new(), &happened, time as u64));
            }
        }
        // Before 30 no two versions of a key stand between the same moments.
        let is_kept = |time: i64| moments.at_or_before(at(time)) == Some(at(time)) || ends.contains(&at(time));
        let versions = Versions::new(&reader(&chunks));
        for key in happened.iter().flat_map(|happened| happened.keys().map(|(key, ..)| key)) {
            let last = VersionTime { millis: 29, order: u64::MAX };
            let found = versions.timed(&thin, key, VersionTime::default(), last).unwrap();
            for pair in found.windows(2) {
                let mut between = pair[0].0.millis as i64..pair[1].0.millis as i64;
                assert!(between.any(|time| is_kept(time) || time < 7), "{key:?}: {pair:?}");
            }
        }
    }
}

#[test]
fn versions_of_one_key_are_found_by_time() {
    let mut rng = Rng(5);
    let chunks = MemoryChunks::default();
    let happened = stream(&mut rng, 1, 900).remove(0);
    let layer = journal(&chunks, &happened);
    let versions = Versions::new(&reader(&chunks));
    let keys: std::collections::BTreeSet<&Vec<u8>> = happened.keys().map(|(key, ..)| key).collect();
    for key in keys {
        let of_key: Vec<_> = happened.range((key.clone(), 0, 0)..=(key.clone(), u64::MAX, u64::MAX)).collect();
        for (from, to) in [(0, 99), (15, 22), (22, 15)] {
            let (first, last) = (VersionTime { millis: from, order: 0 }, VersionTime { millis: to, order: u64::MAX });
            let found = if first > last { Vec::new() } else { versions.timed(&layer, key, first, last).unwrap() };
            let expected: Vec<_> = of_key.iter().filter(|((_, millis, _), _)| (from..=to).contains(millis)).collect();
            assert_eq!(found.len(), expected.len());
            for ((time, version), ((_, millis, order), rec)) in found.iter().zip(expected) {
                assert_eq!((time.millis, time.order), (*millis, *order));
                let value = versions.value_at(&layer, key, *time, 1 << 20).unwrap().map(|(_, value)| value);
                assert_eq!(value, rec.as_ref().map(Rec::value));
                assert_eq!(matches!(version, Version::Tombstone), rec.is_none());
            }
        }
        let at = VersionTime { millis: 20, order: u64::MAX };
        let newest = versions.newest(&layer, key, at).unwrap().map(|(time, _)| (time.millis, time.order));
        let expected = of_key.iter().rfind(|((_, millis, _), _)| *millis <= 20).map(|((_, m, o), _)| (*m, *o));
        assert_eq!(newest, expected);
    }
}

/// Some journals of many blocks each, and what is in them: keys of which every third has versions.
fn long_stream(chunks: &MemoryChunks, rng: &mut Rng) -> (Vec<LayerRef>, Happened) {
    let (mut layers, mut all) = (Vec::new(), Happened::new());
    for n in 0..3 {
        let mut happened = Happened::new();
        for number in 0..12_000u64 {
            for _ in 0..rng.below(3) {
                let key = (number * 3).to_be_bytes().to_vec();
                let rec = Rec::of(&[("n", 1, &number.to_be_bytes())]);
                happened.insert((key, n * 10 + rng.below(25), rng.below(3)), (rng.below(5) > 0).then_some(rec));
            }
        }
        layers.push(journal(chunks, &happened));
        all.extend(happened);
    }
    (layers, all)
}

#[test]
fn versions_are_looked_up_without_reading_a_block_twice() {
    let mut rng = Rng(31);
    let chunks = MemoryChunks::default();
    let (layers, all) = long_stream(&chunks, &mut rng);
    let stack = Stack::open(&reader(&chunks), &layers).unwrap();
    let mut in_all = 0;
    for layer in stack.layers() {
        let mut blocks = 0;
        layer
            .for_each_block(&mut |_| {
                blocks += 1;
                Ok(())
            })
            .unwrap();
        assert!(blocks > 1, "{blocks}");
        in_all += blocks;
    }
    let newest = |key: &[u8]| {
        let versions = all.range((key.to_vec(), 0, 0)..=(key.to_vec(), u64::MAX, u64::MAX));
        versions.map(|((_, millis, order), _)| VersionTime { millis: *millis, order: *order }).max()
    };
    // As many as are looked up one by one, in a row and far apart; more than that; and some beside them all.
    for (count, step) in [(2000, 1), (1500, 23), (3000, 7), (40, 900), (1, 1)] {
        let from = rng.below(2000);
        let keys: Vec<Vec<u8>> = (0..count).map(|n| (from + n * step).to_be_bytes().to_vec()).collect();
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let before = chunks.reads();
        let found = newest_versions(&stack, &keys).unwrap();
        let reads = chunks.reads() - before;
        assert!(reads <= in_all, "{reads} of {in_all} blocks for {count} keys");
        assert!(count > 40 || reads <= count * 2 * 3, "{reads} for {count} keys");
        assert!(found.iter().zip(&keys).all(|(found, key)| *found == newest(key)), "{count} keys");
        assert!(found.iter().any(Option::is_some) || count == 1);

        let mut asked: Vec<(&[u8], VersionTime)> = Vec::new();
        for key in &keys {
            let first = asked.len();
            let here = all.range((key.to_vec(), 0, 0)..=(key.to_vec(), u64::MAX, u64::MAX));
            asked.extend(here.map(|((_, millis, order), _)| (*key, VersionTime { millis: *millis, order: *order })));
            asked.extend((0..3).map(|order| (*key, VersionTime { millis: rng.below(50), order })));
            // One is asked for twice.
            asked.extend(asked.last().copied());
            asked[first..].sort_by_key(|(_, time)| std::cmp::Reverse(*time));
        }
        let before = chunks.reads();
        let found = held_versions(&stack, &asked).unwrap();
        let reads = chunks.reads() - before;
        assert!(reads <= in_all, "{reads} of {in_all} blocks for {} versions", asked.len());
        let is_there = |(key, time): &(&[u8], VersionTime)| all.contains_key(&(key.to_vec(), time.millis, time.order));
        assert!(found.iter().zip(&asked).all(|(found, asked)| *found == is_there(asked)), "{count} keys");
    }
}

#[test]
fn a_key_with_more_versions_than_a_block_holds_is_read_at_any_of_them() {
    let chunks = MemoryChunks::default();
    let context = context();
    let mut writer = chunks.writer();
    let mut written = JournalWriter::new(&context);
    let count = 60_000u64;
    for millis in (1..=count).rev() {
        let rec = Rec::of(&[("n", 1, &millis.to_be_bytes())]);
        let (shape, value) = (rec.shape(), rec.value());
        let put = JournalChange::Put { meta: rec.meta(), shape: &shape, value: &value };
        written.push(&mut writer, b"hot", VersionTime { millis, order: 0 }, &put).unwrap();
    }
    let layer = written.finish(&mut writer).unwrap().unwrap();
    let mut blocks = 0;
    let opened = Layer::open(&reader(&chunks), &layer).unwrap();
    opened
        .for_each_block(&mut |_| {
            blocks += 1;
            Ok(())
        })
        .unwrap();
    assert!(blocks > 3, "{blocks}");
    for millis in [1, 2, 777, 30_000, 59_999, 60_000] {
        let rec = Rec::of(&[("n", 1, &u64::to_be_bytes(millis))]);
        assert_reads(&chunks, std::slice::from_ref(&layer), millis as i64, &Model::from([(b"hot".to_vec(), rec)]));
    }
    assert_reads(&chunks, std::slice::from_ref(&layer), 0, &Model::new());
}

#[test]
fn a_journal_is_told_from_other_layers() {
    let mut rng = Rng(3);
    let chunks = MemoryChunks::default();
    let layer = journal(&chunks, &stream(&mut rng, 1, 20).remove(0));
    assert!(layer.journal);
    let as_delta = LayerRef { journal: false, ..layer.clone() };
    assert!(matches!(Layer::open(&reader(&chunks), &as_delta), Err(LayerError::Inconsistent { .. })));
    let (base, ..) =
        backup(&chunks, &Model::from([(b"k".to_vec(), rec(&mut rng))]), None, true, (0, 5), &[KeyRange::all()]);
    let as_journal = LayerRef { journal: true, ..base.clone().unwrap() };
    assert!(matches!(Layer::open(&reader(&chunks), &as_journal), Err(LayerError::Inconsistent { .. })));
    let mixed = Stack::open(&reader(&chunks), &[base.unwrap(), layer]).unwrap();
    let merged = merge_journals(&context(), &mixed, None, &KeyRange::all(), &mut chunks.writer(), &|_, _| true);
    assert!(matches!(merged, Err(LayerError::Inconsistent { .. })));
}

#[test]
fn rows_whose_keys_are_no_version_keys_are_an_error() {
    use crate::{
        layer::{
            block::{BlockBuilder, NewRow},
            list::{Entry, RootHeader, write_list},
        },
        repo::ChunkPlain,
    };
    let chunks = MemoryChunks::default();
    let mut block = BlockBuilder::default();
    block.push(&NewRow::tombstone(b"no version key at all")).unwrap();
    let mut plain = ChunkPlain::default();
    let totals = block.totals();
    block.keys.write(&mut plain);
    let keys = chunks.writer().put(ChunkKind::Versions, &plain).unwrap().id;
    let entries = [Entry::block(b"no version key at all", &totals, keys, None, true)];
    let header = RootHeader::new(Vec::new(), &entries);
    write_list(&entries, Some(&header), &mut plain).unwrap();
    let id = chunks.writer().put(ChunkKind::List, &plain).unwrap().id;
    let layer = LayerRef { journal: true, ..LayerRef::new(id, header.rows, header.bytes) };
    let stack = Stack::open(&reader(&chunks), &[layer]).unwrap();
    let read = stack.cursor(&KeyRange::all(), at(5), false).unwrap().advance();
    assert!(matches!(read, Err(LayerError::Inconsistent { .. })), "{read:?}");
}

/// A version: its record, time, and what a person can tell of it.
type Shown = (Vec<u8>, u64, u64, Option<(u32, Vec<u8>)>);

/// The versions of a record by their times.
type ByTime<'a> = BTreeMap<(u64, u64), &'a Option<Rec>>;

/// What is played, from the model.
fn expected_of(base: &Model, happened: &[Happened], begins: u64, span: (Option<u64>, bool, u64)) -> Vec<Shown> {
    let (from, only_changes, to) = span;
    let mut by_key: BTreeMap<&Vec<u8>, ByTime<'_>> = BTreeMap::new();
    for key in base.keys() {
        by_key.entry(key).or_default();
    }
    for ((key, millis, order), rec) in happened.iter().flatten() {
        by_key.entry(key).or_default().insert((*millis, *order), rec);
    }
    let is_live = |rec: &Rec, at: u64| rec.expiry == 0 || rec.expiry > at;
    let mut out = Vec::new();
    for (key, versions) in by_key {
        let mut push = |(millis, order): (u64, u64), rec: &Option<Rec>| {
            out.push((key.clone(), millis, order, rec.as_ref().map(|rec| (rec.generation, rec.value()))));
        };
        let stands_at = from.map_or(begins, |from| from.max(begins));
        let is_told = begins <= to && !(only_changes && from.is_some_and(|from| from >= begins));
        if let Some(rec) = base.get(key)
            && is_told
            && is_live(rec, stands_at)
            && !versions.keys().any(|(millis, _)| *millis <= stands_at)
        {
            push((begins, u64::from(rec.generation) * 2), &Some(rec.clone()));
        }
        let state = from.and_then(|from| versions.iter().rfind(|((millis, _), _)| *millis <= from));
        if let Some((time, Some(rec))) = state
            && !only_changes
            && is_live(rec, from.unwrap())
        {
            push(*time, &Some(rec.clone()));
        }
        let is_of_span = |millis: u64| from.is_none_or(|from| millis > from) && millis <= to;
        versions.iter().filter(|((millis, _), _)| is_of_span(*millis)).for_each(|(time, rec)| push(*time, rec));
    }
    out
}

#[test]
fn a_stream_is_played_by_record_and_the_oldest_version_first() {
    for seed in 0..6 {
        let mut rng = Rng(seed);
        let chunks = MemoryChunks::default();
        let mut base = Model::new();
        for _ in 0..20 {
            base.insert(key(&mut rng), rec(&mut rng));
        }
        let (lowest, ..) = backup(&chunks, &base, None, true, (0, 20), &[KeyRange::all()]);
        let happened = stream(&mut rng, 3, 80);
        let journals: Vec<LayerRef> = happened.iter().map(|happened| journal(&chunks, happened)).collect();
        let below = Stack::open(&reader(&chunks), &[lowest.unwrap()]).unwrap();
        let (nothing, journals) = (Stack::default(), Stack::open(&reader(&chunks), &journals).unwrap());
        for (below, base) in [(&below, &base), (&nothing, &Model::new())] {
            for from in [None, Some(12), Some(20), Some(31), Some(50)] {
                for (only_changes, to) in [(false, 100), (false, 33), (true, 100), (false, 15)] {
                    if from.is_some_and(|from| from > to) {
                        continue;
                    }
                    // What is held is far from all versions of one record, one of them, or all.
                    for held_bytes in [700, 0, 1 << 20] {
                        let span =
                            PlayedSpan { begins: at(20), from: from.map(at), only_changes, to: at(to), held_bytes };
                        let mut played: Vec<Shown> = Vec::new();
                        play::<LayerError>(below, &journals, &span, &mut |it| {
                            let shown = match &it.change {
                                JournalChange::Put { meta, value, .. } => Some((meta.generation, value.to_vec())),
                                JournalChange::Delete => None,
                            };
                            played.push((it.key.to_vec(), it.time.millis, it.time.order, shown));
                            Ok(())
                        })
                        .unwrap();
                        let model_span = (from.map(|from| from as u64), only_changes, to as u64);
                        assert!(played == expected_of(base, &happened, 20, model_span), "{seed} {span:?}");
                    }
                }
            }
        }
    }
}
