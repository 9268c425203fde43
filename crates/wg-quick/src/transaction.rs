//! Steps done one after another, so that all of them are undone when one fails.

use crate::host::Host;
use crate::journal::Journal;
use crate::plan::Plan;
use crate::step::Step;
use crate::undo::{Occasion, undo_all};
use crate::{report, say};

/// What was done so far.
pub(crate) struct Transaction<'a> {
    host: &'a Host,
    journal: &'a mut Journal,
    undo: Vec<Step>,
}

/// Routes that are added before a signal is asked for again.
const ROUTES_AT_ONCE: usize = 1024;

impl<'a> Transaction<'a> {
    /// Begins with nothing done.
    pub(crate) fn new(host: &'a Host, journal: &'a mut Journal) -> Self {
        Self { host, journal, undo: Vec::new() }
    }

    /// Does the steps of a plan, each told as it begins.
    ///
    /// # Errors
    /// The first step's that fails; or an interrupt between two steps.
    pub(crate) fn run(&mut self, plan: &Plan) -> anyhow::Result<()> {
        let is_route = |step: &Step| matches!(step, Step::AddRoute { .. });
        let mut rest = plan.as_slice();
        while let Some(step) = rest.first() {
            self.host.signals.check()?;
            let routes = rest.iter().take(ROUTES_AT_ONCE).take_while(|step| is_route(step)).count();
            if routes > 1 {
                self.add_routes(&rest[..routes])?;
                rest = &rest[routes..];
            } else {
                self.one(step)?;
                rest = &rest[1..];
            }
        }
        Ok(())
    }

    fn one(&mut self, step: &Step) -> anyhow::Result<()> {
        say(format_args!("[#] {}", step.describe(&self.host.interface)));
        // Before it is done: a step that breaks off half-way is undone as well.
        if let Some(undo) = step.undo() {
            self.journal.note(&undo)?;
            self.undo.push(undo);
        }
        step.apply(self.host)?;
        match self.host.made.get() {
            Some(index) if *step == Step::CreateLink => self.journal.note_link(index),
            _ => Ok(()),
        }
    }

    /// Has the kernel add many routes at once. They go when the interface does.
    fn add_routes(&self, steps: &[Step]) -> anyhow::Result<()> {
        let routes: Vec<_> = steps
            .iter()
            .filter_map(|step| match step {
                Step::AddRoute { prefix, table, .. } => Some((*prefix, *table)),
                _ => None,
            })
            .collect();
        let link = self.host.link()?;
        let tell = |number: usize| {
            say(format_args!("[#] {}", steps[number].describe(&self.host.interface)));
        };
        Ok(self.host.net.add_routes(&link, &routes, tell)?)
    }

    /// Keeps what was done.
    ///
    /// # Errors
    /// When a signal came after the last step, or the journal cannot be written.
    pub(crate) fn commit(&mut self) -> anyhow::Result<()> {
        self.host.signals.check()?;
        self.journal.complete()
    }

    /// Undoes what was done. What fails is told, and left in the journal for `down`.
    pub(crate) fn roll_back(self) {
        self.host.signals.begin_undoing();
        if undo_all(self.host, self.undo, Occasion::Failure)
            && let Err(error) = self.journal.clear()
        {
            report(&error);
        }
    }
}
