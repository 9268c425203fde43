//! Receiver indices, owned by what they name.

use std::fmt;
use std::sync::Arc;

/// Where indices come from and go back to. `release` is called from `Drop`, perhaps on the data
/// path: it must not take a lock that the caller of this crate may hold, nor call a
/// [`Peer`](crate::Peer), which may be what drops the index.
pub trait IndexTable: Send + Sync {
    /// The index is free again.
    fn release(&self, index: u32);
}

/// A receiver index in use, released when dropped.
pub struct LocalIndex {
    value: u32,
    table: Arc<dyn IndexTable>,
}

impl LocalIndex {
    /// Owns `value`, which `table` has handed out.
    pub fn new(value: u32, table: Arc<dyn IndexTable>) -> Self {
        Self { value, table }
    }

    /// The index on the wire.
    pub fn value(&self) -> u32 {
        self.value
    }
}

impl Drop for LocalIndex {
    fn drop(&mut self) {
        self.table.release(self.value);
    }
}

impl fmt::Debug for LocalIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LocalIndex").field(&self.value).finish()
    }
}
