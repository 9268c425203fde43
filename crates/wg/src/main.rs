//! wg

fn main() {}
