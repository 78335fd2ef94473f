//! Streams that continue for long: for each a publisher, a session of the demo model that is served, a viewer that stays, one
//! that comes and goes, half the time without a word, and parameters that change all the while.
//!
//! `cargo run --release -p dreamframe-tests --features transport --bin soak -- [--minutes 60] [--streams 3] [--server PROGRAM]`
//!
//! With `--server`, the streams are those of that `dreamframe serve`, and what is counted is its process; else all is in this
//! one. Each minute it prints what the process takes. It fails where memory grows by more than 16 MiB after a warm-up of a tenth
//! of the time, and at least two minutes; or where a stream stands still. With `MALLOC_ARENA_MAX` set to a larger number than
//! 1, it shows how much more memory GNU's allocator keeps for the threads of the clients, which come and go in this process.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use dreamframe::transport::peer::PeerState;
use dreamframe::transport::{Client, Egress, EgressOptions, Server, play, publish, serve};
use dreamframe::{Error, ErrorKind, ParamsPatch, Result, Session};
use dreamframe_tests::frames::demo_engine;
use dreamframe_tests::network::{Drawn, LiveStream, Program, Proxy, Screen, Source, client_options, serve_options};
use dreamframe_tests::process::{Process, in_one_arena};
use serde_json::{Value, json};

const SIDE: u32 = 64;
const RATE: f64 = 10.0;
/// The most that memory may grow, in KiB.
const GROWTH: usize = 16 << 10;
const LIMIT: Duration = Duration::from_secs(60);
const MINUTE: Duration = Duration::from_secs(60);
/// How long the second viewer stays, and how long it stays away.
const STAY: Duration = Duration::from_secs(4);

/// What serves a stream.
enum Host {
    Here(Server<Session>),
    There(Arc<Program>, LiveStream),
}

/// One stream. What is named first ends first.
struct Stream {
    guest: Option<(Client, Proxy)>,
    _viewer: Client,
    publisher: Option<Client>,
    _source: Source,
    host: Host,
    egress: Egress,
    screen: Arc<Screen>,
    guests: u64,
    pictures: u64,
}

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let (mut minutes, mut streams, mut server) = (60, 3, None);
    while let Some(argument) = arguments.next() {
        let value = arguments.next();
        let number = value.as_deref().and_then(|number| number.parse().ok());
        match (argument.as_str(), number, value) {
            ("--minutes", Some(number), _) => minutes = number,
            ("--streams", Some(number), _) => streams = number,
            ("--server", _, Some(path)) => server = Some(PathBuf::from(path)),
            _ => {
                let _ = writeln!(io::stderr(), "usage: soak [--minutes 60] [--streams 3] [--server PROGRAM]");
                return Ok(ExitCode::from(2));
            }
        }
    }
    let Some(path) = server else {
        let again = in_one_arena().map_err(|error| io_error("cannot run again", error))?;
        if let Some(status) = again {
            return Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        let engine = || demo_engine(SIDE, |_, options| options.threads = Some(1));
        let here = |_| Stream::start(Host::Here(serve(engine(), serve_options())?));
        let streams = (0..streams).map(here).collect::<Result<_>>()?;
        return soak(streams, minutes, &Process::this());
    };
    let failed = |error| io_error("the server does not answer", error);
    let program = Arc::new(Program::start(&path).map_err(failed)?);
    let params = json!({"model_id": "demo", "width": SIDE, "height": SIDE});
    let there = |_| Stream::start(Host::There(program.clone(), program.create(&params).map_err(failed)?));
    let streams = (0..streams).map(there).collect::<Result<_>>()?;
    soak(streams, minutes, &program.process())
}

fn soak(mut streams: Vec<Stream>, minutes: u64, process: &Process) -> Result<ExitCode> {
    let (start, warm) = (Instant::now(), (minutes / 10).max(2));
    let mut base = None;
    tell("minute   memory KiB   threads   descriptors   pictures   guests");
    for minute in 1..=minutes {
        let end = start + MINUTE * u32::try_from(minute).unwrap_or(u32::MAX);
        for step in 0_u32.. {
            if Instant::now() >= end {
                break;
            }
            streams.iter_mut().try_for_each(|stream| stream.step(step))?;
            thread::sleep(STAY / 4);
        }
        let pictures: u64 = streams.iter().map(|stream| stream.pictures).sum();
        let guests: u64 = streams.iter().map(|stream| stream.guests).sum();
        let (resident, threads) = (process.resident_kib().unwrap_or(0), process.threads());
        let descriptors = process.descriptors();
        tell(&format!("{minute:>6} {resident:>12} {threads:>9} {descriptors:>13} {pictures:>10} {guests:>8}"));
        if minute >= warm {
            let base = *base.get_or_insert(resident);
            if resident > base + GROWTH {
                tell(&format!("memory grew from {base} to {resident} KiB, by more than {GROWTH}"));
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(line: &str) {
    // Whoever does not read it does not miss it.
    let _ = writeln!(io::stdout(), "{line}");
}

impl Stream {
    fn start(host: Host) -> Result<Self> {
        let (egress, drawn) = (Egress::new(EgressOptions::default()), Arc::new(Drawn::default()));
        let source = Source::start(&egress, (SIDE * 2, SIDE), RATE, &drawn);
        let screen = Screen::new(&drawn);
        let publisher = Some(publish(&host.whip_url(), client_options(), egress.clone())?);
        let viewer = play(&host.whep_url(), client_options(), screen.clone())?;
        viewer.wait_for(PeerState::Connected, LIMIT)?;
        Ok(Self {
            guest: None,
            _viewer: viewer,
            publisher,
            _source: source,
            host,
            egress,
            screen,
            guests: 0,
            pictures: 0,
        })
    }

    /// A quarter of the time that a guest stays.
    fn step(&mut self, step: u32) -> Result<()> {
        let patch = json!({"prompt": format!("scene {step}"), "delta": 0.5 + f64::from(step % 5) / 10.0});
        self.host.update(&patch)?;
        match step % 8 {
            0 => {
                let proxy = Proxy::start(self.host.addr(), self.guests)
                    .map_err(|error| io_error("the system has no port for a proxy", error))?;
                let screen = Screen::new(&Arc::new(Drawn::default()));
                self.guest = Some((play(&proxy.url(&self.host.whep_path()), client_options(), screen)?, proxy));
                self.guests += 1;
            }
            4 => {
                if let Some((guest, proxy)) = self.guest.take() {
                    proxy.conditions().set_dark(self.guests.is_multiple_of(2));
                    let says_goodbye = (!self.guests.is_multiple_of(2)).then_some(proxy);
                    drop((guest, says_goodbye));
                }
            }
            _ => {}
        }
        if step % 40 == 39 {
            self.publisher = None;
            self.publisher = Some(publish(&self.host.whip_url(), client_options(), self.egress.clone())?);
        }
        if !self.screen.wait_until(LIMIT, |seen| !seen.is_empty()) {
            return Err(Error::new(ErrorKind::Timeout, format!("no picture came within {} s", LIMIT.as_secs())));
        }
        self.pictures += self.screen.take().len() as u64;
        Ok(())
    }
}

impl Host {
    fn addr(&self) -> SocketAddr {
        match self {
            Self::Here(server) => server.addr(),
            Self::There(program, _) => program.addr(),
        }
    }

    fn whip_url(&self) -> String {
        match self {
            Self::Here(server) => server.whip_url(),
            Self::There(program, stream) => program.url(&stream.whip()),
        }
    }

    fn whep_path(&self) -> String {
        match self {
            Self::Here(_) => "/whep".to_owned(),
            Self::There(_, stream) => stream.whep(),
        }
    }

    fn whep_url(&self) -> String {
        format!("http://{}{}", self.addr(), self.whep_path())
    }

    fn update(&self, patch: &Value) -> Result<()> {
        match self {
            Self::Here(server) => server.session().update(&ParamsPatch::from_json(&patch.to_string())?).map(drop),
            Self::There(program, stream) => {
                program.patch(stream, patch).map_err(|error| io_error("the server does not take parameters", error))
            }
        }
    }
}

fn io_error(what: &str, error: io::Error) -> Error {
    Error::new(ErrorKind::Io, what.to_owned()).with_source(error)
}
