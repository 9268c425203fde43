//! The table's form.

/// A part of the table that begins with `== Title`.
pub(super) struct Section<'a> {
    pub(super) title: &'a str,
    pub(super) cases: Vec<Case<'a>>,
}

/// A line of the table.
pub(super) struct Case<'a> {
    /// Its number in the table, from 1.
    pub(super) number: usize,
    /// What the shell runs.
    pub(super) line: &'a str,
    /// The entry in docs/compatibility.md by which ours differs.
    pub(super) difference: Option<&'a str>,
}

pub(super) fn sections(table: &str) -> Vec<Section<'_>> {
    let mut sections = Vec::new();
    for (index, line) in table.lines().enumerate() {
        if let Some(title) = line.strip_prefix("== ") {
            sections.push(Section { title, cases: Vec::new() });
        } else if !line.trim().is_empty() && !line.starts_with('#') {
            let (line, difference) = match line.rsplit_once(" #: ") {
                Some((line, entry)) => (line.trim_end(), Some(entry.trim())),
                None => (line, None),
            };
            let case = Case { number: index + 1, line, difference };
            sections.last_mut().expect("a case before any section").cases.push(case);
        }
    }
    sections
}
