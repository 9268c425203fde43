//! One turn: an implementation's tunnel is made and measured.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::figures::{Figures, Test, Udp};
use super::peers::Implementation;
use super::readiness::Readiness;
use super::site::Site;
use super::{datagrams, iperf, rate};

/// What is measured, and how.
pub(super) struct Plan<'a> {
    pub(super) tests: &'a [Test],
    /// Of each measurement.
    pub(super) seconds: u64,
    /// How long an idle tunnel is watched.
    pub(super) idle: Duration,
    /// Whether each host has a processor of its own.
    pub(super) is_pinned: bool,
}

/// How long a rate is tried, once or twice, in the search for the best one.
const TRY: Duration = Duration::from_secs(1);

/// Measures everything that is planned, once; TCP, which processors far from each other slow down
/// most, while they are near.
pub(super) fn turn(
    implementation: &Implementation,
    ours: &Path,
    plan: &Plan<'_>,
    readiness: &mut Readiness,
) -> Result<Figures> {
    let site = Site::start(implementation, ours, plan.is_pinned)?;
    let mut figures = Figures::default();
    let is_planned = |test| plan.tests.contains(&test);
    let seconds = plan.seconds.to_string();
    let mut tcp = |options: &[&str]| {
        readiness.wait_until_near();
        iperf::tcp(&site, &[&["-t", &seconds], options].concat())
    };
    if is_planned(Test::Tcp) {
        let stream = tcp(&[])?;
        figures.tcp = Some(stream.gbits());
        figures.cpu = Some(stream.cpu.as_secs_f64() * 1e9 / stream.bytes);
    }
    if is_planned(Test::Tcp4) {
        figures.tcp_4 = Some(tcp(&["-P", "4"])?.gbits());
    }
    if is_planned(Test::TcpReverse) {
        figures.tcp_reverse = Some(tcp(&["-R"])?.gbits());
    }
    figures.udp_small = udp(&site, 64, plan)?;
    figures.udp_large = udp(&site, 1372, plan)?;
    if is_planned(Test::Ping) {
        figures.ping = Some(site.ping(Duration::from_millis(5))?);
    }
    if is_planned(Test::PingLoaded) {
        readiness.wait_until_near();
        let ping = || site.ping(Duration::from_millis(20));
        figures.ping_loaded = Some(iperf::under_load(&site, ping)?);
    }
    if is_planned(Test::Memory) {
        figures.memory = Some(site.memory()?);
    }
    if is_planned(Test::Idle) && !plan.idle.is_zero() {
        let [a, b] = site.idle(plan.idle)?;
        figures.idle = Some(a.max(b).as_secs_f64() * 1e3 / (plan.idle.as_secs_f64() / 60.0));
    }
    Ok(figures)
}

/// What is planned of datagrams of `length` bytes.
fn udp(site: &Site, length: usize, plan: &Plan<'_>) -> Result<Udp> {
    let mut figures = Udp::default();
    let is_planned = |test| plan.tests.contains(&test);
    if !is_planned(Test::Udp) && !is_planned(Test::LossFree) {
        return Ok(figures);
    }
    let time = Duration::from_secs(plan.seconds);
    let overload = datagrams::send(site, length, None, time)?;
    if is_planned(Test::Udp) {
        figures.received = Some(overload.rate() / 1e3);
        figures.loss = Some(100.0 * overload.loss());
    }
    if is_planned(Test::LossFree) {
        let ceiling = overload.sent as f64 / plan.seconds as f64;
        let best = rate::best(ceiling, |rate| datagrams::send(site, length, Some(rate), TRY))?;
        figures.loss_free = Some(best / 1e3);
    }
    Ok(figures)
}
