//! The record of runs, in tables of a Markdown file.

use std::fmt::Write as _;
use std::path::Path;
use std::{fs, io};

use crate::tools;

/// A Markdown file with one table of each kind, and the commit that is measured.
pub(super) struct Ledger<'a> {
    pub(super) file: Option<&'a Path>,
    pub(super) commit: String,
}

impl<'a> Ledger<'a> {
    /// Reads the current commit, which is marked if a file was changed since, except `file` itself.
    ///
    /// # Errors
    ///
    /// If git fails.
    pub(super) fn new(file: Option<&'a Path>) -> Result<Self, String> {
        Ok(Self { file, commit: tools::commit(file)? })
    }

    /// Prints `row`, and adds it to the file's table with the columns `header`.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or written.
    pub(super) fn add(&self, header: &str, row: &str) -> Result<(), String> {
        eprintln!("   {row}");
        let Some(file) = self.file else { return Ok(()) };
        let before = match fs::read_to_string(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            read => read,
        };
        let written = before.and_then(|before| fs::write(file, with_row(&before, header, row)));
        written.map_err(|error| format!("{}: {error}", file.display()))
    }
}

/// Returns the text of a ledger with `row` added to the table with the columns `header`; without such a table, with a new
/// one at the end.
fn with_row(ledger: &str, header: &str, row: &str) -> String {
    let lines: Vec<&str> = ledger.lines().collect();
    let start = lines.iter().position(|line| *line == header);
    let mut text = String::new();
    let mut add = |line: &str| {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "{line}");
    };
    let Some(start) = start else {
        lines.iter().for_each(|line| add(line));
        if lines.last().is_some_and(|line| !line.is_empty()) {
            add("");
        }
        let columns = header.matches(" |").count();
        [header, &format!("|{}", "---|".repeat(columns)), row].into_iter().for_each(add);
        return text;
    };
    let rows = lines.iter().skip(start).take_while(|line| line.starts_with('|')).count();
    let (before, after) = lines.split_at(start + rows);
    before.iter().chain([&row]).chain(after).for_each(|line| add(line));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_added_at_the_end_of_its_table() {
        const HEADER: &str = "| Target | Seconds |";
        let (first, second) = ("| sdp | 60 |", "| y4m | 9 |");
        let one = with_row("# Title\n", HEADER, first);
        assert_eq!(one, format!("# Title\n\n{HEADER}\n|---|---|\n{first}\n"));
        let two = with_row(&format!("{one}\n## Next\n"), HEADER, second);
        assert_eq!(two, format!("{one}{second}\n\n## Next\n"));
        assert!(with_row("", HEADER, first).starts_with(HEADER));
        let both = with_row(&one, "| Target | Lines |", "| sdp | 5 |");
        assert_eq!(with_row(&both, HEADER, second), both.replace(first, &format!("{first}\n{second}")));
    }

    #[test]
    fn rows_are_added_to_a_file_that_is_made_if_necessary() {
        let folder = tools::target();
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("runs-{}.md", std::process::id()));
        let ledger = Ledger { file: Some(&path), commit: String::new() };
        for row in ["| sdp |", "| y4m |"] {
            ledger.add("| Target |", row).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "| Target |\n|---|\n| sdp |\n| y4m |\n");
        fs::remove_file(path).unwrap();
        let nowhere = Ledger { file: Some(&folder), commit: String::new() };
        assert!(nowhere.add("| Target |", "| sdp |").is_err());
    }
}
