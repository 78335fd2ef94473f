//! Rules of this repository that no other tool knows.

use std::path::Path;

use crate::report::Outcome;
use crate::tools;

/// No file may be larger, in bytes.
const MAX_FILE: u64 = 12 << 20;

/// No source file may be longer, in lines.
const MAX_LINES: usize = 600;

/// Folders of particular machines: a path into one is of no use to anyone else. In two parts each, so that this file
/// does not break its own rule.
const MACHINE_FOLDERS: [(&str, &str); 3] = [("/work", "/"), ("/root", "/"), ("/tmp", "/")];

/// Crates that are shipped, which use the core as every other host does: without its feature for tests, benches and fuzzers.
const SHIPPED: [&str; 4] = ["examples", "ffi", "python", "server"];
const TEST_FEATURE: &str = "internals";

/// Checks every file; a failure lists all that is wrong.
pub(crate) fn check() -> Outcome {
    let files = match tools::files() {
        Ok(files) => files,
        Err(why) => return Outcome::NotRun(format!("cannot list the files ({why})")),
    };
    let mut broken = Vec::new();
    for path in files {
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.len() > MAX_FILE => {
                broken.push(format!("{}: {} bytes, but at most {MAX_FILE}", path.display(), metadata.len()));
                continue;
            }
            Ok(_) => {}
            Err(error) => broken.push(format!("{}: {error}", path.display())),
        }
        // A file that is no text follows no rule about text.
        if let Ok(text) = std::fs::read_to_string(&path) {
            broken.extend(of_text(&path, &text));
        }
    }
    if broken.is_empty() { Outcome::Passed } else { Outcome::Failed(broken.join("\n   ")) }
}

/// What is wrong with `text`, as found at `path`.
fn of_text(path: &Path, text: &str) -> Vec<String> {
    let mut broken = Vec::new();
    let is_rust = path.extension().is_some_and(|extension| extension == "rs");
    let lines = text.lines().count();
    if is_rust && lines > MAX_LINES {
        broken.push(format!("{}: {lines} lines, but at most {MAX_LINES}; split it", path.display()));
    }
    let is_shipped = path.file_name().is_some_and(|name| name == "Cargo.toml")
        && SHIPPED.iter().any(|folder| path.starts_with(folder));
    for (number, line) in text.lines().enumerate() {
        let place = || format!("{}:{}", path.display(), number + 1);
        if is_shipped && line.split(['"', '/']).any(|part| part == TEST_FEATURE) {
            broken.push(format!("{}: names the feature {TEST_FEATURE}, which is for tests alone", place()));
        }
        for (start, end) in MACHINE_FOLDERS {
            if names_folder(line, &format!("{start}{end}")) {
                broken.push(format!("{}: names {start}{end}, a folder of one machine", place()));
            }
        }
        if is_rust && line.trim_start().starts_with("#[ignore") {
            broken.push(format!("{}: a test that is ignored", place()));
        }
    }
    broken
}

/// Whether `line` has a path that begins with `folder`; a folder of that name within a path or an address is another.
fn names_folder(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line.get(..at).and_then(|before| before.chars().next_back());
        !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '}' | '*'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_into_a_machine_folder_is_found() {
        let path = format!("open(\"/tmp{}x\")", '/');
        assert_eq!(of_text(Path::new("a.py"), &path).len(), 1);
        assert!(of_text(Path::new("a.py"), "open(\"build/work/x\")").is_empty());
    }

    #[test]
    fn a_long_source_file_is_found_and_a_long_text_is_not() {
        let long = "x\n".repeat(MAX_LINES + 1);
        assert_eq!(of_text(Path::new("a.rs"), &long).len(), 1);
        assert!(of_text(Path::new("a.md"), &long).is_empty());
    }

    #[test]
    fn a_shipped_crate_that_turns_on_the_feature_for_tests_is_found() {
        for line in ["dreamframe = { features = [\"hub\", \"internals\"] }", "x = [\"dreamframe/internals\"]"] {
            assert_eq!(of_text(Path::new("server/Cargo.toml"), line).len(), 1, "{line}");
            assert_eq!(of_text(Path::new("tests/Cargo.toml"), line).len(), 0, "{line}");
        }
        assert!(of_text(Path::new("ffi/Cargo.toml"), "# Nothing of `internals`.").is_empty());
    }

    #[test]
    fn an_ignored_test_is_found() {
        assert_eq!(of_text(Path::new("a.rs"), "    #[ignore = \"slow\"]\n").len(), 1);
    }
}
