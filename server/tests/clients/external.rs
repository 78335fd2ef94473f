//! Clients that other people wrote, against the program as a user starts it: see `tests/clients`.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use dreamframe_tests::native::{is_full, packages, root, tool_path};
use tempfile::TempDir;

/// What the server wants as a bearer where a test is about keys.
const KEY: &str = "a-key-of-the-tests";

/// A running server, which ends with the test.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(keys: Option<&str>) -> Self {
        Self::with(&[], keys)
    }

    fn with(arguments: &[&str], keys: Option<&str>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dreamframe"));
        command
            .args(["serve", "--bind", "127.0.0.1:0", "--rtmp", "off", "--json"])
            .args(arguments)
            .env_remove("DREAMFRAME_API_KEYS");
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

/// The folder of an environment with the clients' packages, if it can be had.
static PYTHON: LazyLock<Option<PathBuf>> = LazyLock::new(|| packages("clients-python"));
static NODE: LazyLock<Option<PathBuf>> = LazyLock::new(|| packages("clients-node"));

fn clients() -> PathBuf {
    root().join("tests/clients")
}

fn words(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}{}", output.status, text(&output.stdout), text(&output.stderr))
}

/// Runs a script of `tests/clients` in Python; false where it cannot be run here.
fn python(script: &str, arguments: &[&str]) -> bool {
    let Some(folder) = &*PYTHON else { return false };
    let output = Command::new(folder.join("bin/python")).arg(clients().join(script)).args(arguments).output().unwrap();
    assert!(output.status.success(), "{script}: {}", words(&output));
    eprint!("{}", String::from_utf8_lossy(&output.stdout));
    true
}

#[test]
fn the_typescript_sdk_reads_every_reply_with_each_zod() {
    let Some(home) = &*NODE else { return };
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
    // The boundary values are 4,300 requests.
    python("openapi.py", &[&server.url, if is_full() { "coverage,fuzzing" } else { "fuzzing" }]);
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
fn ffmpeg_publishes_with_the_server_starting_the_handshake() {
    let server = Server::start(None);
    python("ffmpeg.py", &[&server.url]);
}

#[test]
fn a_client_of_scope_gets_pictures_and_changes_parameters() {
    let server = Server::start(None);
    python("scope.py", &[&server.url]);
}

/// Without keys, a server answers those who ask it by a name of this machine.
#[test]
fn both_sdks_use_a_server_without_keys_at_localhost() {
    let server = Server::start(None);
    let url = server.url.replace("127.0.0.1", "localhost");
    assert!(url.starts_with("http://localhost:"), "{url}");
    python("sdk.py", &[&url, "any", "open"]);
    let Some(home) = &*NODE else { return };
    let output = Command::new("node").arg("sdk.mjs").args([&url, "any", "open"]).current_dir(home).output().unwrap();
    assert!(output.status.success(), "{}", words(&output));
}

#[test]
fn a_hostile_page_in_chromium_gets_nothing_from_a_server_without_keys_and_changes_nothing() {
    chromium("hostile.mjs", &Server::start(None));
}

#[test]
fn the_browser_sdk_publishes_and_plays_in_chromium() {
    chromium("browser.mjs", &for_pages());
}

#[test]
fn clients_of_web_pages_publish_and_play_in_chromium() {
    chromium("web.mjs", &for_pages());
}

/// coturn on loopback, which ends with the test.
struct Relay {
    child: Child,
    url: String,
    _folder: TempDir,
}

impl Relay {
    /// Starts it with a secret that it shares with a server; `None` where it is not installed.
    fn start(secret: &str) -> Option<Self> {
        let program = tool_path("turnserver")?;
        let folder = tempfile::tempdir().unwrap();
        // coturn does not choose a port itself.
        let address = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new(program);
        command.args(["-n", "--listening-ip", "127.0.0.1", "--relay-ip", "127.0.0.1", "--listening-port"]);
        command.arg(address.port().to_string()).args(["--use-auth-secret", "--static-auth-secret", secret]);
        command.args(["--realm", "test", "--allow-loopback-peers", "--no-cli", "--no-tls", "--no-dtls"]);
        command.args(["--log-file", "stdout", "--pidfile", "pid", "--userdb", "users"]).current_dir(&folder);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let relay = Self { child, url: format!("turn:{address}"), _folder: folder };
        relay.wait_until_it_answers(address);
        Some(relay)
    }

    /// Sends binding requests of STUN (RFC 8489) until one is answered.
    fn wait_until_it_answers(&self, address: SocketAddr) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let request = [&[0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42][..], &[7; 12]].concat();
        let end = Instant::now() + Duration::from_secs(30);
        while socket.send_to(&request, address).is_err() || socket.recv(&mut [0; 512]).is_err() {
            assert!(Instant::now() < end, "coturn ({}) does not answer at {address}", self.child.id());
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_page_in_chromium_publishes_and_plays_through_a_turn_server_alone() {
    const SECRET: &str = "shared-by-both";
    let Some(relay) = Relay::start(SECRET) else { return };
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, SECRET).unwrap();
    let arguments = ["--ice-server", &relay.url, "--turn-secret", secret.to_str().unwrap()];
    chromium("relay.mjs", &Server::with(&arguments, None));
}

/// A server that pages of the origin of `chromium.mjs` may use.
fn for_pages() -> Server {
    Server::with(&["--allow-origin", "http://page.test"], None)
}

/// Runs a script of `tests/clients` that drives Chromium against `server`.
fn chromium(script: &str, server: &Server) {
    let Some(chromium) = tool_path("chromium") else { return };
    let Some(home) = &*NODE else { return };
    let mut node = Command::new("node");
    let output = node.arg(script).arg(chromium).arg(&server.url).current_dir(home).output().unwrap();
    assert!(output.status.success(), "{}", words(&output));
}
