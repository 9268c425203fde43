//! The host's resolver: `resolvconf`, systemd-resolved, or `/etc/resolv.conf` itself.

use std::fmt;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::host::Host;
use crate::resolv_conf;

/// The name servers and search domains of a tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dns {
    /// Who gets them.
    pub manager: Manager,
    /// At least one.
    pub servers: Vec<IpAddr>,
    /// What is appended to short names.
    pub search: Vec<String>,
}

/// Who manages the host's resolver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Manager {
    /// The program `resolvconf`, under this name.
    Resolvconf(String),
    /// systemd-resolved, by the program `resolvectl`.
    Resolved,
    /// Nobody: `/etc/resolv.conf` is written; whether it has to be made.
    File {
        /// There was none before.
        created: bool,
    },
}

const RESOLV_CONF: &str = "/etc/resolv.conf";
const RESOLVCONF: &str = "resolvconf";
const RESOLVECTL: &str = "resolvectl";

impl Manager {
    /// Finds who manages the resolver.
    pub(crate) fn find(host: &Host) -> Self {
        if let Some(program) = host.programs.find(RESOLVCONF) {
            return Self::Resolvconf(format!("{}{}", prefix(&program), host.interface));
        }
        let is_running = Path::new("/run/systemd/resolve").is_dir();
        if is_running && host.programs.find(RESOLVECTL).is_some() {
            return Self::Resolved;
        }
        Self::File { created: !Path::new(RESOLV_CONF).exists() }
    }

    /// For the journal.
    pub(crate) fn to_line(&self) -> String {
        match self {
            Self::Resolvconf(name) => format!("resolvconf {name}"),
            Self::Resolved => "resolved".to_owned(),
            Self::File { created: false } => "file".to_owned(),
            Self::File { created: true } => "created-file".to_owned(),
        }
    }

    /// Reads what [`Manager::to_line`] wrote.
    pub(crate) fn from_line(line: &str) -> Option<Self> {
        match line {
            "resolved" => Some(Self::Resolved),
            "file" => Some(Self::File { created: false }),
            "created-file" => Some(Self::File { created: true }),
            _ => line.strip_prefix("resolvconf ").map(|name| Self::Resolvconf(name.to_owned())),
        }
    }
}

/// Sets the name servers and search domains.
///
/// # Errors
/// When the manager fails.
pub(crate) fn add(host: &Host, dns: &Dns) -> anyhow::Result<()> {
    match &dns.manager {
        Manager::Resolvconf(name) => {
            run(host, RESOLVCONF, &["-a", name, "-m", "0", "-x"], &settings(dns))
        }
        Manager::Resolved => {
            let servers = dns.servers.iter().map(IpAddr::to_string);
            let words: Vec<_> =
                ["dns".to_owned(), host.interface.clone()].into_iter().chain(servers).collect();
            run(host, RESOLVECTL, &words, "")?;
            // All names are for these servers, and some are completed.
            let all = std::iter::once("~.".to_owned());
            let words: Vec<_> = ["domain".to_owned(), host.interface.clone()]
                .into_iter()
                .chain(all)
                .chain(dns.search.iter().cloned())
                .collect();
            run(host, RESOLVECTL, &words, "")
        }
        Manager::File { .. } => {
            let before = read()?.unwrap_or_default();
            write(&before, &resolv_conf::with(&before, &host.interface, &settings(dns)))
        }
    }
}

/// Whether [`delete`] has anything to do.
///
/// # Errors
/// When the kernel does not answer.
pub(crate) fn is_set(host: &Host, manager: &Manager) -> anyhow::Result<bool> {
    Ok(match manager {
        Manager::Resolvconf(_) => true,
        // It forgets an interface that goes.
        Manager::Resolved => host.net.link(&host.interface)?.is_some(),
        Manager::File { .. } => {
            read()?.is_some_and(|text| resolv_conf::without(&text, &host.interface).is_some())
        }
    })
}

/// Takes the name servers and search domains back.
///
/// # Errors
/// When the manager fails.
pub(crate) fn delete(host: &Host, manager: &Manager) -> anyhow::Result<()> {
    match manager {
        Manager::Resolvconf(name) => run(host, RESOLVCONF, &["-d", name, "-f"], ""),
        Manager::Resolved => run(host, RESOLVECTL, &["revert", &host.interface], ""),
        Manager::File { created } => {
            let Some(before) = read()? else { return Ok(()) };
            let Some(after) = resolv_conf::without(&before, &host.interface) else {
                return Ok(());
            };
            if *created && after.is_empty() {
                return fs::remove_file(RESOLV_CONF).context(RESOLV_CONF);
            }
            write(&before, &after)
        }
    }
}

/// What a line says that adds them.
pub(crate) fn describe_add(f: &mut fmt::Formatter<'_>, interface: &str, dns: &Dns) -> fmt::Result {
    match &dns.manager {
        Manager::Resolvconf(name) => write!(f, "resolvconf -a {name} -m 0 -x"),
        Manager::Resolved => {
            write!(f, "resolvectl dns {interface}")?;
            dns.servers.iter().try_for_each(|server| write!(f, " {server}"))?;
            write!(f, " && resolvectl domain {interface} ~.")?;
            dns.search.iter().try_for_each(|domain| write!(f, " {domain}"))
        }
        Manager::File { .. } => {
            write!(f, "add to {RESOLV_CONF}:")?;
            settings(dns).lines().try_for_each(|line| write!(f, " {line};"))
        }
    }
}

/// What a line says that takes them back.
pub(crate) fn describe_delete(
    f: &mut fmt::Formatter<'_>,
    interface: &str,
    manager: &Manager,
) -> fmt::Result {
    match manager {
        Manager::Resolvconf(name) => write!(f, "resolvconf -d {name} -f"),
        Manager::Resolved => write!(f, "resolvectl revert {interface}"),
        Manager::File { .. } => write!(f, "remove the lines of {interface} from {RESOLV_CONF}"),
    }
}

/// As the original gives them to `resolvconf`.
fn settings(dns: &Dns) -> String {
    let mut text: String =
        dns.servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    if !dns.search.is_empty() {
        text.push_str(&format!("search {}\n", dns.search.join(" ")));
    }
    text
}

/// What Debian's resolvconf orders interfaces by: the first entry of the order that is a bare
/// `NAME*`. openresolv and resolvectl, where the program is a link, know no such file.
fn prefix(program: &Path) -> String {
    let order = Path::new("/etc/resolvconf/interface-order");
    if program.is_symlink() || !order.is_file() {
        return String::new();
    }
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let text = fs::read_to_string(order).unwrap_or_default();
    let mut names = text.lines().filter_map(|line| line.trim().strip_suffix('*'));
    names.find(|name| is_name(name)).map(|name| format!("{name}.")).unwrap_or_default()
}

fn run(host: &Host, name: &str, words: &[impl AsRef<str>], input: &str) -> anyhow::Result<()> {
    let program: PathBuf =
        host.programs.find(name).with_context(|| format!("there is no `{name}' in PATH"))?;
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    host.run_program(&program, &words, input)
}

fn read() -> anyhow::Result<Option<String>> {
    match fs::read(RESOLV_CONF) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context(RESOLV_CONF),
    }
}

/// Writes in place, since the file may be a mount of its own. The new text is there whole before
/// what is left of a longer old one goes.
fn write(before: &str, after: &str) -> anyhow::Result<()> {
    let write = || -> std::io::Result<()> {
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(false).open(RESOLV_CONF)?;
        if before.is_empty() {
            // Whatever the umask is: everybody resolves names.
            file.set_permissions(fs::Permissions::from_mode(0o644))?;
        }
        let padding = "\n".repeat(before.len().saturating_sub(after.len()));
        std::io::Write::write_all(&mut file, format!("{after}{padding}").as_bytes())?;
        file.set_len(after.len() as u64)
    };
    write().with_context(|| format!("{RESOLV_CONF}: write"))
}
