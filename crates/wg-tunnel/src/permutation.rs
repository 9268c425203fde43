//! A keyed permutation of 32-bit numbers.

use std::hash::{BuildHasher, RandomState};

/// Four Feistel rounds over halves of 16 bits, with SipHash as their function (Luby and Rackoff,
/// "How to construct pseudorandom permutations"): enough to hide what a number is made of, not
/// more.
pub(crate) struct Permutation {
    /// With a key of its own.
    rounds: RandomState,
}

const ROUNDS: [u8; 4] = [0, 1, 2, 3];

impl Permutation {
    pub(crate) fn new() -> Self {
        Self { rounds: RandomState::new() }
    }

    pub(crate) fn apply(&self, number: u32) -> u32 {
        let (left, right) = halves(number);
        let (left, right) = ROUNDS
            .iter()
            .fold((left, right), |(left, right), round| (right, left ^ self.round(*round, right)));
        whole(left, right)
    }

    /// Undoes [`Permutation::apply`].
    pub(crate) fn invert(&self, number: u32) -> u32 {
        let (left, right) = halves(number);
        let (left, right) = ROUNDS
            .iter()
            .rev()
            .fold((left, right), |(left, right), round| (right ^ self.round(*round, left), left));
        whole(left, right)
    }

    fn round(&self, round: u8, half: u16) -> u16 {
        self.rounds.hash_one((round, half)) as u16
    }
}

fn halves(number: u32) -> (u16, u16) {
    ((number >> 16) as u16, number as u16)
}

fn whole(left: u16, right: u16) -> u32 {
    u32::from(left) << 16 | u32::from(right)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_can_be_inverted(number in any::<u32>()) {
            let permutation = Permutation::new();
            prop_assert_eq!(permutation.invert(permutation.apply(number)), number);
            prop_assert_eq!(permutation.apply(permutation.invert(number)), number);
        }
    }
}
