//! The page: its types, its modules in node, and the whole of it in Chromium against the program; see `tests/page`.
//!
//! TypeScript and Playwright come from npm into `target/tools`. Where they, node or Chromium cannot be had, a test says so
//! and passes; CI sets `DREAMFRAME_REQUIRE_TOOLS`, and there it fails.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use dreamframe_tests::native::{REQUIRE_TOOLS, has_tool, root, tool_path};

/// The folder with what `tests/page/package.json` names, or why it cannot be had.
static PACKAGES: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| {
    let home = root().join("target/tools/page");
    std::fs::create_dir_all(&home).map_err(|error| format!("{}: {error}", home.display()))?;
    let lock = "package-lock.json";
    let wanted = std::fs::read(folder().join(lock)).map_err(|error| error.to_string())?;
    let is_there = std::fs::read(home.join(lock)).is_ok_and(|there| there == wanted);
    if !is_there || !home.join("node_modules").exists() {
        std::fs::copy(folder().join("package.json"), home.join("package.json")).map_err(|error| error.to_string())?;
        std::fs::write(home.join(lock), &wanted).map_err(|error| error.to_string())?;
        let mut npm = Command::new("npm");
        run(npm.args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(&home))?;
    }
    Ok(home)
});

fn folder() -> PathBuf {
    root().join("tests/page")
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Err(format!("{command:?}: {}\n{}{}", output.status, text(&output.stdout), text(&output.stderr)))
}

/// What a test needs, if it is there; says so where it is not, as that skips a check.
fn needed<T>(what: Result<T, String>) -> Option<T> {
    match what {
        Ok(there) => Some(there),
        Err(why) if std::env::var_os(REQUIRE_TOOLS).is_none() => {
            eprintln!("skipped: {why}");
            None
        }
        Err(why) => panic!("{why}"),
    }
}

/// The folder of the packages.
fn packages() -> Option<&'static Path> {
    needed(PACKAGES.as_deref().map_err(Clone::clone))
}

#[test]
fn the_pure_modules_do_what_their_tests_say() {
    if !has_tool("node") {
        return;
    }
    let tests = std::fs::read_dir(folder().join("unit")).unwrap().map(|entry| entry.unwrap().path());
    run(Command::new("node").arg("--test").args(tests.filter(|path| path.to_string_lossy().ends_with(".test.js"))))
        .unwrap();
}

#[test]
fn the_types_of_all_modules_fit() {
    let Some(packages) = packages() else { return };
    let mut compiler = Command::new("node");
    compiler.arg(packages.join("node_modules/typescript/bin/tsc")).arg("--project").arg(folder().join("tsconfig.json"));
    run(&mut compiler).unwrap();
}

#[test]
fn the_page_works_in_chromium_from_the_first_click_to_the_server_s_return() {
    let Some(chromium) = tool_path("chromium") else { return };
    let Some(packages) = packages() else { return };
    let mut script = Command::new("node");
    script.arg(folder().join("browser.mjs")).arg(packages).arg(chromium).arg(env!("CARGO_BIN_EXE_dreamframe"));
    run(&mut script).unwrap();
}
