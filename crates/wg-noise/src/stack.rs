//! What handshakes leave on the stack.

use std::hint::black_box;

/// Bytes: several times what the frames of a handshake take, also without optimisation.
const DEPTH: usize = 32 * 1024;

/// Overwrites the stack below the caller's frame with zeroes. To be called after each handshake,
/// where it was called from: the libraries that do the arithmetic keep keys in variables that
/// they do not zero.
#[inline(never)]
pub fn wipe_stack() {
    // The compiler must take it that somebody reads them.
    black_box(&mut [0u8; DEPTH]);
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use wg_cipher::TransportKey;

    use super::*;
    use crate::aead::AeadKey;

    /// Never in memory as it is; the key is its complement.
    fn complement() -> [u8; 32] {
        std::array::from_fn(|i| (i as u8).wrapping_mul(37).wrapping_add(11))
    }

    #[inline(never)]
    fn session_key() -> TransportKey {
        let key = zeroize::Zeroizing::new(complement().map(|byte| !byte));
        TransportKey::new(&key)
    }

    #[inline(never)]
    fn handshake_key() -> AeadKey {
        let key = zeroize::Zeroizing::new(complement().map(|byte| !byte));
        AeadKey::new(&key)
    }

    /// How often the key lies in this process's writable memory.
    fn copies() -> usize {
        const STEP: usize = 16 * 1024;
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let memory = File::open("/proc/self/mem").unwrap();
        let complement = complement();
        let is_key = |window: &&[u8]| window.iter().zip(&complement).all(|(x, y)| *x == !y);
        // Room on both sides: what is read together with this must hold nothing but this.
        let mut room = vec![0; 5 * STEP];
        let bytes = &mut room[2 * STEP..3 * STEP + 31];
        let mut copies = 0;
        for line in maps.lines().filter(|line| line.contains(" rw")) {
            let (from, to) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
            let [from, to] = [from, to].map(|text| u64::from_str_radix(text, 16).unwrap());
            for start in (from..to).step_by(STEP) {
                // Another test may have given the memory back meanwhile.
                let length = memory.read_at(bytes, start).unwrap_or(0);
                copies += bytes[..length].windows(32).filter(is_key).count();
                bytes.fill(0);
                black_box(&mut *bytes);
            }
        }
        copies
    }

    #[test]
    fn a_key_is_in_memory_once_and_then_no_more() {
        let key = session_key();
        wipe_stack();
        assert_eq!(copies(), 1);
        drop(key);
        wipe_stack();
        assert_eq!(copies(), 0);

        let key = handshake_key();
        wipe_stack();
        assert_eq!(copies(), 1);
        drop(key);
        wipe_stack();
        assert_eq!(copies(), 0);
    }
}
