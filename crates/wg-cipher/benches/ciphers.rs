//! Seals and opens packets of usual sizes with each implementation: those of this crate, and those
//! that could have been chosen.

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use wg_cipher::{Cipher, Forged, Ring, TAG_LEN, TransportKey};

const KEY: [u8; 32] = [7; 32];

/// aws-lc, as the trait wants it.
struct AwsLc(LessSafeKey);

impl Cipher for AwsLc {
    fn seal(&self, counter: u64, text: &mut [u8]) -> [u8; TAG_LEN] {
        let nonce = Nonce::assume_unique_for_key(nonce(counter));
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::empty(), text).expect("short");
        tag.as_ref().try_into().expect("16 bytes")
    }

    fn open(&self, counter: u64, text: &mut [u8], tag: &[u8; TAG_LEN]) -> Result<(), Forged> {
        let nonce = Nonce::assume_unique_for_key(nonce(counter));
        let result = self.0.open_in_place_separate_tag(nonce, Aad::empty(), tag, text);
        result.map(|_| ()).map_err(|_| Forged)
    }
}

/// RustCrypto's, as the trait wants it.
struct RustCrypto(ChaCha20Poly1305);

impl Cipher for RustCrypto {
    fn seal(&self, counter: u64, text: &mut [u8]) -> [u8; TAG_LEN] {
        let nonce = nonce(counter).into();
        self.0.encrypt_inout_detached(&nonce, &[], text.into()).expect("short").into()
    }

    fn open(&self, counter: u64, text: &mut [u8], tag: &[u8; TAG_LEN]) -> Result<(), Forged> {
        let nonce = nonce(counter).into();
        let result = self.0.decrypt_inout_detached(&nonce, &[], text.into(), tag.into());
        result.map_err(|_| Forged)
    }
}

fn nonce(counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    nonce
}

fn all() -> Vec<(&'static str, Box<dyn Cipher>)> {
    let aws_lc = UnboundKey::new(&CHACHA20_POLY1305, &KEY).expect("32 bytes");
    let mut all: Vec<(&str, Box<dyn Cipher>)> = vec![
        ("chosen", Box::new(TransportKey::new(&KEY))),
        ("ring", Box::new(Ring::new(&KEY))),
        ("aws-lc-rs", Box::new(AwsLc(LessSafeKey::new(aws_lc)))),
        ("chacha20poly1305", Box::new(RustCrypto(ChaCha20Poly1305::new(&KEY.into())))),
    ];
    #[cfg(target_arch = "x86_64")]
    if let Some(cipher) = wg_cipher::Avx512::new(&KEY) {
        all.insert(1, ("avx512", Box::new(cipher)));
    }
    all
}

fn ciphers(criterion: &mut Criterion) {
    let all = all();
    for size in [0, 96, 512, 1420, 8944] {
        let text = vec![0; size];
        let mut group = criterion.benchmark_group("seal");
        group.throughput(Throughput::Bytes(size as u64));
        for (name, cipher) in &all {
            let mut text = text.clone();
            group.bench_function(BenchmarkId::new(*name, size), |bencher| {
                bencher.iter(|| cipher.seal(1, &mut text));
            });
        }
        group.finish();
        let mut group = criterion.benchmark_group("open");
        group.throughput(Throughput::Bytes(size as u64));
        for (name, cipher) in &all {
            let mut sealed = text.clone();
            let tag = cipher.seal(1, &mut sealed);
            group.bench_function(BenchmarkId::new(*name, size), |bencher| {
                bencher.iter_batched_ref(
                    || sealed.clone(),
                    |text| cipher.open(1, text, &tag).expect("sealed with this key"),
                    BatchSize::SmallInput,
                );
            });
        }
        group.finish();
    }
}

criterion_group!(benches, ciphers);
criterion_main!(benches);
