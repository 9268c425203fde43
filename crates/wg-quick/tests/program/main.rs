//! The built `wg-quick` on test hosts, beside the original where that has an opinion.

mod bad_input;
mod interrupt;
mod journal;
mod machine;
mod original;
mod up_down;
