//! The scope of a link-local address.

use nix::net::if_::if_indextoname;

/// The name of the interface with this index, as it stands behind the `%` of an address; the index
/// itself where there is no such interface in this network namespace.
pub fn scope_name(index: u32) -> String {
    let name = if_indextoname(index).ok().and_then(|name| name.into_string().ok());
    // For an index without an interface there is success with an empty name.
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| index.to_string())
}
