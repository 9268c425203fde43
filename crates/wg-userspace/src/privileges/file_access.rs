//! No files, no TCP, nobody else's processes: Landlock (`landlock(7)`, Linux 5.13 and later).

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, PathBeneath, PathFd, RestrictionStatus, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

/// What is restricted where the kernel knows how; an older one restricts what it knows.
const KNOWN: ABI = ABI::V6;

/// Refuses this thread, and those that it starts, all files by their path but those open already
/// and the removal of some from `directory`. They bind and connect no TCP sockets either, and
/// reach neither abstract sockets nor processes outside.
pub(super) fn restrict(directory: Option<&Path>) -> Result<RestrictionStatus, RulesetError> {
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(Scope::from_all(KNOWN))?
        .create()?;
    // If it cannot be opened, there is nothing in it that we could remove.
    if let Some(directory) = directory.and_then(|path| PathFd::new(path).ok()) {
        rules = rules.add_rule(PathBeneath::new(directory, AccessFs::RemoveFile))?;
    }
    rules.restrict_self()
}

/// Logs how much of it the kernel does.
pub(super) fn tell(status: &RestrictionStatus) {
    match status.ruleset {
        RulesetStatus::FullyEnforced => log::debug!("access to files is restricted"),
        RulesetStatus::PartiallyEnforced => {
            log::info!("access to files is restricted as far as this kernel's Landlock goes");
        }
        RulesetStatus::NotEnforced => {
            log::warn!("access to files is not restricted: this kernel has no Landlock");
        }
    }
}
