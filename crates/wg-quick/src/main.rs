//! wg-quick

fn main() {}
