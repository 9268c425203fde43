//! The built `wg-quick` on test hosts, beside the original where that has an opinion.

mod bad_input;
mod captures;
mod container;
mod dns;
mod faults;
mod firewall;
mod full_tunnel;
mod interrupt;
mod journal;
mod machine;
mod original;
mod reload;
mod save;
mod systemd;
mod up_down;
