//! A hash for tables of keys and addresses that the configuration names: fast, and with a key of
//! its own.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Makes hashes of keys of a fixed length, under one random key.
///
/// Strangers' packets are looked up in these tables, never entered. Who has a key entered may have
/// chosen it, but sees neither the random key nor any hash, so no plan of his finds keys that meet.
#[derive(Clone)]
pub(crate) struct KeyedHash {
    start: u64,
    factor: u64,
}

/// A hash in the making: each word is mixed in by a product of 128 bits, whose halves are joined.
pub(crate) struct Mixer {
    state: u64,
    factor: u64,
}

impl Default for KeyedHash {
    fn default() -> Self {
        let random = RandomState::new();
        // Odd, so that no bit of a word is lost in the lower half.
        Self { start: random.hash_one(0), factor: random.hash_one(1) | 1 }
    }
}

impl BuildHasher for KeyedHash {
    type Hasher = Mixer;

    fn build_hasher(&self) -> Mixer {
        Mixer { state: self.start, factor: self.factor }
    }
}

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        for word in words {
            self.write_u64(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }

    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.state ^ word) * u128::from(self.factor);
        self.state = product as u64 ^ (product >> 64) as u64;
    }

    fn write_u128(&mut self, words: u128) {
        self.write_u64(words as u64);
        self.write_u64((words >> 64) as u64);
    }

    /// The length that comes before a key's bytes; all keys have the same.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.state
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Entries that differ little, as addresses and counted keys do, come to lie as far apart as
    /// random ones.
    #[test]
    fn neighbours_spread_over_a_table() {
        const COUNT: usize = 10_000;
        // Balls thrown at random into as many bins leave 1/e of them empty.
        let expected = COUNT as f64 * (1.0 - 1.0 / std::f64::consts::E);
        let spread = |hash: &dyn Fn(&KeyedHash, usize) -> u64| {
            let hashes = KeyedHash::default();
            let bins: HashSet<_> = (0..COUNT).map(|i| hash(&hashes, i) % COUNT as u64).collect();
            let tops: HashSet<_> = (0..COUNT).map(|i| hash(&hashes, i) >> 57).collect();
            assert!(bins.len() as f64 > expected * 0.9, "{} of {COUNT} bins", bins.len());
            assert_eq!(tops.len(), 128);
        };
        spread(&|hashes, i| hashes.hash_one(0x0a00_0000 + i as u32));
        spread(&|hashes, i| hashes.hash_one((0xfd_u128 << 120) + i as u128));
        spread(&|hashes, i| hashes.hash_one((0xfd_u128 << 120) + ((i as u128) << 64)));
        spread(&|hashes, i| {
            let mut key = [7; 32];
            key[28..].copy_from_slice(&(i as u32).to_be_bytes());
            hashes.hash_one(key)
        });
        spread(&|hashes, i| {
            let mut key = [7; 32];
            key[..4].copy_from_slice(&(i as u32).to_be_bytes());
            hashes.hash_one(key)
        });
    }

    #[test]
    fn each_table_has_a_hash_of_its_own() {
        assert_ne!(KeyedHash::default().hash_one(5_u32), KeyedHash::default().hash_one(5_u32));
    }
}
