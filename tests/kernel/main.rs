//! Everything on the kernel's WireGuard module, in a virtual machine that has it.
//!
//! All cases share the guests, so they are one program.

mod backend;
mod clock;
mod compliance;
mod cookie;
mod documents;
mod interop;
mod wg;
mod wg_quick;
