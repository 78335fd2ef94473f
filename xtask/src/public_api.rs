//! The committed list of the items of the crate's public API, so that a change of the API is visible in a commit's
//! diff.
//!
//! The list comes from rustdoc's JSON, which stable Rust writes only with an unstable flag. Cargo's environment must
//! not allow unstable flags (`test_times.rs` says why), so cargo calls this program in place of rustdoc.
//!
//! `cargo doc` would check every dependency, which the tests have compiled already, and its results are of no other
//! use. So this program is started by `cargo test --doc`, which passes the libraries of the tests, and writes the
//! documentation in place of running the examples; once more, as JSON, for the core.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::report::Outcome;
use crate::tools::{output, target};

/// The committed list.
pub(crate) const LIST: &str = "core/public-api.txt";

/// The crate's name, for rustc.
const CRATE: &str = "dreamframe";

/// The feature whose items are not part of the public API.
const INTERNALS: &str = "feature=\"internals\"";

/// Set where cargo starts this program as rustdoc: the build folder.
const FOLDER: &str = "DREAMFRAME_DOC_TARGET";

/// The folder of the JSON in the build folder.
const API: &str = "xtask/public-api";

/// Makes `doc`, a `cargo test --doc`, write documentation into `doc` of the build folder, and the JSON of the core.
///
/// # Errors
///
/// If folders have no absolute paths, or earlier JSON cannot be removed.
pub(crate) fn document(doc: &mut Command) -> Result<(), String> {
    let json = json();
    if json.exists() {
        fs::remove_file(&json).map_err(|error| format!("{}: {error}", json.display()))?;
    }
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let target = std::path::absolute(target()).map_err(|error| error.to_string())?;
    doc.env("RUSTDOC", program).env(FOLDER, target);
    Ok(())
}

/// Runs rustdoc in place of cargo; `None` if this program was not started as rustdoc.
pub(crate) fn as_rustdoc(arguments: &[OsString]) -> Option<ExitCode> {
    let target = PathBuf::from(std::env::var_os(FOLDER)?);
    let pages = page_arguments(arguments, &target);
    let documented = rustdoc().args(&pages).args(["-D", "warnings"]).status();
    let described = match json_arguments(&pages, &target.join(API)) {
        Some(arguments) => rustdoc().args(arguments).env("RUSTC_BOOTSTRAP", "1").status().map(Some),
        None => Ok(None),
    };
    match (documented, described) {
        (Ok(documented), Ok(described)) if documented.success() && described.is_none_or(|status| status.success()) => {
            Some(ExitCode::SUCCESS)
        }
        (Err(error), _) | (_, Err(error)) => {
            eprintln!("rustdoc: {error}");
            Some(ExitCode::FAILURE)
        }
        _ => Some(ExitCode::FAILURE),
    }
}

fn rustdoc() -> Command {
    let mut rustdoc = Command::new("rustdoc");
    rustdoc.env_remove(FOLDER).env_remove("RUSTDOC");
    rustdoc
}

/// Returns the arguments for pages in the build folder `target`: those for running examples, without what these need.
fn page_arguments(arguments: &[OsString], target: &Path) -> Vec<OsString> {
    // The crate itself, for its examples.
    let name = arguments.windows(2).find(|pair| pair[0] == "--crate-name").map(|pair| pair[1].to_string_lossy());
    let own = name.map(|name| format!("{name}="));
    let mut kept = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.to_str() {
            Some("--test") => {}
            Some("--test-run-directory" | "--test-runtool" | "--test-runtool-arg" | "--test-args") => drop(rest.next()),
            Some("--extern") => match rest.next() {
                Some(value) if own.as_ref().is_none_or(|own| !value.to_string_lossy().starts_with(own.as_str())) => {
                    kept.extend([argument.clone(), value.clone()]);
                }
                _ => {}
            },
            _ => kept.push(argument.clone()),
        }
    }
    kept.extend([OsString::from("-o"), target.join("doc").into_os_string()]);
    kept
}

/// Returns the arguments for the JSON: those for pages, without the internals and with another output; `None` for
/// another crate.
fn json_arguments(arguments: &[OsString], folder: &Path) -> Option<Vec<OsString>> {
    let follows = |flag: &str, value: &str| arguments.windows(2).any(|pair| pair[0] == flag && pair[1] == value);
    if !follows("--crate-name", CRATE) || !follows("--crate-type", "lib") {
        return None;
    }
    let mut kept = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.to_str() {
            Some("-o" | "--out-dir" | "--output") => drop(rest.next()),
            Some("--cfg") => match rest.next() {
                Some(value) if value != INTERNALS => kept.extend([argument.clone(), value.clone()]),
                _ => {}
            },
            _ => kept.push(argument.clone()),
        }
    }
    // Links to internal items are broken without these; the pages have checked all links.
    let json = ["-Z", "unstable-options", "--output-format", "json", "--cap-lints", "allow", "--out-dir"];
    kept.extend(json.map(OsString::from));
    kept.push(folder.as_os_str().to_owned());
    Some(kept)
}

/// Compares the committed list with the API that the step `docs` described last.
pub(crate) fn check() -> Outcome {
    let current = match current() {
        Ok(current) => current,
        Err(why) => return Outcome::Failed(why),
    };
    let committed = match fs::read_to_string(LIST) {
        Ok(committed) => committed,
        Err(error) => return Outcome::Failed(format!("{LIST}: {error}")),
    };
    if head(&committed) != head(&current) {
        return Outcome::NotRun(format!(
            "{LIST} is of another build: {}; this one: {}",
            head(&committed),
            head(&current)
        ));
    }
    let changes = changes(&committed, &current);
    if changes.is_empty() {
        return Outcome::Passed;
    }
    Outcome::Failed(format!(
        "{}\nthe public API differs from {LIST}: `cargo xtask public-api` writes it",
        changes.join("\n")
    ))
}

/// Writes the list from the API that the step `docs` described last.
pub(crate) fn write() -> Outcome {
    current().and_then(|text| fs::write(LIST, text).map_err(|error| format!("{LIST}: {error}"))).into()
}

/// Returns the first line of a list, which names the compiler.
fn head(list: &str) -> &str {
    list.lines().next().unwrap_or_default()
}

/// Returns the lines that only one of the lists has, prefixed as in a diff.
fn changes(committed: &str, current: &str) -> Vec<String> {
    let alone = |sign: &str, list: &str, other: &str| -> Vec<String> {
        let other: std::collections::BTreeSet<&str> = other.lines().collect();
        list.lines().filter(|line| !other.contains(line)).map(|line| format!("{sign}{line}")).collect()
    };
    [alone("-", committed, current), alone("+", current, committed)].concat()
}

/// Returns the list of the API that the step `docs` described last.
fn current() -> Result<String, String> {
    let json = json();
    if !json.is_file() {
        return Err(format!("{} is missing: the step `docs` writes it", json.display()));
    }
    let api = public_api::Builder::from_rustdoc_json(json).omit_blanket_impls(true).omit_auto_trait_impls(true).build();
    let api = api.map_err(|error| format!("rustdoc's JSON: {error}"))?;
    let version = output(Command::new("rustdoc").arg(OsStr::new("--version")))?;
    let version: Vec<&str> = version.split_whitespace().take(2).collect();
    let mut text =
        format!("# The public API of the crate, by {}; `cargo xtask public-api` writes it.\n", version.join(" "));
    for item in api.items().map(ToString::to_string).filter(|item| !is_of_derived_impl(item)) {
        text.push_str(&item);
        text.push('\n');
    }
    Ok(text)
}

/// Returns whether `item` is implied by the line of a derived implementation.
fn is_of_derived_impl(item: &str) -> bool {
    const FUNCTIONS: [&str; 7] = ["clone", "cmp", "eq", "fmt", "hash", "partial_cmp", "default"];
    let path = item.strip_prefix("pub fn ").and_then(|item| item.split(['(', '<']).next());
    let function = path.and_then(|path| path.rsplit("::").next());
    function.is_some_and(|name| FUNCTIONS.contains(&name))
        || item.starts_with("impl core::marker::StructuralPartialEq ")
}

fn json() -> PathBuf {
    target().join(API).join(format!("{CRATE}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn pages_are_written_in_place_of_running_examples() {
        let test = "--crate-type lib --crate-name dreamframe --test core/src/lib.rs --test-run-directory core --extern \
                    half=libhalf.rlib --extern dreamframe=libdreamframe.rlib --cfg feature=\"hub\"";
        let pages = page_arguments(&arguments(test), Path::new("target"));
        let expected = "--crate-type lib --crate-name dreamframe core/src/lib.rs --extern half=libhalf.rlib --cfg \
                        feature=\"hub\" -o target/doc";
        assert_eq!(pages, arguments(expected));
    }

    #[test]
    fn the_json_has_no_internals_and_another_output() {
        let first = "--crate-type lib --crate-name dreamframe core/src/lib.rs -o doc --cfg feature=\"internals\" --cfg \
                     feature=\"hub\"";
        let second = json_arguments(&arguments(first), Path::new("api")).unwrap();
        let expected = "--crate-type lib --crate-name dreamframe core/src/lib.rs --cfg feature=\"hub\" -Z unstable-options \
                        --output-format json --cap-lints allow --out-dir api";
        assert_eq!(second, arguments(expected));
    }

    #[test]
    fn other_crates_are_not_described() {
        let server = arguments("--crate-type lib --crate-name dreamframe_server server/src/lib.rs");
        assert_eq!(json_arguments(&server, Path::new("api")), None);
        let program = arguments("--crate-type bin --crate-name dreamframe server/src/main.rs");
        assert_eq!(json_arguments(&program, Path::new("api")), None);
    }

    #[test]
    fn functions_of_derived_implementations_are_left_out() {
        assert!(is_of_derived_impl("pub fn dreamframe::Frame::hash<__H: core::hash::Hasher>(&self, &mut __H)"));
        assert!(!is_of_derived_impl("pub fn dreamframe::Frame::width(&self) -> u32"));
        assert!(!is_of_derived_impl("impl core::clone::Clone for dreamframe::Frame"));
    }

    #[test]
    fn an_added_and_a_removed_item_are_changes() {
        assert_eq!(changes("a\nb\n", "a\nc\n"), ["-b", "+c"]);
        assert!(changes("a\n", "a\n").is_empty());
    }
}
