//! The original `wg` as the oracle: the same command lines, the same bytes, the same exit codes,
//! the same requests to the daemon. Needs root.

mod bench;
mod conf;
mod daemon;
mod keys;
mod set;
mod show;
mod wireguard_go;
