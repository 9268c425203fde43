//! `up --dry-run`: what would be done.

use std::ffi::OsStr;
use std::io::{self, Write};

use crate::config_file::{ConfigFile, show_errors};
use crate::hook::Failed;
use crate::host::Host;
use crate::observed::{Coverage, Paths, expected};
use crate::plan::{self, Plan};
use crate::policy::Policy;
use crate::tunnel::{RouteTable, Tunnel};
use crate::up::refuse_existing;

/// Prints the steps of `up` on standard output and does none of them. What hooks would change is not
/// foreseen.
///
/// # Errors
/// As `up` before its first step.
pub(crate) fn up(argument: &OsStr) -> anyhow::Result<()> {
    let file = ConfigFile::locate(argument, |_| false)?;
    let text = file.text()?;
    let parsed = file.parse(&text).map_err(|errors| {
        show_errors(&errors);
        Failed(1)
    })?;
    let host = Host::new(file.interface.clone(), file.path.clone())?;
    refuse_existing(&host.net, &host.interface)?;
    let mut tunnel = Tunnel::new(&file, &parsed)?;
    tunnel.resolve(&parsed.config, Some(&host.signals))?;
    let device = expected(&tunnel.device);
    let mut plan = plan::link(&tunnel);
    plan.push(plan::configuration(&tunnel));
    plan.extend(plan::network(&tunnel, &Paths::observe(&host.net, &device)?, tunnel.dns(&host)));
    let coverage = Coverage::expected(&tunnel);
    let defaults = coverage.defaults();
    let policy = if tunnel.table == RouteTable::Auto && !defaults.is_empty() {
        Some(Policy::observe(&host, None, device.fwmark, &tunnel.addresses, &defaults)?)
    } else {
        None
    };
    plan.extend(plan::routes(&tunnel, &coverage, policy));
    plan.extend(plan::hooks(&tunnel));
    print(&host.interface, &plan)
}

/// Prints the steps of a plan on standard output.
///
/// # Errors
/// When that is closed.
pub(crate) fn print(interface: &str, plan: &Plan) -> anyhow::Result<()> {
    let mut text = String::new();
    for step in plan {
        text.push_str(&format!("[#] {}\n", step.describe(interface)));
    }
    Ok(io::stdout().write_all(text.as_bytes())?)
}
