//! Steps done one after another, so that all of them are undone when one fails.

use crate::host::Host;
use crate::journal::Journal;
use crate::plan::Plan;
use crate::step::Step;
use crate::{report, say};

/// What was done so far.
pub(crate) struct Transaction<'a> {
    host: &'a Host,
    journal: &'a mut Journal,
    undo: Vec<Step>,
}

impl<'a> Transaction<'a> {
    /// Begins with nothing done.
    pub(crate) fn new(host: &'a Host, journal: &'a mut Journal) -> Self {
        Self { host, journal, undo: Vec::new() }
    }

    /// Does the steps of a plan, each told as it begins.
    ///
    /// # Errors
    /// The first step's that fails; or an interrupt between two steps.
    pub(crate) fn run(&mut self, plan: Plan) -> anyhow::Result<()> {
        for step in plan {
            self.host.signals.check()?;
            say(format_args!("[#] {}", step.describe(&self.host.interface)));
            let undo = step.undo();
            if let Some(undo) = &undo {
                self.journal.note(undo)?;
            }
            step.apply(self.host)?;
            self.undo.extend(undo);
        }
        Ok(())
    }

    /// Keeps what was done.
    ///
    /// # Errors
    /// When a signal came after the last step, or the journal cannot be written.
    pub(crate) fn commit(&mut self) -> anyhow::Result<()> {
        self.host.signals.check()?;
        self.journal.complete()
    }

    /// Undoes what was done, the last first. What fails is told, and left in the journal for `down`.
    pub(crate) fn roll_back(self) {
        if undo_all(self.host, self.undo)
            && let Err(error) = self.journal.clear()
        {
            report(&error);
        }
    }
}

/// Undoes steps, the last first; whether all went well. What fails is told, and what has nothing to
/// do is passed over in silence.
pub(crate) fn undo_all(host: &Host, undo: Vec<Step>) -> bool {
    let mut all = true;
    for step in undo.into_iter().rev() {
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
    say(format_args!("[#] {}", step.describe(&host.interface)));
    step.apply(host)
}
