//! Seals and opens packets of usual sizes with each implementation.

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use wg_cipher::{Cipher, Ring, TransportKey};

const KEY: [u8; 32] = [7; 32];

fn ciphers(criterion: &mut Criterion) {
    let mut ours: Vec<(&str, Box<dyn Cipher>)> = vec![("ring", Box::new(Ring::new(&KEY)))];
    #[cfg(target_arch = "x86_64")]
    if let Some(cipher) = wg_cipher::Avx512::new(&KEY) {
        ours.push(("avx512", Box::new(cipher)));
    }
    ours.push(("chosen", Box::new(TransportKey::new(&KEY))));
    let aws = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &KEY).expect("32 bytes"));
    let nonce = || Nonce::assume_unique_for_key([0; 12]);
    for size in [96, 512, 1420, 8944] {
        let mut text = vec![0; size];
        let mut group = criterion.benchmark_group("seal");
        group.throughput(Throughput::Bytes(size as u64));
        for (name, cipher) in &ours {
            group.bench_function(BenchmarkId::new(*name, size), |bencher| {
                bencher.iter(|| cipher.seal(1, &mut text));
            });
        }
        group.bench_function(BenchmarkId::new("aws-lc-rs", size), |bencher| {
            bencher.iter(|| aws.seal_in_place_separate_tag(nonce(), Aad::empty(), &mut text));
        });
        group.finish();
        let mut group = criterion.benchmark_group("open");
        group.throughput(Throughput::Bytes(size as u64));
        for (name, cipher) in &ours {
            let mut sealed = vec![0; size];
            let tag = cipher.seal(1, &mut sealed);
            group.bench_function(BenchmarkId::new(*name, size), |bencher| {
                bencher.iter(|| {
                    text.copy_from_slice(&sealed);
                    cipher.open(1, &mut text, &tag)
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, ciphers);
criterion_main!(benches);
