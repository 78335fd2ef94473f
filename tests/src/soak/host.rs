//! The processes that serve the streams: one server, or a gateway and two workers with their registry.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::network::Program;
use crate::process::{Process, ask_to_end, can_be_asked};

/// Longer than a process takes to start.
const START: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);
/// The file of the streams at the end of a piece.
const STREAMS: &str = "streams.json";
const WORKERS: [&str; 2] = ["worker 1", "worker 2"];

/// A `redis-server` at a port of its own, which stores nothing.
pub(super) struct Redis {
    child: Option<Child>,
    port: u16,
    folder: PathBuf,
}

impl Redis {
    fn start(folder: &Path) -> io::Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut redis = Self { child: None, port, folder: folder.into() };
        redis.run()?;
        Ok(redis)
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Starts it, empty, and waits until it accepts connections.
    pub(super) fn run(&mut self) -> io::Result<()> {
        let began = Instant::now();
        loop {
            let mut command = Command::new("redis-server");
            command.args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--daemonize", "no"]);
            command.args(["--save", "", "--appendonly", "no", "--dir"]).arg(&self.folder);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = can_be_asked(&mut command)
                .spawn()
                .map_err(|error| io::Error::new(error.kind(), format!("redis-server: {error}")))?;
            while child.try_wait()?.is_none() {
                if TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok() {
                    self.child = Some(child);
                    return Ok(());
                }
                thread::sleep(LOOK);
            }
            // A connection of another program may have had the port for a moment.
            if began.elapsed() > START {
                return Err(io::Error::other(format!("redis-server does not start at port {}", self.port)));
            }
            thread::sleep(LOOK);
        }
    }

    /// Ends it, with everything that it has.
    pub(super) fn stop(&mut self) -> io::Result<()> {
        if let Some(mut child) = self.child.take() {
            ask_to_end(&child, "TERM")?;
            child.wait()?;
        }
        Ok(())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The processes. What is named first ends first.
pub(super) struct Host {
    /// What clients send requests to.
    pub(super) front: Program,
    workers: Vec<Program>,
    pub(super) redis: Option<Redis>,
    folder: PathBuf,
    _temporary: Option<tempfile::TempDir>,
}

impl Host {
    /// Starts them; their state and logs are in `keep`, or in a temporary folder.
    pub(super) fn start(program: &Path, scale_out: bool, keep: Option<&Path>) -> io::Result<Self> {
        let temporary = if keep.is_none() { Some(tempfile::tempdir()?) } else { None };
        let folder = match (keep, &temporary) {
            (Some(keep), _) => keep.join(if scale_out { "scale-out" } else { "server" }),
            (None, Some(temporary)) => temporary.path().into(),
            (None, None) => PathBuf::new(),
        };
        fs::create_dir_all(&folder)?;
        let serve = |name: &str, registry: Option<String>| {
            let state = folder.join(name.replace(' ', "-"));
            let log = log(&folder, name)?;
            Program::start_with(program, |command| {
                command.arg("--state").arg(state).stderr(log);
                command.args(registry.iter().flat_map(|url| ["--registry", url]));
            })
        };
        if !scale_out {
            let front = serve("server", None)?;
            return Ok(Self { front, workers: Vec::new(), redis: None, folder, _temporary: temporary });
        }
        let redis = Redis::start(&folder)?;
        let workers = WORKERS.iter().map(|name| serve(name, Some(redis.url()))).collect::<io::Result<Vec<_>>>()?;
        let log = log(&folder, "gateway")?;
        let front = Program::gateway(program, &redis.url(), |command| {
            command.stderr(log);
        })?;
        let host = Self { front, workers, redis: Some(redis), folder, _temporary: temporary };
        host.wait_for_workers()?;
        Ok(host)
    }

    /// Waits until the gateway finds every stream of each worker: they publish both together.
    fn wait_for_workers(&self) -> io::Result<()> {
        let began = Instant::now();
        let count = |program: &Program| {
            let list = program.streams().ok()?;
            list["data"].as_array().map(Vec::len)
        };
        let own: usize = self.workers.iter().filter_map(count).sum();
        loop {
            let metrics = self.front.send("GET", "/metrics", &json!({}))?.text;
            let found = format!("dreamframe_workers {}", WORKERS.len());
            if metrics.lines().any(|line| line == found) && count(&self.front) == Some(own) {
                return Ok(());
            }
            if began.elapsed() > START {
                return Err(io::Error::other("the gateway does not find its workers"));
            }
            thread::sleep(LOOK);
        }
    }

    /// Writes the streams as they are at the end of a piece.
    pub(super) fn keep(&self, streams: &Value) -> io::Result<()> {
        fs::write(self.folder.join(STREAMS), known(streams).to_string())
    }

    /// Compares streams at the start of a piece with those at the end of the one before, if that ended in good order;
    /// returns the differences.
    pub(super) fn compare(&self, streams: &Value) -> io::Result<Vec<String>> {
        let path = self.folder.join(STREAMS);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        fs::remove_file(path)?;
        let before: Value = serde_json::from_str(&text)?;
        let (now, mut differences) = (known(streams), Vec::new());
        for (name, expected) in before.as_object().into_iter().flatten() {
            if now[name] != *expected {
                differences.push(format!("{name} after a restart: got {}, expected {expected}", now[name]));
            }
        }
        Ok(differences)
    }

    /// Returns the processes that are measured, by their names.
    pub(super) fn processes(&self) -> Vec<(&'static str, Process)> {
        let front = if self.redis.is_some() { "gateway" } else { "server" };
        let workers = WORKERS.into_iter().zip(self.workers.iter().map(Program::process));
        std::iter::once((front, self.front.process())).chain(workers).collect()
    }

    /// Ends the processes in good order; returns the names of those that fail.
    pub(super) fn stop(self) -> io::Result<Vec<&'static str>> {
        let Self { front, workers, redis, folder: _, _temporary } = self;
        let names = [if redis.is_some() { "gateway" } else { "server" }].into_iter().chain(WORKERS);
        let mut failed = Vec::new();
        for (name, program) in names.zip(std::iter::once(front).chain(workers)) {
            if !program.stop()? {
                failed.push(name);
            }
        }
        Ok(failed)
    }
}

/// Returns what must survive a restart: keys and parameters of each stream, by its name.
fn known(streams: &Value) -> Value {
    let known = |stream: &Value| {
        let name = stream["name"].as_str().unwrap_or_default().to_owned();
        (name, json!({"id": stream["id"], "stream_key": stream["stream_key"], "params": stream["params"]}))
    };
    Value::Object(streams.as_array().into_iter().flatten().map(known).collect())
}

/// Opens the log of a process, which further pieces continue.
fn log(folder: &Path, name: &str) -> io::Result<File> {
    let path = folder.join(format!("{}.log", name.replace(' ', "-")));
    File::options().create(true).append(true).open(path)
}
