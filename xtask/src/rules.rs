//! Rules of this repository that no other tool checks.

use std::path::Path;

use crate::report::Outcome;
use crate::tools;

/// Maximum size of a file, in bytes.
const MAX_FILE: u64 = 12 << 20;

/// Maximum length of a source file, in lines.
const MAX_LINES: usize = 600;

/// Folders of particular machines, to which no file may refer. In two parts each, so that this file does not violate
/// the rule.
const MACHINE_FOLDERS: [(&str, &str); 3] = [("/work", "/"), ("/root", "/"), ("/tmp", "/")];

/// Phrases that error texts must not contain, since their form is `what: got X, expected Y`. In two parts each, as
/// above.
const SENTENCES: [(&str, &str); 2] = [(", but", " must"), (", but", " has to")];

/// The folder of the Python package.
const PACKAGE: &str = "python/dreamframe";

/// Crates that are shipped, which use the core without its feature for tests, benches and fuzzers.
const SHIPPED: [&str; 4] = ["examples", "ffi", "python", "server"];
const TEST_FEATURE: &str = "internals";

/// Checks every file; a failure lists all violations.
pub(crate) fn check() -> Outcome {
    let files = match tools::files() {
        Ok(files) => files,
        Err(why) => return Outcome::NotRun(format!("cannot list the files ({why})")),
    };
    let mut broken = Vec::new();
    for path in files {
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.len() > MAX_FILE => {
                broken.push(format!("{}: got {} bytes, expected at most {MAX_FILE}", path.display(), metadata.len()));
                continue;
            }
            Ok(_) => {}
            Err(error) => broken.push(format!("{}: {error}", path.display())),
        }
        // Binary files are exempt from rules about text.
        if let Ok(text) = std::fs::read_to_string(&path) {
            broken.extend(of_text(&path, &text));
        }
    }
    if broken.is_empty() { Outcome::Passed } else { Outcome::Failed(broken.join("\n   ")) }
}

/// Returns the violations of `text` at `path`.
fn of_text(path: &Path, text: &str) -> Vec<String> {
    let mut broken = Vec::new();
    let is_rust = path.extension().is_some_and(|extension| extension == "rs");
    let lines = text.lines().count();
    if is_rust && lines > MAX_LINES {
        broken.push(format!("{}: got {lines} lines, expected at most {MAX_LINES}; split it", path.display()));
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
    if has_error_texts(path) {
        broken.extend(sentences(path, text));
    }
    broken
}

/// Returns whether the file at `path` is Rust code other than tests, or part of the Python package.
fn has_error_texts(path: &Path) -> bool {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("rs") => !tools::is_test_or_bench(path),
        Some("py") => path.starts_with(PACKAGE),
        _ => false,
    }
}

/// Returns the lines outside of comments and tests with one of the [`SENTENCES`], which only string literals contain.
fn sentences(path: &Path, text: &str) -> Vec<String> {
    let comment = if path.extension().is_some_and(|extension| extension == "rs") { "//" } else { "# " };
    let code = tools::without_unit_tests(text);
    let mut broken = Vec::new();
    // Joins a literal that continues on the next line.
    let mut joined = String::new();
    for (number, line) in code.lines().enumerate() {
        if line.trim_start().starts_with(comment) {
            continue;
        }
        joined.push_str(if joined.is_empty() { line } else { line.trim_start() });
        if let Some(kept) = joined.strip_suffix('\\') {
            joined.truncate(kept.len());
            continue;
        }
        let text = joined.split(&format!(" {comment}")).next().unwrap_or_default();
        for (start, end) in SENTENCES {
            if text.contains(&format!("{start}{end}")) {
                let place = format!("{}:{}", path.display(), number + 1);
                broken.push(format!(
                    "{place}: got `{start}{end}`, expected errors of the form `what: got X, expected Y`"
                ));
            }
        }
        joined.clear();
    }
    broken
}

/// Returns whether `line` has a path that starts with `folder`; a folder of that name within a path does not count.
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
    fn an_error_that_is_a_sentence_about_its_bound_is_found() {
        let [must, has_to] = SENTENCES.map(|(start, end)| format!("{start}{end}"));
        let found = |path: &str, text: &str| of_text(Path::new(path), text).len();
        for text in [
            format!("format!(\"delta is {{delta}}{must} be 1\")"),
            format!("\"delta is 3{has_to} be 1\" // A comment."),
            format!("\"delta is 3, but \\\n    {} be 1\"", must.trim_start_matches(", but ")),
            format!("fn x() {{}}\n#[error(\"a is {{0}}{must} be 1\")]\nmod tests {{"),
        ] {
            assert_eq!(found("core/src/a.rs", &text), 1, "{text}");
        }
        assert_eq!(found("python/dreamframe/a.py", &format!("f'a is 1{must} be 2'")), 1);
        for (path, text) in [
            ("core/src/a.rs", format!("/// A width is even{must} not be 0.")),
            ("core/src/a.rs", format!("let x = \"a\"; // Even{must} not be 0.")),
            ("core/src/a.rs", format!("fn x() {{}}\nmod tests {{\n\"a is 1{must} be 2\"")),
            ("core/src/a_tests.rs", format!("\"a is 1{must} be 2\"")),
            ("tests/src/a.rs", format!("\"a is 1{must} be 2\"")),
            ("python/tests/a.py", format!("'a is 1{must} be 2'")),
            ("python/dreamframe/a.py", format!("x = 1  # Even{must} not be 0.")),
            ("docs/a.md", format!("`a is 1{must} be 2`")),
        ] {
            assert_eq!(found(path, &text), 0, "{path}: {text}");
        }
    }

    #[test]
    fn an_ignored_test_is_found() {
        assert_eq!(of_text(Path::new("a.rs"), "    #[ignore = \"slow\"]\n").len(), 1);
    }
}
