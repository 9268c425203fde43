//! `wg genkey`, `wg genpsk` and `wg pubkey`.

use anyhow::Result;

use crate::bench::{Bench, PRIVATE};

#[test]
fn pubkey_reads_as_strictly() -> Result<()> {
    let bench = Bench::new()?;
    let inputs = [
        String::new(),
        PRIVATE.to_owned(),
        format!("{PRIVATE}\\n"),
        format!("{PRIVATE}\\n\\n \\t\\n"),
        format!("{PRIVATE}\\n\\v\\f\\r\\n"),
        format!("{PRIVATE}\\0"),
        format!("{PRIVATE}\\n\\0\\n"),
        format!("{PRIVATE} x"),
        format!("{PRIVATE}x"),
        format!("{PRIVATE}\\377"),
        format!(" {PRIVATE}"),
        "short".to_owned(),
        PRIVATE.replace('+', "_"),
        PRIVATE.replace("mk=", "ml="),
    ];
    let lines = inputs.map(|input| format!("printf '{input}' | wg pubkey"));
    bench.compare(&lines)?;
    bench.compare(&["wg pubkey x", "wg pubkey < /", "wg pubkey < /dev/null", "wg pubkey <&-"])
}

#[test]
fn a_world_accessible_file_is_warned_of() -> Result<()> {
    let bench = Bench::new()?;
    for mode in ["600", "620", "640", "601", "604", "644", "777"] {
        bench.compare(&[format!("touch k; chmod {mode} k; wg genkey > k; wg genpsk > k")])?;
    }
    bench.compare(&["wg genkey > /dev/null", "wg genkey x", "wg genkey --help", "wg genpsk a b"])
}

#[test]
fn generated_keys_are_clamped_new_and_of_the_right_length() -> Result<()> {
    let bench = Bench::new()?;
    let keys = bench.ours("wg genkey; wg genkey; wg genpsk")?.stdout;
    let keys: Vec<_> = keys.lines().collect();
    assert_eq!(keys.len(), 3);
    assert!(keys.iter().all(|key| key.len() == 44), "{keys:?}");
    assert_ne!(keys[0], keys[1]);
    for key in &keys[..2] {
        let key = wg_config::PrivateKey::from_base64(key.as_bytes())?;
        assert_eq!(key.as_bytes()[0] & 7, 0);
        assert_eq!(key.as_bytes()[31] & 0xc0, 0x40);
    }
    bench.compare(&[format!("echo {} | wg pubkey", keys[0])])
}
