//! What undoes a tunnel, in the order in which users have always seen it.

use wg_hostnet::Family;

use crate::host::Host;
use crate::step::Step;
use crate::{report, say};

/// Why something is undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// `up` failed: the firewall and the name servers go before the interface.
    Failure,
    /// `down`: the interface goes first.
    Down,
}

/// Undoes steps; whether all went well. What fails is told, and what has nothing to do is passed
/// over in silence.
pub(crate) fn undo_all(host: &Host, undo: Vec<Step>, occasion: Occasion) -> bool {
    let mut all = true;
    for step in in_order(undo, occasion) {
        if let Err(error) = undo_one(host, &step) {
            report(&error);
            all = false;
        }
    }
    all
}

fn undo_one(host: &Host, step: &Step) -> anyhow::Result<()> {
    if !step.is_needed(host)? {
        return Ok(());
    }
    // The original has no line for what it does not do.
    if !matches!(step, Step::RestoreSrcValidMark { .. }) {
        say(format_args!("[#] {}", step.describe(&host.interface)));
    }
    step.apply(host)
}

/// The steps sorted for the occasion, each once.
fn in_order(undo: Vec<Step>, occasion: Occasion) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::with_capacity(undo.len());
    for step in undo {
        if !steps.contains(&step) {
            steps.push(step);
        }
    }
    steps.sort_by_key(|step| (place(step, occasion), family(step)));
    steps
}

fn place(step: &Step, occasion: Occasion) -> u8 {
    let before_the_link = occasion == Occasion::Failure;
    match step {
        Step::RestoreSrcValidMark { .. } => 2,
        Step::DeleteRule(_) => 3,
        Step::DeleteLink => 4,
        Step::DeleteDns(_) => {
            if before_the_link {
                0
            } else {
                5
            }
        }
        Step::DeleteNftables => {
            if before_the_link {
                1
            } else {
                6
            }
        }
        Step::DeleteIptables(_) => {
            if before_the_link {
                1
            } else {
                7
            }
        }
        // Nothing else is ever in a journal.
        _ => 8,
    }
}

fn family(step: &Step) -> Option<Family> {
    match step {
        Step::DeleteRule(rule) => Some(rule.family),
        Step::DeleteIptables(family) => Some(*family),
        _ => None,
    }
}
