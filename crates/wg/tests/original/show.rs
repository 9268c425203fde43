//! `wg show` and `wg showconf`.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use anyhow::Result;
use nix::sys::signal::Signal;
use testbed::{originals, programs};

use crate::bench::{Bench, full_answer};

#[test]
fn every_form_of_show_is_the_same_to_the_byte() -> Result<()> {
    let bench = Bench::new()?;
    let zeros = "0".repeat(64);
    let key = "1".repeat(64);
    let sparse = [
        "errno=0\n\n".to_owned(),
        "fwmark=0\nlisten_port=0\nerrno=0\n\n".to_owned(),
        "private_key=c809f3e5317e9575c9b5ed78b638b7ce530dabe85ddab614220241801ddf0669\nerrno=0\n\n"
            .to_owned(),
        format!("public_key={key}\nerrno=0\n\n"),
        format!(
            "public_key={key}\npreshared_key={zeros}\nrx_bytes=1\npublic_key={key}\nerrno=0\n\n"
        ),
        format!("public_key={key}\nunknown=1\nprotocol_version=1\nerrno=0\n\n"),
    ];
    for answer in sparse.into_iter().chain([full_answer()]) {
        bench.daemon.answer_get(answer);
        bench.compare(&[
            "wg",
            "wg show",
            "wg show all",
            "wg show lo",
            "wg show interfaces",
            "wg showconf lo",
            "WG_HIDE_KEYS=never wg show lo",
            "WG_HIDE_KEYS=always wg show lo",
            "WG_COLOR_MODE=always wg show lo",
            "WG_COLOR_MODE=always wg show lo dump",
            "WG_COLOR_MODE=never wg show lo",
            "WG_COLOR_MODE=ALWAYS wg show lo",
        ])?;
        let columns =
            originals::COLUMNS.map(|column| format!("wg show lo {column}; wg show all {column}"));
        bench.compare(&columns)?;
    }
    Ok(())
}

#[test]
fn peers_are_sorted_by_the_latest_handshake_and_otherwise_stay_in_order() -> Result<()> {
    let bench = Bench::new()?;
    let mut answer = String::new();
    for (number, (seconds, nanoseconds)) in
        [(0, 0), (100, 5), (100, 7), (0, 0), (100, 5), (0, 5), (1, 0)].into_iter().enumerate()
    {
        answer += &format!(
            "public_key={number:064x}\nlast_handshake_time_sec={seconds}\n\
             last_handshake_time_nsec={nanoseconds}\n"
        );
    }
    bench.daemon.answer_get(answer + "errno=0\n\n");
    bench.compare(&["wg show lo", "wg show lo dump", "wg show lo latest-handshakes"])
}

#[test]
fn the_version_is_where_scripts_look_for_it() -> Result<()> {
    let bench = Bench::new()?;
    for line in ["wg --version", "wg -v", "wg version"] {
        let cut = format!("{line} | cut -d ' ' -f 1-3");
        assert_eq!(bench.ours(&cut)?, bench.original(&cut)?);
        assert!(bench.ours(line)?.stdout.ends_with(" - Culvert 0.1.0\n"));
    }
    Ok(())
}

#[test]
fn answers_that_make_no_sense_are_refused_in_the_same_words() -> Result<()> {
    let bench = Bench::new()?;
    let peer = "public_key=c53201039adba14be71f886da1d8dbe9eebded08cb111b75340078999aa9f038\n";
    for answer in [
        "",
        "\n",
        "errno=1\n\n",
        "errno=19\n\n",
        "bogus\nerrno=0\n\n",
        "bogus=1\nerrno=0\n\n",
        "listen_port=1\n\n",
        "listen_port=1\n",
        "listen_port=1\nerrno=0\n",
        "listen_port=x\nerrno=0\n\n",
        "listen_port=70000\nerrno=0\n\n",
        "private_key=00\nerrno=0\n\n",
        "fwmark=0x20\nerrno=0\n\n",
        "endpoint=1.2.3.4:8\nerrno=0\n\n",
        "allowed_ip=1.2.3.4/8\nerrno=0\n\n",
        "errno=0\nlisten_port=5\n\n",
        "PEERendpoint=bogus\nerrno=0\n\n",
        "PEERallowed_ip=1.2.3.4\nerrno=0\n\n",
        "PEERallowed_ip=1.2.3.4/33\nerrno=0\n\n",
        "PEERallowed_ip=x/8\nerrno=0\n\n",
        "PEERpersistent_keepalive_interval=70000\nerrno=0\n\n",
        "PEERprotocol_version=2\nerrno=0\n\n",
    ] {
        bench.daemon.answer_get(answer.replace("PEER", peer));
        bench.compare(&["wg show lo", "wg show", "wg show all dump", "wg showconf lo"])?;
    }
    Ok(())
}

#[test]
fn a_stale_socket_or_one_of_another_network_is_not_listed() -> Result<()> {
    let bench = Bench::new()?;
    let folder = bench.host.path("/run/wireguard");
    drop(std::os::unix::net::UnixListener::bind(folder.join("stale.sock"))?);
    std::fs::write(folder.join("file.sock"), "")?;
    std::os::unix::fs::symlink("lo.sock", folder.join("elsewhere.sock"))?;
    assert_eq!(bench.ours("wg show interfaces")?.stdout, "lo\n");
    bench.compare(&["wg show elsewhere", "wg show file", "wg show stale"])
}

#[test]
fn an_interface_that_may_not_be_read_is_listed_and_refused() -> Result<()> {
    let bench = Bench::new()?;
    let nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups";
    let lines = ["wg show", "wg show interfaces", "wg show lo", "wg set lo listen-port 5"];
    for line in lines {
        // The programs may live where nobody else may look, so they run from a copy.
        let ours = bench.ours(&format!("cp $(command -v wg) /run/wg && {nobody} /run/{line}"))?;
        let expected = match line {
            "wg show interfaces" => ("lo\n", "", Some(0)),
            "wg show" => ("", "Unable to access interface lo: Permission denied\n", Some(1)),
            "wg show lo" => ("", "Unable to access interface: Permission denied\n", Some(1)),
            _ => ("", "Unable to modify interface: Permission denied\n", Some(1)),
        };
        assert_eq!((ours.stdout.as_str(), ours.stderr.as_str(), ours.code), expected, "{line}");
    }
    Ok(())
}

#[test]
fn a_reader_that_went_away_ends_it_silently() -> Result<()> {
    let bench = Bench::new()?;
    bench.daemon.answer_get(full_answer());
    for program in [originals::wg()?, programs::folder()?.join("wg")] {
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        let mut command = bench.host.command(program);
        let child = command.args(["show", "lo"]).stdout(writer).stderr(Stdio::piped()).spawn()?;
        let output = child.wait_with_output()?;
        assert_eq!(output.status.signal(), Some(Signal::SIGPIPE as i32));
        assert_eq!(output.stderr, b"");
    }
    Ok(())
}

#[test]
fn output_that_cannot_be_written_is_an_error() -> Result<()> {
    let bench = Bench::new()?;
    let full = bench.ours("wg genkey > /dev/full")?;
    assert_eq!(full.code, Some(1));
    assert!(full.stderr.contains("No space left on device"), "{}", full.stderr);
    Ok(())
}
