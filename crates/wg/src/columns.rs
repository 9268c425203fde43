//! The names of the columns of `wg show`. Tests and completions take them from here.

/// What `wg show INTERFACE` takes behind the interface, in the usage's order.
pub(crate) const COLUMNS: [&str; 12] = [
    "public-key",
    "private-key",
    "listen-port",
    "fwmark",
    "peers",
    "preshared-keys",
    "endpoints",
    "allowed-ips",
    "latest-handshakes",
    "transfer",
    "persistent-keepalive",
    "dump",
];
