//! Rules for the workflows of GitHub, which nothing here can run: that actions cannot change unnoticed, that tasks
//! exist, and that the compiler is the one that this repository is for.

use std::path::Path;

use crate::report::Outcome;
use crate::{USAGE, tools};

const FOLDER: &str = ".github/workflows";

/// Checks all workflows; a failure lists all violations.
pub(crate) fn check() -> Outcome {
    let broken = tools::files().and_then(|files| {
        let mut broken = Vec::new();
        for path in files.iter().filter(|path| path.starts_with(FOLDER)) {
            let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
            broken.extend(of_text(path, &text, env!("CARGO_PKG_RUST_VERSION")));
        }
        Ok(broken)
    });
    match broken {
        Ok(broken) if broken.is_empty() => Outcome::Passed,
        Ok(broken) => Outcome::Failed(broken.join("\n   ")),
        Err(why) => Outcome::NotRun(format!("cannot read the workflows ({why})")),
    }
}

/// Returns the violations of `text`, a workflow at `path`, where the workspace needs the compiler `rust`.
fn of_text(path: &Path, text: &str, rust: &str) -> Vec<String> {
    let mut broken = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut add = |what: String| broken.push(format!("{}:{}: {what}", path.display(), number + 1));
        let line = line.trim_start().trim_start_matches("- ");
        if let Some(action) = line.strip_prefix("uses: ").filter(|action| !is_pinned(action)) {
            add(format!("action: got {action:?}, expected NAME@COMMIT # VERSION with 40 digits of the commit"));
        }
        for (at, _) in line.match_indices("cargo xtask ") {
            let task: String = line.get(at..).unwrap_or_default().split_whitespace().skip(2).take(1).collect();
            let is_known = USAGE.lines().any(|known| known.split_whitespace().next() == Some(&task));
            if !is_known {
                add(format!("task: got {task:?}, expected one of those that `cargo xtask` lists"));
            }
        }
        if let Some(version) = line.strip_prefix("RUST: ") {
            let version = version.trim_matches('"');
            if !version.strip_prefix(rust).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')) {
                add(format!("compiler: got {version}, expected {rust}, the rust-version of the workspace"));
            }
        }
    }
    broken
}

/// Returns whether `action` is named by a commit, with its version as a comment.
fn is_pinned(action: &str) -> bool {
    let commit = action.split_once('@').map(|(_, rest)| rest);
    commit.and_then(|rest| rest.split_once(" # v")).is_some_and(|(commit, version)| {
        commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()) && !version.is_empty()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(line: &str) -> usize {
        of_text(Path::new("a.yml"), line, "1.95").len()
    }

    #[test]
    fn an_action_without_a_commit_and_its_version_is_found() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(found(&format!("      - uses: a/b@{commit} # v1.2.3")), 0);
        for action in ["a/b@v1", "a/b", &format!("a/b@{commit}"), &format!("a/b@{} # v1", &commit[1..])] {
            assert_eq!(found(&format!("        uses: {action}")), 1, "{action}");
        }
    }

    #[test]
    fn a_task_that_does_not_exist_is_found() {
        assert_eq!(found("      - run: cargo xtask crates --publish"), 0);
        assert_eq!(found("      - run: cargo xtask no-such-task"), 1);
    }

    #[test]
    fn another_compiler_than_that_of_the_workspace_is_found() {
        assert_eq!(found("  RUST: \"1.95.0\""), 0);
        assert_eq!(found("  RUST: \"1.950\""), 1);
        assert_eq!(found("  RUST: \"1.96.0\""), 1);
    }
}
