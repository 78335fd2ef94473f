//! The page: its types, its modules in node, and the whole of it in Chromium against the program; see `tests/page`.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use dreamframe_tests::native::{has_tool, packages, root, tool_path};

/// The folder with what `tests/page/package.json` names, if it can be had.
static PACKAGES: LazyLock<Option<PathBuf>> = LazyLock::new(|| packages("page"));

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
    let Some(packages) = &*PACKAGES else { return };
    let mut compiler = Command::new("node");
    compiler.arg(packages.join("node_modules/typescript/bin/tsc")).arg("--project").arg(folder().join("tsconfig.json"));
    run(&mut compiler).unwrap();
}

#[test]
fn the_page_works_in_chromium_from_the_first_click_to_the_server_s_return() {
    let Some(chromium) = tool_path("chromium") else { return };
    let Some(packages) = &*PACKAGES else { return };
    let mut script = Command::new("node");
    script.arg(folder().join("browser.mjs")).arg(packages).arg(chromium).arg(env!("CARGO_BIN_EXE_dreamframe"));
    run(&mut script).unwrap();
}
