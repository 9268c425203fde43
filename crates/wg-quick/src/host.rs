//! What steps act on: the machine, as far as one interface is concerned.

use std::cell::OnceCell;
use std::path::PathBuf;

use anyhow::Context;
use wg_hostnet::{Hostnet, Link};

use crate::hook::Shell;
use crate::programs::Programs;
use crate::signals::Signals;

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
