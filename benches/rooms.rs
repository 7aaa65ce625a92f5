//! Hot functions, one group a room: `cargo bench --bench rooms`.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rekeep::record::{CollectionSum, Fingerprint, Fingerprinter, KeyCodec, KeyPart, Meta, Shape};
use std::hint::black_box;

/// `record`: what every record pays.
fn record(c: &mut Criterion) {
    let shape = Shape::new(["city", "email", "name"].map(|name| name.as_bytes().to_vec()).into());
    let prints = Fingerprinter::new(&[7; 32]);
    let mut group = c.benchmark_group("record");
    for bytes in [60usize, 430, 4096] {
        let value: Vec<u8> = (0..bytes).map(|i| (i * 31) as u8).collect();
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(format!("fingerprint/{bytes}"), |b| {
            b.iter(|| prints.of(&shape, None, black_box(&value)));
        });
    }
    group.throughput(Throughput::Elements(1));
    group.bench_function("collection_sum/row", |b| {
        let (mut sum, mut scratch, mut key) = (CollectionSum::default(), Vec::new(), 0u64);
        b.iter(|| {
            key += 8;
            let row = CollectionSum::of_row(
                &[3; 32],
                &black_box(key).to_be_bytes(),
                &Meta::default(),
                &Fingerprint([1; 12]),
                &mut scratch,
            );
            sum.add(&row);
        });
        black_box(sum);
    });
    group
        .bench_function("key/int_encode", |b| b.iter(|| KeyCodec::Int.encode(&[KeyPart::Int(black_box(-12_345_678))])));
    group.finish();
}

// Chunk seal and open (`repo`) and block build (`layer`): one function each, added to the list below.

criterion_group!(rooms, record);
criterion_main!(rooms);
