//! Two connections with each other, over loopback.

mod lifetime;
mod media;
mod offers;

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, broadcast};
use tokio::time::timeout;

use super::*;
use crate::transport::ChannelHandler;

/// Timeout that no test reaches.
const LONG: Duration = Duration::from_secs(30);

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async { timeout(3 * LONG, test).await.expect("the test hangs") })
}

fn loopback() -> PeerOptions {
    PeerOptions { bind: vec![[127, 0, 0, 1].into()], ..PeerOptions::default() }
}

async fn reaches(peer: &Peer, wanted: PeerState) {
    let mut states = peer.states();
    let seen = timeout(LONG, states.wait_for(|s| *s == wanted || s.is_over())).await;
    let seen = *seen.expect("the state comes in time").expect("a peer has a state");
    assert_eq!(seen, wanted);
}

async fn connect(offering: Media, answering: Media) -> (Peer, Peer) {
    connect_by(offering, answering, |text| text).await
}

/// Like [`connect`], with a change of the offer.
async fn connect_by(offering: Media, answering: Media, change: impl FnOnce(String) -> String) -> (Peer, Peer) {
    let (client, offer) = Peer::offer(offering, &loopback()).await.expect("an offer");
    let (server, answer) = Peer::answer(&change(offer), answering, &loopback()).await.expect("an answer");
    client.set_answer(&answer).await.expect("the answer fits");
    reaches(&client, PeerState::Connected).await;
    reaches(&server, PeerState::Connected).await;
    (client, server)
}

/// Answers each message with itself in upper case, and records the messages.
#[derive(Debug)]
struct Shouter {
    heard: Mutex<Vec<String>>,
    notices: broadcast::Sender<String>,
    came: Notify,
}

impl Shouter {
    fn new() -> Arc<Self> {
        Arc::new(Self { heard: Mutex::default(), notices: broadcast::Sender::new(8), came: Notify::new() })
    }

    async fn hears(&self, wanted: &str) {
        let heard = async {
            loop {
                let came = self.came.notified();
                if self.heard.lock().expect("no panic").iter().any(|m| m == wanted) {
                    return;
                }
                came.await;
            }
        };
        timeout(LONG, heard).await.unwrap_or_else(|_| panic!("{wanted:?} does not come"));
    }
}

impl ChannelHandler for Shouter {
    fn message(&self, text: &str) -> Vec<String> {
        self.heard.lock().expect("no panic").push(text.to_owned());
        self.came.notify_one();
        if text == text.to_uppercase() { Vec::new() } else { vec![text.to_uppercase()] }
    }

    fn notices(&self) -> Option<broadcast::Receiver<String>> {
        Some(self.notices.subscribe())
    }
}

fn talking(handler: &Arc<Shouter>) -> Media {
    Media { channel: Some(handler.clone()), ..Media::default() }
}

#[test]
fn messages_are_answered_and_notices_wait_until_the_channel_opens() {
    run(async {
        let (client, server) = (Shouter::new(), Shouter::new());
        let (ours, offer) = Peer::offer(talking(&client), &loopback()).await.expect("an offer");
        let (theirs, answer) = Peer::answer(&offer, talking(&server), &loopback()).await.expect("an answer");
        client.notices.send("hello".to_owned()).expect("the connection listens");
        server.notices.send("early".to_owned()).expect("the connection listens");
        ours.set_answer(&answer).await.expect("the answer fits");
        server.hears("hello").await;
        client.hears("HELLO").await;
        client.hears("early").await;
        server.hears("EARLY").await;
        drop((ours, theirs));
    });
}
