//! Configuration files: both dialects read them to the same, or refuse them with places; none says
//! more of a secret than it may.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wg_config::{ConfigErrors, Dialect, Parsed, read, strip};

fuzz_target!(|text: &[u8]| {
    let wg = of(text, Dialect::Wg);
    let quick = of(text, Dialect::WgQuick);
    if let Ok(wg) = &wg {
        // Read directly by the one, through rust-ini by the other.
        let quick = quick.as_ref().expect("wg-quick refuses what wg takes");
        assert_eq!(wg.config, quick.config);
    }
    for result in [wg, quick] {
        let diagnostics = match &result {
            Ok(parsed) => parsed.warnings.iter().collect::<Vec<_>>(),
            Err(errors) => errors.iter().chain(errors.warnings()).collect(),
        };
        // Showing takes longer than reading.
        for diagnostic in diagnostics.into_iter().take(3) {
            assert!(!diagnostic.render(false).is_empty() && !diagnostic.original().is_empty());
            assert!(diagnostic.line() >= 1 && diagnostic.column() >= 1);
        }
    }
    let _ = strip(text);
});

fn of(text: &[u8], dialect: Dialect) -> Result<Parsed, ConfigErrors> {
    read("x.conf", text, dialect, |name| (name == "domain").then_some(53))
}
