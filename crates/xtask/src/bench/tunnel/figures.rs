//! What is measured of one implementation in one turn.

use std::fmt;

use clap::ValueEnum;

/// A measurement that can be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Test {
    /// TCP, one stream, and the processor time it takes.
    Tcp,
    /// TCP, four streams.
    Tcp4,
    /// TCP, one stream the other way.
    TcpReverse,
    /// UDP of 64 and of 1372 bytes at unlimited offer.
    Udp,
    /// UDP of these lengths: the best rate without loss.
    LossFree,
    /// The round trip through an idle tunnel.
    Ping,
    /// The same under one TCP stream.
    PingLoaded,
    /// Resident memory after all this.
    Memory,
    /// Processor time of an idle tunnel, in the first round.
    Idle,
}

/// The figures of one turn, those that were measured.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Figures {
    /// TCP, one stream, Gbit/s of payload.
    pub(super) tcp: Option<f64>,
    /// TCP, four streams.
    pub(super) tcp_4: Option<f64>,
    /// TCP, one stream the other way.
    pub(super) tcp_reverse: Option<f64>,
    /// Processor time of both daemons for each byte of the first measurement, ns.
    pub(super) cpu: Option<f64>,
    pub(super) udp_small: Udp,
    pub(super) udp_large: Udp,
    /// Average round trip through an idle tunnel, ms.
    pub(super) ping: Option<f64>,
    /// The same under one TCP stream.
    pub(super) ping_loaded: Option<f64>,
    /// Resident memory after all this, of the daemon that has more, MB.
    pub(super) memory: Option<f64>,
    /// Processor time in a minute without traffic, of the daemon that takes more, ms.
    pub(super) idle: Option<f64>,
}

/// The figures of datagrams of one length.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Udp {
    /// At unlimited offer: thousands received each second.
    pub(super) received: Option<f64>,
    /// How many of a hundred sent were lost then.
    pub(super) loss: Option<f64>,
    /// Thousands received each second at the best rate without loss
    /// (see [`MAX_LOSS`](super::rate::MAX_LOSS)).
    pub(super) loss_free: Option<f64>,
}

/// A column of the table.
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) value: fn(&Figures) -> Option<f64>,
    pub(super) digits: usize,
    pub(super) more_is_better: bool,
}

/// All columns, in the table's order.
pub(super) const COLUMNS: [Column; 14] = [
    column("TCP 1, Gbit/s", |f| f.tcp, 2, true),
    column("TCP 4, Gbit/s", |f| f.tcp_4, 2, true),
    column("TCP reverse, Gbit/s", |f| f.tcp_reverse, 2, true),
    column("CPU, ns/byte", |f| f.cpu, 2, false),
    column("UDP 64 B, kpps", |f| f.udp_small.received, 0, true),
    column("loss, %", |f| f.udp_small.loss, 0, false),
    column("loss-free 64 B, kpps", |f| f.udp_small.loss_free, 0, true),
    column("UDP 1372 B, kpps", |f| f.udp_large.received, 0, true),
    column("loss, %", |f| f.udp_large.loss, 0, false),
    column("loss-free 1372 B, kpps", |f| f.udp_large.loss_free, 0, true),
    column("ping, ms", |f| f.ping, 2, false),
    column("ping under TCP, ms", |f| f.ping_loaded, 2, false),
    column("memory, MB", |f| f.memory, 1, false),
    column("idle CPU, ms/min", |f| f.idle, 1, false),
];

const fn column(
    title: &'static str,
    value: fn(&Figures) -> Option<f64>,
    digits: usize,
    more_is_better: bool,
) -> Column {
    Column { title, value, digits, more_is_better }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let measured = COLUMNS.iter().filter_map(|column| Some((column, (column.value)(self)?)));
        for (i, (column, value)) in measured.enumerate() {
            let separator = if i > 0 { "; " } else { "" };
            write!(f, "{separator}{}: {value:.*}", column.title, column.digits)?;
        }
        Ok(())
    }
}
