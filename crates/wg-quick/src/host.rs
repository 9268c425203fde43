//! What steps act on: the machine, as far as one interface is concerned.

use std::cell::{Cell, OnceCell};
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, anyhow};
use nix::poll::PollTimeout;
use wg_control::{Device, DeviceUpdate};
use wg_hostnet::{Hostnet, Link};

use crate::hook::{Shell, success};
use crate::programs::Programs;
use crate::signals::Signals;

/// Milliseconds that a change which is on its way to a daemon has to arrive when a signal comes: one
/// that arrives after its undoing would stay.
const GRACE: u16 = 2000;

/// The machine.
pub(crate) struct Host {
    /// The interface's name.
    pub interface: String,
    /// The file that describes it.
    pub config_file: PathBuf,
    /// The network.
    pub net: Hostnet,
    /// The signals that interrupt.
    pub signals: Signals,
    /// Where programs are.
    pub programs: Programs,
    /// The index of the interface that `up` made, where it is known: a hook may have renamed it, and
    /// the name may be another's by now.
    pub made: Cell<Option<u32>>,
    shell: OnceCell<Shell>,
}

impl Host {
    /// Opens the network; from here on, signals wait until they are asked for.
    ///
    /// # Errors
    /// When the kernel does not give what is needed.
    pub(crate) fn new(interface: String, config_file: PathBuf) -> anyhow::Result<Self> {
        Ok(Self {
            interface,
            config_file,
            net: Hostnet::open()?,
            signals: Signals::block().context("signals cannot be taken")?,
            programs: Programs::new(),
            made: Cell::new(None),
            shell: OnceCell::new(),
        })
    }

    /// The interface, which must exist.
    ///
    /// # Errors
    /// When it does not, or the kernel does not answer.
    pub(crate) fn link(&self) -> anyhow::Result<Link> {
        let link = self.net.link(&self.interface)?;
        link.with_context(|| format!("{}: the interface is gone", self.interface))
    }

    /// What the interface's dataplane says. A daemon may never answer; a signal ends the wait.
    ///
    /// # Errors
    /// As [`wg_control::get`]; or [`Interrupted`](crate::signals::Interrupted).
    pub(crate) fn device(&self) -> anyhow::Result<Device> {
        let interface = self.interface.clone();
        Ok(self.signals.interrupt(PollTimeout::ZERO, move || wg_control::get(&interface))??)
    }

    /// Changes the interface's dataplane, which a signal interrupts likewise.
    ///
    /// # Errors
    /// As [`wg_control::set`]; or [`Interrupted`](crate::signals::Interrupted).
    pub(crate) fn configure(&self, update: &DeviceUpdate) -> anyhow::Result<()> {
        let interface = self.interface.clone();
        let update = update.clone();
        let outcome =
            self.signals.interrupt(GRACE.into(), move || wg_control::set(&interface, update))?;
        outcome.map_err(|error| match error.detail() {
            Some(detail) => anyhow!("{}: configure: {error} ({detail})", self.interface),
            None => anyhow!("{}: configure: {error}", self.interface),
        })
    }

    /// Runs a program to its end with this on its standard input.
    ///
    /// # Errors
    /// [`Failed`](crate::hook::Failed) or [`Interrupted`](crate::signals::Interrupted); or that it
    /// cannot be started.
    pub(crate) fn run_program(
        &self,
        program: &Path,
        arguments: &[impl AsRef<OsStr>],
        input: &str,
    ) -> anyhow::Result<()> {
        let mut command = self.programs.command(program);
        let mut child = self
            .signals
            .spawn(command.args(arguments).stdin(Stdio::piped()))
            .with_context(|| format!("{} cannot be run", program.display()))?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that ends before it has read all tells by its status why.
            let _ = stdin.write_all(input.as_bytes());
        }
        success(self.signals.wait(&mut child)?)
    }

    /// Runs one hook.
    ///
    /// # Errors
    /// [`Failed`](crate::hook::Failed) or [`Interrupted`](crate::signals::Interrupted).
    pub(crate) fn run_hook(&self, hook: &str) -> anyhow::Result<()> {
        if self.shell.get().is_none() {
            // Nobody else can have set it since.
            let _ = self.shell.set(Shell::find(&self.programs)?);
        }
        let shell = self.shell.get().context("no shell")?;
        shell.run(hook, &self.interface, &self.config_file, &self.programs, &self.signals)
    }
}
