//! One stream with its clients.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dreamframe::Result;
use dreamframe::transport::{Client, Egress, EgressOptions, play, publish};
use serde_json::{Value, json};

use super::record::{Latency, StreamRecord};
use super::watch::Watch;
use super::{io_error, timeout};
use crate::network::{Drawn, LiveStream, Program, Proxy, Screen, Source, client_options, draw_blocks};

/// The sides of its pictures, and its steps, in turn. Numbers are readable with each of them.
const SIDES: [u32; 2] = [64, 96];
const STEPS: [&[u32]; 3] = [&[41, 46], &[45], &[30, 45]];
const SOURCE_SIDE: u32 = 64;
const RATE: f64 = 10.0;
/// The longest time until pictures come, and the longest pause before the run is given up.
pub(super) const LIMIT: Duration = Duration::from_secs(60);
/// How long guests wait before they try again.
const GUEST_PAUSE: Duration = Duration::from_millis(500);

/// A viewer that comes and goes.
struct Guest {
    client: Client,
    proxy: Proxy,
    screen: Arc<Screen>,
}

/// The stream. What is named first ends first.
pub(super) struct Stream {
    pub(super) name: String,
    /// What the server has of it; `None` while it is deleted.
    pub(super) live: Option<LiveStream>,
    guest: Option<Guest>,
    viewer: Option<Client>,
    publisher: Option<Client>,
    _source: Source,
    egress: Egress,
    pub(super) watch: Arc<Watch>,
    /// How often each has changed.
    sides: usize,
    steps: usize,
    guests: u64,
}

impl Stream {
    /// Creates its clients, for a stream that exists or is created later.
    pub(super) fn new(name: String, live: Option<LiveStream>) -> Self {
        let (egress, drawn) = (Egress::new(EgressOptions::default()), Arc::new(Drawn::default()));
        let draw = |number: u16, size, pixels: &mut Vec<u8>| draw_blocks(number, size, pixels);
        let source = Source::start_with(&egress, (SOURCE_SIDE, SOURCE_SIDE), RATE, &drawn, draw);
        Self {
            name,
            live,
            guest: None,
            viewer: None,
            publisher: None,
            _source: source,
            egress,
            watch: Watch::new(&drawn),
            sides: 0,
            steps: 0,
            guests: 0,
        }
    }

    /// The request that creates it.
    pub(super) fn creation(&self) -> Value {
        let params =
            json!({"model_id": "demo", "width": self.side(), "height": self.side(), "t_index_list": self.rows()});
        json!({"name": self.name, "params": params})
    }

    fn side(&self) -> u32 {
        SIDES[self.sides % SIDES.len()]
    }

    fn rows(&self) -> &'static [u32] {
        STEPS[self.steps % STEPS.len()]
    }

    /// Continues with the parameters that a stream of an earlier piece has.
    pub(super) fn resume(&mut self, params: &Value) {
        self.sides = SIDES.iter().position(|side| params["width"] == *side).unwrap_or(0);
        self.steps = STEPS.iter().position(|steps| params["t_index_list"] == json!(steps)).unwrap_or(0);
    }

    /// The path of its object.
    pub(super) fn path(&self) -> Option<String> {
        self.live.as_ref().map(|live| format!("/v1/streams/{}", live.id()))
    }

    /// Connects the publisher and the viewer that stays, and waits for a picture.
    pub(super) fn connect(&mut self, front: &Program) -> Result<Duration> {
        let began = Instant::now();
        let Some(live) = &self.live else { return Ok(Duration::ZERO) };
        self.watch.reset();
        self.publisher = Some(publish(&front.url(&live.whip()), client_options(), self.egress.clone())?);
        self.viewer = Some(play(&front.url(&live.whep()), client_options(), self.watch.clone())?);
        if !self.watch.wait(LIMIT) {
            return Err(timeout(&self.name));
        }
        Ok(began.elapsed())
    }

    /// Ends all of its clients.
    pub(super) fn disconnect(&mut self) {
        (self.guest, self.viewer, self.publisher) = (None, None, None);
        self.watch.reset();
    }

    /// Replaces the publisher.
    pub(super) fn reconnect(&mut self, front: &Program) -> Result<()> {
        let Some(live) = &self.live else { return Ok(()) };
        self.publisher = None;
        self.publisher = Some(publish(&front.url(&live.whip()), client_options(), self.egress.clone())?);
        Ok(())
    }

    /// The parameters of the next change of each kind.
    pub(super) fn next_prompt(&self, step: u64) -> Value {
        json!({"prompt": format!("scene {step}"), "delta": 0.5 + (step % 5) as f64 / 10.0})
    }

    pub(super) fn next_size(&mut self) -> Value {
        self.sides += 1;
        json!({"width": self.side(), "height": self.side()})
    }

    pub(super) fn next_steps(&mut self) -> Value {
        self.steps += 1;
        json!({"t_index_list": self.rows()})
    }

    /// Starts a guest.
    pub(super) fn start_guest(&mut self, front: &Program) -> Result<()> {
        let Some(live) = &self.live else { return Ok(()) };
        let proxy = Proxy::start(front.addr(), self.guests).map_err(|error| io_error("no port for a proxy", error))?;
        let screen = Screen::new(&Arc::new(Drawn::default()));
        let options = client_options().with_pause(GUEST_PAUSE);
        let client = play(&proxy.url(&live.whep()), options, screen.clone())?;
        self.guest = Some(Guest { client, proxy, screen });
        self.guests += 1;
        Ok(())
    }

    /// Ends the guest, every other time without closing its connection; returns whether it has received a picture, if there is
    /// one.
    pub(super) fn end_guest(&mut self) -> Option<bool> {
        let Guest { client, proxy, screen } = self.guest.take()?;
        if self.guests.is_multiple_of(2) {
            proxy.conditions().set_dark(true);
            drop(proxy);
            drop(client);
        } else {
            drop(client);
            drop(proxy);
        }
        Some(!screen.take().is_empty())
    }

    /// Takes what was seen since the last time; the latencies go to `all`, too.
    pub(super) fn take(&self, all: &mut Vec<Duration>) -> StreamRecord {
        let seen = self.watch.take();
        all.extend_from_slice(&seen.latencies);
        StreamRecord {
            name: self.name.clone(),
            pictures: seen.latencies.len(),
            unread: seen.unread,
            latency: Latency::of(seen.latencies),
            longest_pause_ms: u64::try_from(seen.pause.as_millis()).unwrap_or(u64::MAX),
        }
    }
}
