//! A publisher, a server and a viewer, and what they are measured by.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use dreamframe::exec::null::NullExecutor;
use dreamframe::transport::peer::PeerState;
use dreamframe::transport::{Client, Egress, EgressOptions, Server, play, publish, serve};
use dreamframe::{Engine, EngineOptions, Error, ErrorKind, Result, Session, StreamDiffusionParams};
use dreamframe_tests::frames::demo_engine;
use dreamframe_tests::network::{Drawn, Echo, Proxy, Screen, Shown, Source, client_options, serve_options};
use dreamframe_tests::process::ThreadTimes;

/// Longer than anything here takes.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

const SIDE: u32 = 512;
const RATE: f64 = 30.0;
/// The side of what the demo model shows.
const DEMO_SIDE: u32 = 128;
/// How many pictures are let pass before anything is measured: the encoders find their rates.
const WARM_UP: usize = 60;

/// How the names of threads begin that work for the server alone, and of those that clients have, too.
const SERVE: &str = "dreamframe-";
const DECODE: &str = "dreamframe-deco";
const ENCODE: &str = "dreamframe-enco";

/// What shows the pictures.
enum Served {
    Echo(Server<()>),
    Session(Server<Session>),
}

/// All of it, continuing. What is named first ends first.
pub(crate) struct Stage {
    _player: Client,
    pub(crate) publisher: Option<Client>,
    _source: Source,
    /// The links of the publisher and of the viewer, if there are any.
    pub(crate) proxies: Vec<Proxy>,
    served: Served,
    /// What the publisher sends.
    pub(crate) egress: Egress,
    pub(crate) drawn: Arc<Drawn>,
    pub(crate) screen: Arc<Screen>,
    /// The server's threads: those that decode and encode, and all.
    work: Vec<u32>,
    threads: Vec<u32>,
}

/// What was seen in some time, and what it cost the server.
pub(crate) struct Watched {
    pub(crate) seen: Vec<Shown>,
    pub(crate) start: Instant,
    pub(crate) end: Instant,
    /// Processor time for a picture: of the threads that decode and encode, and of all.
    pub(crate) work: Duration,
    pub(crate) server: Duration,
}

impl Stage {
    /// Starts one that shows frames as they are; over links that `seed` is for, if there is one.
    pub(crate) fn echo(seed: Option<u64>) -> Result<Self> {
        Self::start(|| Ok(Served::Echo(Echo::serve(&serve_options())?.0)), seed)
    }

    /// Starts one with a session whose networks do nothing.
    pub(crate) fn session() -> Result<Self> {
        Self::start(
            || {
                let demo = StreamDiffusionParams::demo();
                let params = StreamDiffusionParams { width: SIDE, height: SIDE, skip_diffusion: true, ..demo };
                let mut options = EngineOptions::default();
                options.threads = Some(1);
                let engine = Engine::builder().params(params).options(options).executor(Arc::new(NullExecutor));
                Ok(Served::Session(serve(engine.build()?, serve_options())?))
            },
            None,
        )
    }

    /// Starts one with a session of the demo model, at a size that it keeps up with, which shows frames as they are until
    /// `skip_diffusion` is switched off; then nothing is left of them.
    pub(crate) fn demo() -> Result<Self> {
        let engine = |params: &mut StreamDiffusionParams, _: &mut EngineOptions| {
            params.skip_diffusion = true;
            params.t_index_list = vec![0];
        };
        Self::start(|| Ok(Served::Session(serve(demo_engine(DEMO_SIDE, engine), serve_options())?)), None)
    }

    fn start(served: impl FnOnce() -> Result<Served>, seed: Option<u64>) -> Result<Self> {
        let nobody = ThreadTimes::now();
        let served = served()?;
        let with_server = ThreadTimes::now();
        let (drawn, egress) = (Arc::new(Drawn::default()), Egress::new(EgressOptions::default()));
        let screen = Screen::new(&drawn);
        let proxy = |seed| Proxy::start(served.addr(), seed).map_err(|error| failed("a proxy").with_source(error));
        let proxies = match seed {
            Some(seed) => vec![proxy(seed)?, proxy(seed ^ 1 << 32)?],
            None => Vec::new(),
        };
        let whip = proxies.first().map_or_else(|| served.whip_url(), |proxy| proxy.url("/whip"));
        let whep = proxies.last().map_or_else(|| served.whep_url(), |proxy| proxy.url("/whep"));
        let source = Source::start(&egress, (SIDE, SIDE), RATE, &drawn);
        let publisher = publish(&whip, client_options(), egress.clone())?;
        publisher.wait_for(PeerState::Connected, LIMIT)?;
        served.decodes()?;
        let with_publisher = ThreadTimes::now();
        let player = play(&whep, client_options(), screen.clone())?;
        come(&screen, WARM_UP)?;
        let with_player = ThreadTimes::now();
        // Publisher and player are created one after the other, so that the owner of each new thread is known.
        let decode = with_publisher.new_since(&with_server, DECODE);
        let encode = with_player.new_since(&with_publisher, ENCODE);
        let work: Vec<_> = decode.chain(encode).collect();
        let threads = with_server.new_since(&nobody, SERVE).chain(work.iter().copied()).collect();
        let publisher = Some(publisher);
        Ok(Self { _player: player, publisher, _source: source, proxies, served, egress, drawn, screen, work, threads })
    }

    pub(crate) fn whip_url(&self) -> String {
        self.served.whip_url()
    }

    pub(crate) fn whep_url(&self) -> String {
        self.served.whep_url()
    }

    /// Watches for some time.
    pub(crate) fn watch(&self, time: Duration) -> Watched {
        drop(self.screen.take());
        let (before, start) = (ThreadTimes::now(), Instant::now());
        thread::sleep(time);
        let (seen, after, end) = (self.screen.take(), ThreadTimes::now(), Instant::now());
        let pictures = u32::try_from(seen.len()).unwrap_or(u32::MAX).max(1);
        let cost = |threads: &[u32]| after.sum_since(&before, threads) / pictures;
        Watched { work: cost(&self.work), server: cost(&self.threads), seen, start, end }
    }
}

impl Served {
    fn addr(&self) -> std::net::SocketAddr {
        match self {
            Self::Echo(server) => server.addr(),
            Self::Session(server) => server.addr(),
        }
    }

    fn whip_url(&self) -> String {
        match self {
            Self::Echo(server) => server.whip_url(),
            Self::Session(server) => server.whip_url(),
        }
    }

    fn whep_url(&self) -> String {
        match self {
            Self::Echo(server) => server.whep_url(),
            Self::Session(server) => server.whep_url(),
        }
    }

    /// Waits until a frame of the publisher's is decoded.
    fn decodes(&self) -> Result<()> {
        let start = Instant::now();
        let publisher = || match self {
            Self::Echo(server) => server.whip().publisher(),
            Self::Session(server) => server.whip().publisher(),
        };
        let decoded = || publisher().and_then(|peer| peer.stats().video_in).is_some_and(|video| video.frames.total > 0);
        while !decoded() {
            if start.elapsed() > LIMIT {
                return Err(failed("a frame"));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Watched {
    /// How late the pictures of this part were seen at most.
    pub(crate) fn late(&self, part: f64) -> Duration {
        let mut times: Vec<_> = self.seen.iter().filter_map(|shown| shown.late).collect();
        times.sort_unstable();
        times.get(((times.len() as f64 - 1.0) * part).round() as usize).copied().unwrap_or_default()
    }

    /// Pictures per second.
    pub(crate) fn rate(&self) -> f64 {
        self.seen.len() as f64 / (self.end - self.start).as_secs_f64()
    }
}

/// Waits for a number of further pictures.
pub(crate) fn come(screen: &Screen, count: usize) -> Result<()> {
    drop(screen.take());
    let came = screen.wait_until(LIMIT, |seen| seen.len() >= count);
    came.then_some(()).ok_or_else(|| failed("the pictures"))
}

fn failed(what: &str) -> Error {
    Error::new(ErrorKind::Timeout, format!("{what} did not come within {} s", LIMIT.as_secs()))
}
