//! What is measured of one implementation in one turn.

use std::fmt;

/// The figures of one turn.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Figures {
    /// TCP, one stream, Gbit/s of payload.
    pub(super) tcp: f64,
    /// TCP, four streams.
    pub(super) tcp_4: f64,
    /// TCP, one stream the other way.
    pub(super) tcp_reverse: f64,
    /// Processor time of both daemons for each byte of the first measurement, ns.
    pub(super) cpu: f64,
    /// UDP of 64 bytes at unlimited offer: thousands of packets received each second, and how
    /// many of a hundred sent were lost.
    pub(super) udp_small: f64,
    pub(super) udp_small_loss: f64,
    /// The same with 1372 bytes.
    pub(super) udp_large: f64,
    pub(super) udp_large_loss: f64,
    /// Average round trip through an idle tunnel, ms.
    pub(super) ping: f64,
    /// The same under one TCP stream.
    pub(super) ping_loaded: f64,
    /// Resident memory after all this, of the daemon that has more, MB.
    pub(super) memory: f64,
}

/// A column of the table.
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) value: fn(&Figures) -> f64,
    pub(super) digits: usize,
    pub(super) more_is_better: bool,
}

/// All columns, in the table's order.
pub(super) const COLUMNS: [Column; 11] = [
    column("TCP 1, Gbit/s", |f| f.tcp, 2, true),
    column("TCP 4, Gbit/s", |f| f.tcp_4, 2, true),
    column("TCP reverse, Gbit/s", |f| f.tcp_reverse, 2, true),
    column("CPU, ns/byte", |f| f.cpu, 2, false),
    column("UDP 64 B, kpps", |f| f.udp_small, 0, true),
    column("loss, %", |f| f.udp_small_loss, 0, false),
    column("UDP 1372 B, kpps", |f| f.udp_large, 0, true),
    column("loss, %", |f| f.udp_large_loss, 0, false),
    column("ping, ms", |f| f.ping, 2, false),
    column("ping under TCP, ms", |f| f.ping_loaded, 2, false),
    column("memory, MB", |f| f.memory, 1, false),
];

const fn column(
    title: &'static str,
    value: fn(&Figures) -> f64,
    digits: usize,
    more_is_better: bool,
) -> Column {
    Column { title, value, digits, more_is_better }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, column) in COLUMNS.iter().enumerate() {
            let separator = if i > 0 { "; " } else { "" };
            let value = (column.value)(self);
            write!(f, "{separator}{}: {value:.*}", column.title, column.digits)?;
        }
        Ok(())
    }
}
