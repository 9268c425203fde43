//! What a guest promises.

use std::fs;
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testbed::vm::Guest;

#[test]
fn jobs_come_back_with_what_they_left_and_a_hung_guest_is_ended() -> Result<()> {
    let guest = Guest::boot()?;

    let job = guest.job("outcome")?.file("input", "from outside\n")?;
    let finished = job.run("cat input; echo complaint >&2; echo made inside > made; exit 7")?;
    assert_eq!(
        (finished.code, finished.stdout.as_str(), finished.stderr.as_str()),
        (7, "from outside\n", "complaint\n")
    );
    assert_eq!(fs::read_to_string(finished.folder.join("made"))?, "made inside\n");
    let report = finished.to_string();
    for part in ["outcome", "exit code 7", "from outside", "complaint"] {
        assert!(report.contains(part), "{report}");
    }

    // A job leaves nothing to the next, and nothing on this machine.
    let traces = "/run/trace";
    let leave = format!("ip link add wg0 type wireguard && touch {traces}; sleep 1000 & disown");
    assert_eq!(guest.job("leave")?.run(&leave)?.code, 0);
    let look = format!("ip -o link; ls {traces}; pgrep -x sleep");
    let finished = guest.job("look")?.run(&look)?;
    assert_eq!((finished.stdout.lines().count(), finished.stdout.contains("lo:")), (1, true));
    assert!(finished.stderr.contains("No such file"), "{finished}");
    let changed = "echo changed > /etc/culvert-guest && cat /etc/culvert-guest";
    assert_eq!(guest.job("change")?.run(changed)?.stdout, "changed\n");
    assert!(!fs::exists("/etc/culvert-guest")?);

    let finished = guest.job("endless")?.limit(Duration::from_secs(1)).run("sleep 1000")?;
    assert!(finished.to_string().contains("its time was up"), "{finished}");

    kill(Pid::from_raw(guest.process_id() as i32), Signal::SIGSTOP)?;
    let job = guest.job("the culprit")?.limit(Duration::from_secs(1));
    let error = job.run("true").expect_err("the guest is stopped").to_string();
    assert!(error.contains("the culprit") && error.contains("hung"), "{error}");
    let later = guest.job("later").and_then(|job| job.run("true"));
    assert!(later.expect_err("the guest was ended").to_string().contains("gone"));
    Ok(())
}
