//! Compares the files that have unsafe code with the table of `docs/unsafe-code.md`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::report::Outcome;
use crate::tools;

const PAGE: &str = "docs/unsafe-code.md";

/// Fails if a file with unsafe code is in no row of the table, or a row has none.
pub(crate) fn check() -> Outcome {
    differences().and_then(|found| if found.is_empty() { Ok(()) } else { Err(found.join("\n   ")) }).into()
}

fn differences() -> Result<Vec<String>, String> {
    let page = fs::read_to_string(tools::root().join(PAGE)).map_err(|error| format!("{PAGE}: {error}"))?;
    let mut files = BTreeSet::new();
    for path in tools::files()?.into_iter().filter(|path| is_shipped(path)) {
        let text =
            fs::read_to_string(tools::root().join(&path)).map_err(|error| format!("{}: {error}", path.display()))?;
        if has_unsafe_code(&text) {
            files.insert(path.to_string_lossy().replace('\\', "/"));
        }
    }
    Ok(compare(&rows(&page), &files))
}

/// Returns the files and folders in the first column of the table.
fn rows(page: &str) -> BTreeSet<String> {
    let cells = page.lines().filter(|line| line.starts_with("| `")).filter_map(|line| line.split('|').nth(1));
    cells.flat_map(|cell| cell.split(',')).map(|name| name.trim().trim_matches('`').to_owned()).collect()
}

fn compare(rows: &BTreeSet<String>, files: &BTreeSet<String>) -> Vec<String> {
    let covers =
        |row: &str, file: &str| file.strip_prefix(row).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let missing = files.iter().filter(|file| !rows.iter().any(|row| covers(row, file)));
    let missing = missing.map(|file| format!("{file}: has unsafe code, but is not in the table of {PAGE}"));
    let empty = rows.iter().filter(|row| !files.iter().any(|file| covers(row, file)));
    missing.chain(empty.map(|row| format!("{PAGE}: {row} has no unsafe code"))).collect()
}

/// Returns whether the file at `path` is Rust code of a crate that is shipped, other than tests and benches.
fn is_shipped(path: &Path) -> bool {
    let is_rust = path.extension().is_some_and(|extension| extension == "rs");
    let folders = ["core", "ffi", "kernels", "python", "server"];
    is_rust && folders.iter().any(|folder| path.starts_with(folder)) && !tools::is_test_or_bench(path)
}

/// Returns whether a line has an unsafe block, function or implementation, outside of comments and unit tests.
fn has_unsafe_code(text: &str) -> bool {
    let starts = |rest: &str| ["{", "fn", "impl", "extern"].iter().any(|start| rest.trim_start().starts_with(start));
    tools::without_unit_tests(text).lines().any(|line| {
        let code = line.split("//").next().unwrap_or_default();
        code.split("unsafe ").skip(1).any(starts)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn files_without_a_row_and_rows_without_a_file_are_named() {
        let rows = rows("| files | why |\n|---|---|\n| `a/src`, `b/src/one.rs` | x |\n| `c` | y |\n");
        assert_eq!(rows, set(&["a/src", "b/src/one.rs", "c"]));
        let found = compare(&rows, &set(&["a/src/x/y.rs", "b/src/one.rs", "b/src/two.rs", "a/srcs.rs"]));
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].starts_with("a/srcs.rs: ") && found[1].starts_with("b/src/two.rs: "), "{found:?}");
        assert!(found[2].ends_with("c has no unsafe code"), "{found:?}");
    }

    #[test]
    fn blocks_count_and_comments_and_tests_do_not() {
        assert!(has_unsafe_code("    let x = unsafe { y() };") && has_unsafe_code("unsafe impl Send for X {}"));
        assert!(!has_unsafe_code("// unsafe {\n#[cfg(test)]\nmod tests {\n    unsafe { y() }\n}"));
    }
}
