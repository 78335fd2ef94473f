//! A Redis of a test's own, at a socket in a folder of its own.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dreamframe_tests::native::has_tool;
use tempfile::TempDir;

/// Longer than it takes to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running `redis-server`.
pub(crate) struct Redis {
    child: Child,
    folder: TempDir,
}

impl Redis {
    /// Starts one, where it is installed.
    pub(crate) fn start() -> Option<Self> {
        has_tool("redis-server").then(|| {
            let folder = tempfile::tempdir().unwrap();
            Self { child: spawn(&folder), folder }
        })
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    pub(crate) fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    /// Ends it, with all that it knows.
    pub(crate) fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, empty.
    pub(crate) fn restart(&mut self) {
        self.child = spawn(&self.folder);
    }

    /// Lets it hang: it takes connections and answers nothing.
    pub(crate) fn halt(&self) {
        self.signal("-STOP");
    }

    /// Resumes it.
    pub(crate) fn go_on(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").arg(name).arg(self.child.id().to_string()).status().unwrap().success());
    }

    /// What it answers to a command.
    pub(crate) fn ask(&self, command: &[&str]) -> String {
        let output = Command::new("redis-cli").arg("-s").arg(self.socket()).args(command).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Everything that it knows, as text.
    pub(crate) fn everything(&self) -> String {
        let keys = self.ask(&["--scan"]);
        let value = |key: &str| self.ask(&[if key.ends_with("workers") { "SMEMBERS" } else { "GET" }, key]);
        let values: String = keys.lines().map(value).collect();
        keys + &values
    }
}

fn spawn(folder: &TempDir) -> Child {
    let socket = folder.path().join("redis.sock");
    let _ = std::fs::remove_file(&socket);
    let mut command = Command::new("redis-server");
    command.args(["--port", "0", "--save", "", "--appendonly", "no", "--daemonize", "no", "--unixsocket"]).arg(&socket);
    command.arg("--dir").arg(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().unwrap();
    let began = Instant::now();
    while !socket.exists() {
        assert!(began.elapsed() < PATIENCE, "redis-server does not start");
        std::thread::yield_now();
    }
    child
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
