//! Sessions that are opened and dropped, half of them with a `DELETE`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use dreamframe::transport::peer::PeerState;
use dreamframe::transport::{Egress, EgressOptions, play, publish};
use dreamframe::{Error, ErrorKind, Result};

use super::{Drawn, Proxy, Screen, Source, client_options};

/// Longer than connecting takes.
const LONG: Duration = Duration::from_secs(60);

/// Where sessions are opened.
#[derive(Debug, Clone)]
pub struct Sessions {
    /// The address of the server.
    pub server: SocketAddr,
    /// The paths to publish to. Sessions of one path are opened one after another, since a publisher replaces another.
    pub whip: Vec<String>,
    /// The path to watch.
    pub whep: String,
}

/// Opens and drops `count` sessions, in turn a publisher and a viewer, as many at a time as there are paths to publish
/// to. Each is dropped once it is connected: two with a `DELETE`, the next two without a message. `progress` receives the
/// number of those that have ended.
///
/// # Errors
///
/// That of the first session that is not connected; the others are completed.
pub fn open_and_drop(sessions: &Sessions, count: u32, progress: &(dyn Fn(u32) + Sync)) -> Result<()> {
    let (next, ended, egress) = (AtomicU32::new(0), AtomicU32::new(0), Egress::new(EgressOptions::default()));
    let drawn = Arc::new(Drawn::default());
    let source = Source::start(&egress, (64, 64), 10.0, &drawn);
    let work = |whip: &str| loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= count {
            return Ok(());
        }
        open(sessions, whip, &egress, number)?;
        progress(ended.fetch_add(1, Ordering::Relaxed) + 1);
    };
    let result = thread::scope(|scope| {
        let workers: Vec<_> = sessions.whip.iter().map(|whip| scope.spawn(|| work(whip))).collect();
        let panicked = || Err(Error::new(ErrorKind::Internal, "a thread that opens sessions panicked"));
        // All have ended before any failure is returned.
        let results: Vec<_> = workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| panicked())).collect();
        results.into_iter().collect()
    });
    drop(source);
    result
}

/// Opens one session and drops it.
fn open(sessions: &Sessions, whip: &str, egress: &Egress, number: u32) -> Result<()> {
    let proxy = Proxy::start(sessions.server, number.into())
        .map_err(|error| Error::new(ErrorKind::Io, "no port is available for a proxy").with_source(error))?;
    let client = if number.is_multiple_of(2) {
        publish(&proxy.url(whip), client_options(), egress.clone())?
    } else {
        play(&proxy.url(&sessions.whep), client_options(), Screen::new(&Arc::new(Drawn::default())))?
    };
    let connected = client.wait_for(PeerState::Connected, LONG);
    if (number / 2).is_multiple_of(2) {
        client.stop();
    } else {
        // Without the proxy nothing that the client sends arrives.
        proxy.conditions().set_dark(true);
        drop(proxy);
        client.stop();
    }
    connected
}
