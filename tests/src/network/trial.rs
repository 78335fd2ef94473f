//! A stream whose links have faults: a publisher and a viewer with a link each.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use dreamframe::transport::peer::PeerState;
use dreamframe::transport::{Client, ClientEvent, Egress, EgressOptions, play, publish};
use dreamframe::{Error, ErrorKind, Result};

use super::{
    Conditions, Direction, Drawn, Fault, FaultKind, Impairment, Proxy, Screen, Shown, Side, Source, Target,
    client_options,
};

/// Pictures that have to follow each other until they count as back, and the longest time between two of them.
const STEADY: usize = 5;
const PAUSE: Duration = Duration::from_millis(500);
/// Longer than connecting takes.
const LONG: Duration = Duration::from_secs(60);

/// The stream. What is named first ends first.
#[derive(Debug)]
pub struct Trial {
    viewer: Client,
    publisher: Client,
    source: Source,
    screen: Arc<Screen>,
    near: Proxy,
    far: Proxy,
    target: Target,
}

impl Trial {
    /// Connects a publisher of pictures of `size`, `rate` per second, and a viewer, and waits for pictures. What links do
    /// is drawn from `seed`.
    ///
    /// # Errors
    ///
    /// Those of the clients; `Timeout` if no pictures come, `Io` if the system has no ports.
    pub fn start(target: Target, size: (u32, u32), rate: f64, seed: u64) -> Result<Self> {
        let proxy = |seed| {
            Proxy::start(target.server, seed)
                .map_err(|error| Error::new(ErrorKind::Io, "no port is available for a proxy").with_source(error))
        };
        let (near, far) = (proxy(seed)?, proxy(seed.wrapping_add(1 << 32))?);
        let (egress, drawn) = (Egress::new(EgressOptions::default()), Arc::new(Drawn::default()));
        let (source, screen) = (Source::start(&egress, size, rate, &drawn), Screen::new(&drawn));
        let publisher = publish(&near.url(&target.whip), client_options(), egress)?;
        publisher.wait_for(PeerState::Connected, LONG)?;
        let viewer = play(&far.url(&target.whep), client_options(), screen.clone())?;
        viewer.wait_for(PeerState::Connected, LONG)?;
        let trial = Self { viewer, publisher, source, screen, near, far, target };
        match trial.recovery(Instant::now(), LONG) {
            Some(_) => Ok(trial),
            None => Err(Error::new(ErrorKind::Timeout, format!("no pictures arrived for {} s", LONG.as_secs()))),
        }
    }

    /// Returns what the viewer has seen since the last time.
    pub fn take(&self) -> Vec<Shown> {
        self.screen.take()
    }

    /// Returns the states of the publisher and of the viewer.
    pub fn states(&self) -> (PeerState, PeerState) {
        (self.publisher.state(), self.viewer.state())
    }

    /// Returns what the link of a client does.
    pub fn conditions(&self, side: Side) -> &Conditions {
        match side {
            Side::Publisher => self.near.conditions(),
            Side::Viewer => self.far.conditions(),
        }
    }

    /// Returns how often the publisher and the viewer lost their connection, or failed to make another, since the last time.
    pub fn failures(&self) -> (usize, usize) {
        let failed = |client: &Client| {
            let events = client.events();
            let next = std::iter::from_fn(|| events.try_next());
            next.filter(|event| matches!(event, ClientEvent::AttemptFailed { .. })).count()
        };
        (failed(&self.publisher), failed(&self.viewer))
    }

    /// Has a fault for its duration; returns when it ended.
    pub fn run(&self, fault: &Fault) -> Instant {
        let conditions = self.conditions(fault.side);
        if let Some(impairment) = fault.impairment() {
            fault.directions.iter().for_each(|&direction| conditions.set(direction, impairment));
            thread::sleep(fault.duration);
            Direction::BOTH.into_iter().for_each(|direction| conditions.set(direction, Impairment::default()));
            return Instant::now();
        }
        if fault.kind == FaultKind::Rebinding {
            for _ in 0..fault.rebindings() {
                thread::sleep(fault.duration / fault.rebindings());
                conditions.rebind();
            }
        } else if fault.kind == FaultKind::ClockJump {
            self.source.set_clock_ahead(fault.jump_ms());
            thread::sleep(fault.duration);
            self.source.set_clock_ahead(0);
        } else if fault.kind == FaultKind::SlowReaders {
            self.target.read_slowly(fault.connections(), fault.duration);
        } else {
            self.target.storm(fault.connections(), fault.duration, fault.seed);
        }
        Instant::now()
    }

    /// Waits until pictures are steady that were taken after `end`; returns how long after `end` the first of them was
    /// seen, or `None` after `limit`.
    pub fn recovery(&self, end: Instant, limit: Duration) -> Option<Duration> {
        let mut back = None;
        self.screen.wait_until(limit, |seen| {
            back = steady_after(seen, end);
            back.is_some()
        });
        back.map(|back| back.saturating_duration_since(end))
    }
}

/// Returns when the first of several pictures was seen that were taken after `end` and follow each other without a pause.
pub fn steady_after(seen: &[Shown], end: Instant) -> Option<Instant> {
    let taken = |shown: &Shown| shown.late.map_or(Some(shown.at), |late| shown.at.checked_sub(late));
    let news: Vec<_> =
        seen.iter().filter(|shown| taken(shown).is_some_and(|at| at >= end)).map(|shown| shown.at).collect();
    let is_steady = |run: &&[Instant]| run.windows(2).all(|pair| pair[1].duration_since(pair[0]) <= PAUSE);
    news.windows(STEADY).find(is_steady).map(|run| run[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn seen(start: Instant, ms: &[u32], late: Option<Duration>) -> Vec<Shown> {
        ms.iter().map(|&ms| Shown { at: start + MS * ms, number: None, late, size: (64, 64) }).collect()
    }

    #[test]
    fn pictures_are_back_with_the_first_of_five_without_a_pause() {
        let start = Instant::now();
        let back = |ms: &[u32], end: u32| {
            steady_after(&seen(start, ms, None), start + MS * end).map(|at| at.duration_since(start).as_millis())
        };
        assert_eq!(back(&[0, 100, 200, 300, 400], 0), Some(0));
        assert_eq!(back(&[0, 100, 200, 300, 400], 1), None);
        assert_eq!(back(&[0, 100, 200, 300, 900, 1000, 1100, 1200, 1300], 0), Some(900));
        assert_eq!(back(&[], 0), None);
    }

    #[test]
    fn pictures_that_were_taken_during_the_fault_do_not_count() {
        let start = Instant::now() + MS * 1000;
        let all = seen(start, &[0, 100, 200, 300, 400, 500, 600, 700], Some(MS * 250));
        assert_eq!(steady_after(&all, start), Some(start + MS * 300));
    }
}
