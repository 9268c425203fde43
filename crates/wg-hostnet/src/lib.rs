//! The host's network through route netlink: links, addresses, routes and rules.
//!
//! [`Hostnet`] is one socket in the network namespace of the thread that opened it. Its methods
//! block. Nothing here runs a program.

mod address;
mod error;
mod link;
mod netlink;
mod prefix;
mod route;
mod route_table;
mod rule;

pub use address::Address;
pub use error::{Cause, Error};
pub use link::Link;
pub use netlink::{Family, Hostnet};
pub use prefix::Prefix;
pub use route::{Route, RouteFilter};
pub use route_table::{TABLE_MAIN, table_id};
pub use rule::Rule;
