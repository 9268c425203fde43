use super::*;

const START: Instant = Instant::from_nanos(0);

fn after(millis: u64) -> Instant {
    START + Duration::from_millis(millis)
}

fn keepalive() -> Due {
    Due { keepalive: true, ..Due::default() }
}

fn initiation() -> Due {
    Due { initiation: true, ..Due::default() }
}

#[test]
fn nothing_is_due_of_itself() {
    let timers = Timers::default();
    assert_eq!(timers.deadline(), None);
    assert_eq!(timers.poll(Instant::from_nanos(u64::MAX)), Due::default());
}

#[test]
fn a_timer_is_due_once_and_not_early() {
    let timers = Timers::default();
    timers.data_received(START);
    assert_eq!(timers.deadline(), Some(after(10_000)));
    assert_eq!(timers.poll(after(9_999)), Due::default());
    assert_eq!(timers.poll(after(10_000)), keepalive());
    assert_eq!(timers.poll(after(10_000)), Due::default());
    assert_eq!(timers.deadline(), None);
}

/// If the keepalive cannot be sent, for want of a session, there is another after ten
/// seconds; if it was sent, that answered all data so far.
#[test]
fn more_data_wants_another_keepalive_unless_the_first_was_sent() {
    for was_sent in [false, true] {
        let timers = Timers::default();
        timers.data_received(START);
        timers.data_received(after(3_000));
        assert_eq!(timers.poll(after(10_000)), keepalive());
        if was_sent {
            timers.any_packet_sent(after(10_000));
        }
        let next = (!was_sent).then_some(after(20_000));
        assert_eq!(timers.deadline(), next);
        assert_eq!(timers.poll(after(20_000)).keepalive, !was_sent);
        assert_eq!(timers.deadline(), None);
    }
}

#[test]
fn the_first_unanswered_data_counts() {
    let timers = Timers::default();
    timers.draw_jitter(100_000_000);
    timers.data_sent(START);
    timers.data_sent(after(9_000));
    assert_eq!(timers.deadline(), Some(after(15_100)));
    timers.any_packet_received(after(14_000));
    assert_eq!(timers.deadline(), None);
    timers.data_sent(after(14_500));
    assert_eq!(timers.poll(after(29_600)), initiation());
}

#[test]
fn jitter_stays_below_a_third_of_a_second() {
    let timers = Timers::default();
    for random in [0, 1, 332_999_999, 333_000_000, u64::MAX] {
        timers.draw_jitter(random);
        assert!(timers.jitter() < Duration::from_millis(333));
    }
    timers.draw_jitter(333_000_001);
    assert_eq!(timers.jitter(), Duration::from_nanos(1));
}

#[test]
fn an_unanswered_initiation_is_repeated_for_90_seconds() {
    let timers = Timers::default();
    let mut now = START;
    assert!(timers.handshake_wanted(now));
    loop {
        timers.handshake_attempted(now);
        timers.handshake_initiated(now);
        timers.data_received(now);
        assert!(!timers.may_initiate(now));
        now = now + REKEY_TIMEOUT;
        let due = timers.poll(now);
        if due.give_up {
            assert_eq!(due, Due { give_up: true, ..Due::default() });
            break;
        }
        assert!(due.initiation);
    }
    assert_eq!(now, after(90_000));
    assert_eq!(timers.deadline(), Some(after(630_000)), "only zeroing is left");
    let zero = Due { zero_key_material: true, ..Due::default() };
    assert_eq!(timers.poll(after(630_000)), zero);
    timers.handshake_initiated(after(700_000));
    assert_eq!(timers.poll(after(705_000)), initiation(), "the 90 seconds began anew");
}

#[test]
fn keys_are_zeroed_540_seconds_after_the_last_were_derived() {
    let timers = Timers::default();
    timers.session_derived(START);
    timers.session_derived(after(120_000));
    assert_eq!(timers.deadline(), Some(after(660_000)));
    // A handshake in vain postpones nothing.
    timers.handshake_wanted(after(300_000));
    timers.handshake_initiated(after(300_000));
    assert!(timers.poll(after(390_000)).give_up);
    assert_eq!(timers.deadline(), Some(after(660_000)));
}

#[test]
fn an_answer_ends_the_repetition() {
    let timers = Timers::default();
    timers.handshake_initiated(START);
    timers.session_derived(after(100));
    timers.handshake_complete();
    assert_eq!(timers.deadline(), Some(after(540_100)));
    timers.handshake_initiated(after(120_000));
    assert_eq!(timers.poll(after(125_000)), initiation(), "the 90 seconds began anew");
}

#[test]
fn a_response_of_ours_delays_the_repetition() {
    let timers = Timers::default();
    timers.handshake_initiated(START);
    timers.handshake_attempted(after(2_000));
    assert_eq!(timers.poll(after(5_000)), Due::default());
    assert_eq!(timers.deadline(), Some(after(10_000)));
    assert_eq!(timers.poll(after(10_000)), initiation());
}

#[test]
fn one_lastminute_handshake_between_two_handshakes() {
    let timers = Timers::default();
    assert!(timers.first_lastminute_handshake());
    assert!(!timers.first_lastminute_handshake());
    timers.handshake_complete();
    assert!(timers.first_lastminute_handshake());
}

#[test]
fn any_packet_moves_the_persistent_keepalive() {
    let timers = Timers::default();
    assert!(timers.set_persistent_keepalive(25, START));
    assert_eq!(timers.deadline(), Some(after(25_000)));
    timers.any_packet_received(after(1_000));
    assert_eq!(timers.deadline(), Some(after(26_000)));
    timers.any_packet_sent(after(2_000));
    assert_eq!(timers.deadline(), Some(after(27_000)));
    assert_eq!(timers.poll(after(27_000)), keepalive());
    assert_eq!(timers.deadline(), Some(after(52_000)), "also if it cannot be sent");
    assert!(!timers.set_persistent_keepalive(5, after(30_000)));
    assert_eq!(timers.deadline(), Some(after(35_000)));
    assert!(!timers.set_persistent_keepalive(0, after(30_000)));
    assert_eq!(timers.deadline(), None);
}

#[test]
fn reset_stops_all_timers() {
    let timers = Timers::default();
    timers.handshake_attempted(START);
    timers.handshake_initiated(START);
    timers.data_sent(START);
    timers.data_received(START);
    timers.data_received(START);
    timers.session_derived(START);
    timers.set_persistent_keepalive(25, START);
    assert!(timers.first_lastminute_handshake());
    timers.reset();
    assert_eq!(timers.deadline(), None);
    assert!(timers.may_initiate(START));
    assert_eq!(timers.persistent_keepalive(), 25);
    assert!(timers.first_lastminute_handshake());
    timers.data_received(after(100_000));
    assert_eq!(timers.poll(after(110_000)), keepalive());
    assert_eq!(timers.deadline(), None, "one keepalive, for there was one packet since");
    timers.handshake_initiated(after(110_000));
    assert_eq!(timers.poll(after(115_000)), initiation(), "the 90 seconds began anew");
}

#[test]
fn the_same_persistent_keepalive_again_postpones_nothing() {
    let timers = Timers::default();
    assert!(timers.set_persistent_keepalive(25, START));
    assert!(!timers.set_persistent_keepalive(25, after(20_000)));
    assert_eq!(timers.deadline(), Some(after(25_000)));
}
