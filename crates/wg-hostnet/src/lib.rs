//! The host's network: links, addresses, routes and rules through route netlink, the firewall
//! through netfilter netlink.
//!
//! [`Hostnet`] is one socket in the network namespace of the thread that opened it. Its methods
//! block. Nothing here runs a program.

mod address;
mod error;
mod firewall;
mod link;
mod netlink;
mod prefix;
mod route;
mod route_table;
mod rule;
mod socket;
mod sysctl;

pub use address::Address;
pub use error::{Cause, Error};
pub use firewall::{Firewall, add_firewall, check_firewall, delete_firewalls, firewalls};
pub use link::Link;
pub use netlink::{Family, Hostnet};
pub use prefix::Prefix;
pub use route::{Route, RouteFilter};
pub use route_table::{TABLE_MAIN, table_id};
pub use rule::Rule;
pub use sysctl::{set_src_valid_mark, src_valid_mark};
