//! What is left in memory of a value that was dropped.
//!
//! This process's memory is read as a file is: also where nothing lives any more, which no
//! reference may point to.

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;

/// The memory of a value, also after its end.
pub struct Place {
    memory: File,
    address: u64,
    /// Made before the value's end, or the allocator would make it where the value was.
    bytes: Vec<u8>,
}

/// Bytes that count as a part of a secret.
const PIECE: usize = 8;

impl Place {
    /// Where `value` is. On the heap, so that it stays there; what it points to is elsewhere.
    ///
    /// # Panics
    /// When this process's memory cannot be opened.
    pub fn of<T>(value: &T) -> Self {
        let memory = File::open("/proc/self/mem").expect("a process may read itself");
        let address = std::ptr::from_ref(value).addr() as u64;
        Self { memory, address, bytes: vec![0; size_of::<T>()] }
    }

    /// Whether any part of a secret is there: of what is freed, the allocator takes the first
    /// bytes for its own lists.
    ///
    /// # Panics
    /// When the memory has been given back to the kernel.
    pub fn holds_some_of(&mut self, secret: &[u8]) -> bool {
        self.memory.read_exact_at(&mut self.bytes, self.address).expect("the memory is still ours");
        let (pieces, _) = secret.as_chunks::<PIECE>();
        self.bytes.windows(PIECE).any(|bytes| pieces.iter().any(|piece| bytes == piece))
    }
}

/// Drops a value that holds `secret` itself, not in memory that it points to, and tells whether
/// any part of it is left.
///
/// # Panics
/// When the secret was not there before.
pub fn is_left_of_dropped<T>(value: T, secret: &[u8]) -> bool {
    /// The allocator's lists go into the room.
    #[repr(C)]
    struct Behind<T>([u64; 8], T);
    let behind = Box::new(Behind([0; 8], value));
    let mut place = Place::of(&behind.1);
    assert!(place.holds_some_of(secret), "the secret is not where it is looked for");
    drop(black_box(behind));
    place.holds_some_of(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_wiped_is_found_and_what_is_wiped_is_not() {
        struct Wiped([u8; 32]);
        impl Drop for Wiped {
            fn drop(&mut self) {
                self.0 = [0; 32];
                black_box(&mut self.0);
            }
        }
        let secret: [u8; 32] = std::array::from_fn(|i| i as u8 + 100);
        assert!(is_left_of_dropped(secret, &secret));
        assert!(!is_left_of_dropped(Wiped(secret), &secret));
    }
}
