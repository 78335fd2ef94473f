//! Clients that nobody here wrote, against the program as a user starts it: see `tests/clients`.
//!
//! Their packages come from npm and PyPI into `target/tools`. Where those cannot be had, a test says so and passes; CI
//! sets `DREAMFRAME_REQUIRE_TOOLS`, and there it fails.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;

use dreamframe_tests::native::{REQUIRE_TOOLS, root, tool_path};

/// What the server wants as a bearer where a test is about keys.
const KEY: &str = "a-key-of-the-tests";

/// A running server, which ends with the test.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(keys: Option<&str>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dreamframe"));
        command.args(["serve", "--bind", "127.0.0.1:0", "--rtmp", "off", "--json"]).env_remove("DREAMFRAME_API_KEYS");
        // What schemathesis sends would fill the log with warnings.
        command.env("RUST_LOG", "error");
        if let Some(keys) = keys {
            command.env("DREAMFRAME_API_KEYS", keys);
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let listening: serde_json::Value = serde_json::from_str(&line).unwrap();
        let url = listening["url"].as_str().unwrap().to_owned();
        Self { child, url }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the clients' packages lie, or why they cannot be had.
type Installed = Result<PathBuf, String>;

/// The Python with the clients' packages.
static PYTHON: LazyLock<Installed> = LazyLock::new(|| {
    let home = tools().join("clients-python");
    let python = home.join("bin/python");
    if !python.exists() {
        done(Command::new("python3").args(["-m", "venv"]).arg(&home))?;
    }
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]);
    done(pip.arg(clients().join("requirements.txt")))?;
    Ok(python)
});

/// The folder with the scripts for node and the packages that they name.
static NODE: LazyLock<Installed> = LazyLock::new(|| {
    let home = tools().join("clients-node");
    std::fs::create_dir_all(&home).map_err(|error| format!("{}: {error}", home.display()))?;
    // A script finds packages beside itself alone.
    for entry in std::fs::read_dir(clients()).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.extension().is_some_and(|extension| extension == "mjs" || extension == "json") {
            std::fs::copy(&entry, home.join(entry.file_name().unwrap())).unwrap();
        }
    }
    let installed = home.join("node_modules/.package-lock.json");
    let newer = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    if newer(&installed) < newer(&clients().join("package-lock.json")) || !installed.exists() {
        done(Command::new("npm").args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(&home))?;
    }
    Ok(home)
});

fn clients() -> PathBuf {
    root().join("tests/clients")
}

fn tools() -> PathBuf {
    root().join("target/tools")
}

fn done(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {}", words(&output))) }
}

fn words(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}{}", output.status, text(&output.stdout), text(&output.stderr))
}

/// What is installed; says so where it is not, as that skips a check.
fn installed(what: &Installed) -> Option<&PathBuf> {
    match what {
        Ok(path) => Some(path),
        Err(why) if std::env::var_os(REQUIRE_TOOLS).is_none() => {
            eprintln!("skipped: {why}");
            None
        }
        Err(why) => panic!("{why}"),
    }
}

/// Runs a script of `tests/clients` in Python; false where it cannot be run here.
fn python(script: &str, arguments: &[&str]) -> bool {
    let Some(python) = installed(&PYTHON) else { return false };
    let output = Command::new(python).arg(clients().join(script)).args(arguments).output().unwrap();
    assert!(output.status.success(), "{script}: {}", words(&output));
    eprint!("{}", String::from_utf8_lossy(&output.stdout));
    true
}

#[test]
fn the_typescript_sdk_reads_every_reply_with_each_zod() {
    let Some(home) = installed(&NODE) else { return };
    let server = Server::start(Some(KEY));
    let output = Command::new("node").arg("sdk.mjs").args([&server.url, KEY]).current_dir(home).output().unwrap();
    assert!(output.status.success(), "{}", words(&output));
}

#[test]
fn the_python_sdk_reads_every_reply() {
    let server = Server::start(Some(KEY));
    python("sdk.py", &[&server.url, KEY]);
}

#[test]
fn the_server_keeps_to_its_own_openapi_document() {
    let server = Server::start(None);
    python("openapi.py", &[&server.url]);
}

#[test]
fn aiortc_publishes_by_whip_and_watches_by_whep() {
    let server = Server::start(Some(KEY));
    python("media.py", &[&server.url, KEY]);
}

#[cfg(feature = "vp8")]
#[test]
fn aiortc_publishes_and_watches_vp8_where_it_has_nothing_else() {
    let server = Server::start(Some(KEY));
    python("media.py", &[&server.url, KEY, "VP8"]);
}

#[test]
fn ffmpeg_publishes_though_it_lets_the_server_begin_the_handshake() {
    let server = Server::start(None);
    python("ffmpeg.py", &[&server.url]);
}

#[test]
fn a_client_of_scope_gets_pictures_and_changes_parameters() {
    let server = Server::start(None);
    python("scope.py", &[&server.url]);
}

#[test]
fn the_browser_sdk_publishes_and_plays_in_chromium() {
    chromium("browser.mjs");
}

#[test]
fn clients_of_web_pages_publish_and_play_in_chromium() {
    chromium("web.mjs");
}

/// Runs a script of `tests/clients` that drives Chromium.
fn chromium(script: &str) {
    let Some(chromium) = tool_path("chromium") else { return };
    let Some(home) = installed(&NODE) else { return };
    let server = Server::start(None);
    let mut node = Command::new("node");
    let output = node.arg(script).arg(chromium).arg(&server.url).current_dir(home).output().unwrap();
    assert!(output.status.success(), "{}", words(&output));
}
