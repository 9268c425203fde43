//! The root file system in a container engine, on a kernel that has WireGuard: a guest, with Debian
//! inside. README's examples of containers are executed.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use testbed::documents::{self, Executor, Kind};
use testbed::vm::Guest;

use super::Archives;
use super::debian_root::Base;

/// The guest's processor is an emulated one.
const LIMIT: Duration = Duration::from_secs(400);

/// Executes the examples, each with an application whose network is its own, and pings from there
/// through the tunnel.
pub(super) fn executes_the_examples(base: &Base, archives: &Archives) -> Result<()> {
    let guest = Guest::boot().context("no guest with the kernel's WireGuard")?;
    let examples = documents::examples(Executor::Dist)?;
    for example in &examples {
        ensure!(example.kind == Kind::Console { fails: false }, "{}: no commands", example.place);
        let (script, shown) = example.script()?;
        ensure!(shown.is_empty(), "{}: what is shown is not compared", example.place);
        let line = format!(
            "export BASE='{}' IMAGE='{}'\n. ./container.sh\n",
            base.folder().display(),
            archives.image.display()
        );
        let job = guest.job(&example.place)?.limit(LIMIT);
        let job = job.file("container.sh", include_str!("container.sh"))?;
        let job = job.file("inside.sh", include_str!("container_inside.sh"))?;
        let job = job.file("server.conf", documents::first_tunnel("server")?)?;
        let job = job.file("laptop.conf", documents::first_tunnel("laptop")?)?;
        let finished = job.file("example.sh", script)?.run(&line)?;
        ensure!(finished.code == 0, "{}\n{finished}", example.text);
    }
    Ok(())
}
