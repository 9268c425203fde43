//! What our `wg` and the original print, side by side.

use anyhow::{Context, Result, ensure};
use testbed::Host;
use testbed::originals::COLUMNS;

use crate::daemon::{Daemon, Keys, original_wg};

/// Whatever configures an interface, ours and the original show it and an empty one alike.
///
/// # Errors
/// The first form of `wg` in which they do not.
pub fn everything_is_shown_alike(daemon: Daemon) -> Result<()> {
    let original = original_wg()?;
    for configuring in ["wg", &original] {
        let host = configured(daemon, configuring)?;
        for settings in [&[][..], &[("WG_COLOR_MODE", "always")], &[("WG_HIDE_KEYS", "never")]] {
            shown_alike(&host, daemon, &["wg0", "empty"], settings)?;
        }
    }
    Ok(())
}

/// A host with a richly configured `wg0` and an interface `empty`.
///
/// # Errors
/// When any step fails.
pub fn configured(daemon: Daemon, configuring: &str) -> Result<Host> {
    let host = Host::new("shown")?;
    daemon.start(&host, "wg0")?;
    daemon.start(&host, "empty")?;
    let config = rich_config(&host)?;
    host.run_with_input(&format!("{configuring} setconf wg0 /dev/stdin"), config)?.success()?;
    Ok(host)
}

/// Two interfaces get the same commands, one from our `wg` and one from the original; after each
/// they must be the same.
///
/// # Errors
/// The first change after which they are not.
pub fn changes_lead_to_the_same_device(daemon: Daemon) -> Result<()> {
    let original = original_wg()?;
    let hosts = [Host::new("ours")?, Host::new("original")?];
    let config = rich_config(&hosts[0])?;
    let (peers, preshared) = (peers_of(&config), Keys::preshared(&hosts[0])?);
    for host in &hosts {
        daemon.start(host, "wg0")?;
        host.write_file("/etc/wireguard/rich.conf", &config, 0o600)?;
        host.write_file("/etc/wireguard/psk", &preshared, 0o600)?;
        let synced = config.replace("PersistentKeepalive = 25\n", "");
        let synced = synced.replace(&peers[2], &Keys::generate(&hosts[0])?.public);
        host.write_file("/etc/wireguard/synced.conf", synced, 0o600)?;
    }
    // The same file on both, so the fresh key must be the same too.
    let synced = hosts[0].read_file("/etc/wireguard/synced.conf")?;
    hosts[1].write_file("/etc/wireguard/synced.conf", synced, 0o600)?;

    let [one, two, three] = &peers;
    for change in [
        "setconf wg0 /etc/wireguard/rich.conf".to_owned(),
        "set wg0 fwmark 0x1234 listen-port 4711".to_owned(),
        "set wg0 fwmark off".to_owned(),
        format!("set wg0 peer {one} allowed-ips +192.0.2.9/32,-10.1.0.0/16"),
        format!("set wg0 peer {one} allowed-ips 10.9.8.7"),
        format!("set wg0 peer {two} preshared-key /etc/wireguard/psk persistent-keepalive 7"),
        format!("set wg0 peer {two} preshared-key /dev/null persistent-keepalive off"),
        format!("set wg0 peer {two} endpoint [2001:db8::7]:7 allowed-ips 10.9.8.7/32"),
        format!("set wg0 peer {three} remove"),
        format!("set wg0 peer {three} allowed-ips fd00::/8 peer {one} remove"),
        "addconf wg0 /etc/wireguard/rich.conf".to_owned(),
        "syncconf wg0 /etc/wireguard/synced.conf".to_owned(),
        "setconf wg0 /etc/wireguard/synced.conf".to_owned(),
    ] {
        let mut devices = Vec::new();
        for (host, wg) in hosts.iter().zip(["wg", &original]) {
            host.run(&format!("{wg} {change}"))?.success()?;
            let dump = host.run(&format!("{original} show wg0 dump"))?.success()?.stdout;
            devices.push(in_order(&dump, "\n"));
        }
        ensure!(
            devices[0] == devices[1],
            "{daemon:?} after `wg {change}`\nours:\n{}\noriginal:\n{}",
            devices[0],
            devices[1]
        );
    }
    Ok(())
}

/// All that `wg show` and `wg showconf` can print about `interfaces` and about all is alike, with
/// `settings` in the environment.
///
/// # Errors
/// The first form in which it is not.
pub fn shown_alike(
    host: &Host,
    daemon: Daemon,
    interfaces: &[&str],
    settings: &[(&str, &str)],
) -> Result<()> {
    let mut forms = vec!["show".to_owned(), "show interfaces".to_owned()];
    for interface in interfaces {
        forms.push(format!("showconf {interface}"));
    }
    for interface in interfaces.iter().chain(&["all"]) {
        forms.push(format!("show {interface}"));
        forms.extend(COLUMNS.iter().map(|column| format!("show {interface} {column}")));
    }
    for form in &forms {
        same(host, daemon, form, settings).with_context(|| format!("{daemon:?} {settings:?}"))?;
    }
    Ok(())
}

/// The original is asked before and after ours: only when it says the same both times can ours be
/// compared, since ages and counters move.
fn same(host: &Host, daemon: Daemon, form: &str, settings: &[(&str, &str)]) -> Result<()> {
    let ask = |wg: &str| {
        let mut command = host.command(wg);
        command.args(form.split(' ')).envs(settings.iter().copied());
        let output = host.run_command(&mut command, "")?.success()?;
        ensure!(output.stderr.is_empty(), "{output}");
        // wireguard-go lists its peers in a new order each time.
        Ok(match daemon {
            Daemon::Ours | Daemon::Kernel => output.stdout,
            _ if form.contains("show wg0 ") || form.contains("all ") => {
                in_order(&output.stdout, "\n")
            }
            _ => in_order(&output.stdout, "\n\n"),
        })
    };
    let original = original_wg()?;
    let mut before = ask(&original)?;
    for _ in 0..20 {
        let ours = ask("wg")?;
        let after = ask(&original)?;
        if before == after {
            ensure!(ours == after, "`wg {form}`\nours:\n{ours}\noriginal:\n{after}");
            return Ok(());
        }
        before = after;
    }
    anyhow::bail!("`wg {form}` of the original never says the same twice")
}

fn in_order(text: &str, separator: &str) -> String {
    let mut parts: Vec<_> = text.trim_end_matches('\n').split(separator).collect();
    parts.sort_unstable();
    parts.join(separator)
}

/// Every setting, several peers, endpoints and allowed IPs of both families, one peer bare.
///
/// # Errors
/// When the original `wg`, which makes the keys, cannot be fetched.
pub fn rich_config(host: &Host) -> Result<String> {
    let public = || Ok::<_, anyhow::Error>(Keys::generate(host)?.public);
    Ok(format!(
        "[Interface]\nPrivateKey = {}\nListenPort = 51821\nFwMark = 0xca6c\n\n\
         [Peer]\nPublicKey = {}\nPresharedKey = {}\nEndpoint = 192.0.2.7:65535\n\
         AllowedIPs = 10.1.0.0/16, 10.0.0.0/8, 0.0.0.0/0, ::/0, fd77::1/128\n\
         PersistentKeepalive = 25\n\n\
         [Peer]\nPublicKey = {}\nEndpoint = [2001:db8::9]:1\nAllowedIPs = 192.168.5.77/24\n\n\
         [Peer]\nPublicKey = {}\n",
        Keys::generate(host)?.private,
        public()?,
        Keys::preshared(host)?,
        public()?,
        public()?,
    ))
}

fn peers_of(config: &str) -> [String; 3] {
    let keys = config.lines().filter_map(|line| line.strip_prefix("PublicKey = "));
    let keys: Vec<_> = keys.map(str::to_owned).collect();
    keys.try_into().expect("the config has three peers")
}
