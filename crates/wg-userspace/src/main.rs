//! wg-userspace

fn main() {}
