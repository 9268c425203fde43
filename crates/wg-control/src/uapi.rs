//! The text protocol between `wg` and a userspace daemon, both ends of it.
//!
//! A client sends `get=1` or `set=1`, lines of `key=value`, and an empty line; the daemon answers
//! with lines of `key=value` that end in `errno=N` and an empty line
//! (<https://www.wireguard.com/xplatform/>). Keys are lower-case hexadecimal, numbers are decimal.
//!
//! Both ends bound the memory that a line may take, and keep the text of keys in buffers that are
//! zeroed.

mod answer;
mod lines;
mod request;
#[cfg(test)]
mod tests;
mod value;

pub use answer::{AnswerError, read_device, read_errno, write_device, write_errno};
pub use lines::MAX_LINE;
pub use request::{Request, RequestError, RequestReader, write_get, write_set};
