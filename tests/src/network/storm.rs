//! Clients of a server over HTTP that misbehave: they make offers and go, send half a request, or do not read.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dreamframe::transport::peer::{Media, Peer};
use dreamframe::transport::{Egress, EgressOptions};
use dreamframe::{Error, ErrorKind, Result};

use super::random::Random;
use super::{Drawn, Screen, loopback};

/// The longest time for an answer.
const LIMIT: Duration = Duration::from_secs(5);
/// Requests of a client that does not read.
const PIPELINED: usize = 500;

/// Offers that nothing stands behind.
#[derive(Debug, Clone)]
pub struct Offers {
    whip: String,
    whep: String,
}

impl Offers {
    /// Makes them.
    ///
    /// # Errors
    ///
    /// Those of [`Peer::offer`]; `Device` if there is no thread.
    pub fn make() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|e| Error::new(ErrorKind::Device, "failed to start a thread").with_source(e))?;
        let offer = |media: Media| {
            runtime.block_on(async {
                let (peer, offer) = Peer::offer(media, &loopback()).await?;
                peer.close().await;
                Ok::<_, Error>(offer)
            })
        };
        let (egress, screen) = (Egress::new(EgressOptions::default()), Screen::new(&Arc::new(Drawn::default())));
        Ok(Self {
            whip: offer(Media { video_out: Some(egress), ..Media::default() })?,
            whep: offer(Media { video_in: Some(screen), ..Media::default() })?,
        })
    }
}

/// Where misbehaving clients send their requests.
#[derive(Debug, Clone)]
pub struct Target {
    /// The address of the server.
    pub server: SocketAddr,
    /// The path to publish to; offers there are abandoned, and must not end the publication.
    pub whip: String,
    /// The path to watch.
    pub whep: String,
    /// The path of a large response.
    pub page: String,
    /// The offers.
    pub offers: Offers,
}

impl Target {
    fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self.server)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        Ok(stream)
    }

    fn head(&self, method: &str, path: &str, length: usize) -> String {
        let server = self.server;
        format!(
            "{method} {path} HTTP/1.1\r\nhost: {server}\r\ncontent-type: application/sdp\r\ncontent-length: {length}\r\n\r\n"
        )
    }

    /// Posts an offer, and reads the answer if `read`.
    fn offer(&self, path: &str, offer: &str, read: bool) -> io::Result<TcpStream> {
        let mut stream = self.connect()?;
        write!(stream, "{}{offer}", self.head("POST", path, offer.len()))?;
        if read {
            // Enough of it to know that the session exists.
            let _ = stream.read(&mut [0; 64])?;
        }
        Ok(stream)
    }

    /// Opens connections for `duration`, and abandons all. Refused ones are not errors: a server may have limits.
    pub fn storm(&self, connections: u32, duration: Duration, seed: u64) {
        let (mut random, start, mut open) = (Random::new(seed), Instant::now(), Vec::new());
        for number in 0..connections {
            let made = match random.below(20) {
                0..4 => self.connect(),
                4..8 => self.partly("POST", random.below(200) as usize),
                8..10 => self.connect().and_then(|mut stream| {
                    let length = random.between(1, 500);
                    stream.write_all(&random.bytes(length).collect::<Vec<_>>()).map(|()| stream)
                }),
                10..13 => self.offer(&self.whep, &self.offers.whep, false),
                13..16 => self.offer(&self.whep, &self.offers.whep, true),
                16..18 => self.offer(&self.whep, "v=0\r\n", true),
                18 => self.offer(&self.whip, "", true),
                _ => self.offer(&self.whip, &self.offers.whip, true),
            };
            // Half of them stay until the end.
            open.extend(made.ok().filter(|_| random.is_one_of(500)));
            let due = start + duration * (number + 1) / connections;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }

    /// Sends a part of a request.
    fn partly(&self, method: &str, length: usize) -> io::Result<TcpStream> {
        let mut stream = self.connect()?;
        let request = format!("{}{}", self.head(method, &self.whep, self.offers.whep.len()), self.offers.whep);
        stream.write_all(&request.as_bytes()[..length.min(request.len())])?;
        Ok(stream)
    }

    /// Makes requests on connections whose responses are not read for `duration`.
    pub fn read_slowly(&self, connections: u32, duration: Duration) {
        let request = self.head("GET", &self.page, 0);
        let start = Instant::now();
        let open: Vec<_> = (0..connections)
            .filter_map(|_| {
                let mut stream = self.connect().ok()?;
                stream.set_nonblocking(true).ok()?;
                // Until the server reads no more, since it cannot write.
                let _ = (0..PIPELINED).try_for_each(|_| stream.write_all(request.as_bytes()));
                Some(stream)
            })
            .collect();
        std::thread::sleep(duration.saturating_sub(start.elapsed()));
        drop(open);
    }
}
