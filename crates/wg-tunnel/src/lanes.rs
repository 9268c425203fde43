//! How many threads forward packets.

use std::str::FromStr;
use std::thread;

/// The most lanes: threads and memory stay bounded, whatever is asked for.
const MAX_COUNT: usize = 16;
/// The most workers for a direction of a lane.
const MAX_WORKERS: usize = 8;

/// A lane is a queue of the TUN device, a socket for each family, and the threads between them.
///
/// A flow stays in one lane until its session is renewed; then a few packets may change places, as
/// on any network. Lanes know nothing of each other. In a lane one worker is enough for each
/// direction until there is more than it can carry: then others open or seal batches beside it,
/// and the order of packets stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lanes {
    count: usize,
    workers: usize,
}

/// A text that names no number of lanes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}' is no number of lanes: expected LANES or LANESxWORKERS, \
     at most {MAX_COUNT} lanes of {MAX_WORKERS} workers"
)]
pub struct BadLanes(String);

impl Lanes {
    /// One lane with one worker for each direction.
    pub const ONE: Self = Self { count: 1, workers: 1 };

    /// How many there are, at least one.
    #[must_use]
    pub fn count(self) -> usize {
        self.count
    }

    /// Workers for each direction of each, at least one.
    #[must_use]
    pub fn workers(self) -> usize {
        self.workers
    }

    /// What pays on a machine of so many processors.
    ///
    /// One worker under full load takes a processor, and so do the kernel's part of the network
    /// and the programs whose packets these are, each. Up to three processors a second worker
    /// would take from them what it adds. With four there is one to spare for each direction of
    /// one lane; each further lane takes as many.
    fn for_processors(processors: usize) -> Self {
        if processors < 4 {
            return Self::ONE;
        }
        Self { count: (processors / 4).min(8), workers: 2 }
    }
}

impl Default for Lanes {
    /// What pays on the processors that this process may use.
    fn default() -> Self {
        Self::for_processors(thread::available_parallelism().map_or(1, usize::from))
    }
}

/// `LANES` or `LANESxWORKERS`, as in `2x2`; the empty text is the default.
impl FromStr for Lanes {
    type Err = BadLanes;

    fn from_str(text: &str) -> Result<Self, BadLanes> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let (count, workers) = text.split_once('x').unwrap_or((text, "1"));
        let number = |text: &str, most| {
            // A sign is no digit.
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|number| digits && (1..=most).contains(number))
        };
        match (number(count, MAX_COUNT), number(workers, MAX_WORKERS)) {
            (Some(count), Some(workers)) => Ok(Self { count, workers }),
            _ => Err(BadLanes(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_and_workers_are_read() {
        assert_eq!("".parse(), Ok(Lanes::default()));
        assert_eq!("1".parse(), Ok(Lanes::ONE));
        assert_eq!("2".parse(), Ok(Lanes { count: 2, workers: 1 }));
        assert_eq!("16x8".parse(), Ok(Lanes { count: 16, workers: 8 }));
        for bad in ["0", "17", "1x0", "1x9", "x", "2x", "x2", "+2", "2 x2", "2x2x2", "two", "-1"] {
            assert_eq!(bad.parse::<Lanes>(), Err(BadLanes(bad.to_owned())));
        }
    }

    #[test]
    fn a_small_machine_has_one_worker_for_each_direction() {
        for (processors, count, workers) in [
            (1, 1, 1),
            (2, 1, 1),
            (3, 1, 1),
            (4, 1, 2),
            (7, 1, 2),
            (8, 2, 2),
            (32, 8, 2),
            (256, 8, 2),
        ] {
            let lanes = Lanes::for_processors(processors);
            assert_eq!(lanes, Lanes { count, workers }, "{processors} processors");
        }
    }
}
