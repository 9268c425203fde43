//! The recipes of `examples/`: every host in namespaces, the very files, and all that a recipe
//! promises or denies.

mod checks;
mod dynamic_addresses;
mod example;
mod full_internet_browsing;
mod full_star;
mod internet;
mod keys_by_hooks;
mod lan_bridging;
mod nat_to_nat;
mod shared_peers;
mod two_hosts;
