//! `docs/unsafe.md` counts the unsafe blocks of what is installed, its tests aside, and counts right.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Crates that are for development only.
const NOT_INSTALLED: [&str; 2] = ["crates/testbed", "crates/xtask"];

#[test]
fn the_page_counts_every_unsafe_block() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let mut there = BTreeMap::new();
    for krate in fs::read_dir(root.join("crates")).unwrap() {
        let krate = krate.unwrap().path();
        if !NOT_INSTALLED.iter().any(|name| krate.ends_with(name)) {
            count(&krate.join("src"), root, &mut there);
        }
    }
    let page = fs::read_to_string(root.join("docs/unsafe.md")).unwrap();
    let counted: BTreeMap<_, _> = page.lines().filter_map(row).collect();
    assert_eq!(counted, there, "left: docs/unsafe.md, right: the code");
    let total: usize = there.values().sum();
    assert!(page.contains(&format!("That is {total} blocks")), "there are {total}");
}

/// The file and the number in a row of the page's table.
fn row(line: &str) -> Option<(String, usize)> {
    let mut cells = line.strip_prefix("| `")?.split('|');
    let file = cells.next()?.trim().trim_end_matches('`');
    Some((file.to_owned(), cells.next()?.trim().parse().ok()?))
}

fn count(folder: &Path, root: &Path, there: &mut BTreeMap<String, usize>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("tests.rs") {
            continue;
        }
        if path.is_dir() {
            count(&path, root, there);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let installed = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let code = installed.lines().filter(|line| !line.trim_start().starts_with("//"));
            let blocks = |line: &str| -> usize {
                ["unsafe {", "unsafe impl "].map(|text| line.matches(text).count()).iter().sum()
            };
            let blocks: usize = code.map(blocks).sum();
            if blocks > 0 {
                let file = path.strip_prefix(root).unwrap();
                there.insert(file.display().to_string(), blocks);
            }
        }
    }
}
