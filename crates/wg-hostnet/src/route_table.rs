//! The names of routing tables, as iproute2 keeps them.

use std::fs;
use std::path::{Path, PathBuf};

/// The main routing table.
pub const TABLE_MAIN: u32 = 254;

/// Where iproute2 looks: the administrator's directory, then the distribution's.
const DIRECTORIES: [&str; 3] = ["/etc/iproute2", "/usr/share/iproute2", "/usr/lib/iproute2"];

/// The number of the table of this name, from the kernel's own names and the files `rt_tables` and
/// `rt_tables.d/*.conf` of iproute2.
pub fn table_id(name: &str) -> Option<u32> {
    lookup(name, &DIRECTORIES.map(Path::new))
}

fn lookup(name: &str, directories: &[&Path]) -> Option<u32> {
    // The administrator's rt_tables hides the distribution's; of the drop-ins all count.
    let base = directories.iter().map(|d| d.join("rt_tables")).find(|file| file.exists());
    let drop_ins = directories.iter().flat_map(|d| drop_ins(&d.join("rt_tables.d")));
    base.into_iter()
        .chain(drop_ins)
        .filter_map(|file| fs::read_to_string(file).ok())
        .find_map(|text| find(&text, name))
        .or(match name {
            "default" => Some(253),
            "main" => Some(TABLE_MAIN),
            "local" => Some(255),
            _ => None,
        })
}

fn drop_ins(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "conf"))
        .collect();
    files.sort();
    files
}

fn find(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let id = words.next()?;
        (words.next()? == name).then_some(())?;
        match id.strip_prefix("0x") {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => id.parse().ok(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_administrators_file_and_all_drop_ins() {
        let root = std::env::temp_dir().join(format!("rt_tables-{}", std::process::id()));
        let (etc, usr) = (root.join("etc"), root.join("usr"));
        fs::create_dir_all(etc.join("rt_tables.d")).unwrap();
        fs::create_dir_all(usr.join("rt_tables.d")).unwrap();
        fs::write(etc.join("rt_tables"), "# reserved\n254\tmain\n0x4d2 office # 1234\n").unwrap();
        fs::write(usr.join("rt_tables"), "77 hidden\n").unwrap();
        fs::write(etc.join("rt_tables.d/a.conf"), "78 a\n").unwrap();
        fs::write(etc.join("rt_tables.d/ignored"), "80 not-a-conf\n").unwrap();
        fs::write(usr.join("rt_tables.d/b.conf"), "79 b\n").unwrap();

        let find = |name| lookup(name, &[&etc, &usr]);
        let found = ["office", "a", "b", "main", "local", "hidden", "not-a-conf", "78"].map(find);
        fs::remove_dir_all(&root).unwrap();

        assert_eq!(found, [Some(1234), Some(78), Some(79), Some(254), Some(255), None, None, None]);
    }

    #[test]
    fn the_kernels_own_names_need_no_file() {
        let nowhere = Path::new("/nonexistent");
        assert_eq!(lookup("main", &[nowhere]), Some(254));
        assert_eq!(lookup("default", &[nowhere]), Some(253));
        assert_eq!(lookup("office", &[nowhere]), None);
    }
}
