//! Video and audio over a connection.

use bytes::Bytes;
use rtc::peer_connection::configuration::RTCOfferOptions;
use rtc::peer_connection::sdp::RTCSessionDescription;

use super::*;
use crate::frame::{FrameView, PixelFormat, Stamp};
use crate::transport::{AudioHub, AudioPacket, Egress, EgressOptions, FrameSink, VideoCodec, now};

/// Counts frames by their brightness in the middle.
#[derive(Debug, Default)]
struct Screen {
    seen: Mutex<Vec<(u32, u32, u8)>>,
    came: Notify,
}

impl FrameSink for Screen {
    fn frame(&self, frame: &FrameView<'_>) {
        let row = frame.rows(0).nth(frame.height() as usize / 2);
        let luma = row.and_then(|r| r.get(r.len() / 2)).copied().unwrap_or(0);
        self.seen.lock().expect("no panic").push((frame.width(), frame.height(), luma));
        self.came.notify_one();
    }
}

impl Screen {
    async fn shows(&self, frames: usize) {
        let shown = async {
            while self.seen.lock().expect("no panic").len() < frames {
                self.came.notified().await;
            }
        };
        timeout(LONG, shown).await.unwrap_or_else(|_| {
            panic!("{frames} frames do not come, but {:?}", self.seen.lock().expect("no panic").len());
        });
    }
}

/// Shows pictures of increasing brightness, 30 per second, until it is dropped.
struct Film {
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Film {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn film(egress: &Egress) -> Film {
    let egress = egress.clone();
    let task = tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(33));
        for number in 0_u32.. {
            tick.tick().await;
            let brightness = (40 + number % 160) as u8;
            let pixels = vec![brightness; 64 * 48 * 3];
            let view = FrameView::packed(PixelFormat::Rgb8, 64, 48, &pixels).expect("a picture");
            egress.show(&view.with_stamp(Stamp { timestamp: now(), tag: 0 }));
        }
    });
    Film { task }
}

fn sees(screen: &Arc<Screen>) -> Media {
    Media { video_in: Some(screen.clone()), ..Media::default() }
}

fn shows(egress: &Egress) -> Media {
    Media { video_out: Some(egress.clone()), ..Media::default() }
}

#[test]
fn a_publishers_pictures_become_frames() {
    run(async {
        let (egress, screen) = (Egress::new(EgressOptions::default()), Arc::new(Screen::default()));
        let (publisher, server) = connect(shows(&egress), sees(&screen)).await;
        let _film = film(&egress);
        screen.shows(20).await;
        let seen = screen.seen.lock().expect("no panic").clone();
        assert!(seen.iter().all(|(width, height, _)| (*width, *height) == (64, 48)));
        assert!(seen.windows(2).filter(|w| w[1].2 >= w[0].2).count() >= seen.len() - 2, "they come in order: {seen:?}");
        let (sent, received) = (publisher.stats(), server.stats());
        assert!(sent.packets_out > 0 && received.packets_in > 0 && received.bytes_in > 0);
        assert_eq!((sent.codec_out, received.codec_in), (Some(VideoCodec::H264), Some(VideoCodec::H264)));
        assert!(received.video_in.expect("video came").frames.total >= 20);
    });
}

#[test]
fn two_viewers_share_an_egress_and_a_late_one_starts_immediately() {
    run(async {
        let egress = Egress::new(EgressOptions::default());
        let _film = film(&egress);
        let (first, second) = (Arc::new(Screen::default()), Arc::new(Screen::default()));
        let (_a, _b) = connect(sees(&first), shows(&egress)).await;
        first.shows(10).await;
        let (viewer, server) = connect(sees(&second), shows(&egress)).await;
        second.shows(10).await;
        assert_eq!(egress.viewers(), 2);
        // Without a data channel, each side also notices that the other closes.
        viewer.close().await;
        reaches(&server, PeerState::Closed).await;
    });
}

#[test]
fn a_viewers_request_for_a_key_frame_reaches_the_egress() {
    run(async {
        let (egress, screen) = (Egress::new(EgressOptions::default()), Arc::new(Screen::default()));
        let (viewer, server) = connect(sees(&screen), shows(&egress)).await;
        let _film = film(&egress);
        screen.shows(2).await;
        // A viewer that cannot decode anything until the next key frame.
        let ingest = match &*lock(&viewer.link.shared.video) {
            shared::Video::Running(ingest) => ingest.clone(),
            shared::Video::None | shared::Video::Ended(_) => panic!("video runs"),
        };
        let asked = async {
            let mut tick = tokio::time::interval(Duration::from_millis(50));
            while server.stats().key_frames_asked == 0 {
                tick.tick().await;
                let broken = Bytes::from_static(&[0, 0, 0, 1, 0x65, 0xff, 0xff, 0xff]);
                ingest.access_unit(crate::transport::AccessUnit::new(broken, true, now()));
            }
        };
        timeout(LONG, asked).await.expect("the viewer asks");
        let so_far = screen.seen.lock().expect("no panic").len();
        screen.shows(so_far + 5).await;
    });
}

#[test]
fn audio_is_forwarded_unchanged_both_ways_with_video() {
    run(async {
        let (egress, screen) = (Egress::new(EgressOptions::default()), Arc::new(Screen::default()));
        let (from, to) = (AudioHub::default(), AudioHub::default());
        let mut heard = to.subscribe();
        let offering = Media { audio_out: Some(from.clone()), ..shows(&egress) };
        let answering = Media { audio_in: Some(to.clone()), ..sees(&screen) };
        let (_publisher, server) = connect(offering, answering).await;
        let _film = film(&egress);
        let speak = async {
            let mut tick = tokio::time::interval(Duration::from_millis(20));
            for number in 0_u32.. {
                tick.tick().await;
                let data = Bytes::from(format!("opus {number}"));
                from.send(AudioPacket { data, timestamp: number * 960, at: now() });
            }
        };
        let listen = async {
            let first = heard.next().await.expect("sound comes");
            let second = heard.next().await.expect("sound comes");
            let number = |p: &AudioPacket| {
                String::from_utf8_lossy(&p.data)
                    .strip_prefix("opus ")
                    .and_then(|n| n.parse::<u32>().ok())
                    .expect("whole")
            };
            let (before, after) = (number(&first), number(&second));
            assert!(after > before);
            assert_eq!(second.timestamp.wrapping_sub(first.timestamp), (after - before) * 960);
        };
        tokio::select! {
            () = speak => {}
            heard = timeout(LONG, listen) => heard.expect("sound comes in time"),
        }
        let audio = server.stats().audio_in.expect("statistics of the sound");
        assert!(audio.packets >= 2 && audio.last_packet_at > crate::Timestamp(0), "{audio:?}");
        screen.shows(5).await;
    });
}

#[test]
fn one_section_carries_pictures_both_ways() {
    run(async {
        let (there, back) = (Egress::new(EgressOptions::default()), Egress::new(EgressOptions::default()));
        let (near, far) = (Arc::new(Screen::default()), Arc::new(Screen::default()));
        let offering = Media { video_out: Some(there.clone()), ..sees(&near) };
        let answering = Media { video_out: Some(back.clone()), ..sees(&far) };
        let (_client, _server) = connect(offering, answering).await;
        let _films = (film(&there), film(&back));
        near.shows(5).await;
        far.shows(5).await;
    });
}

/// Restarts ICE on the side that made the offer, as a browser does; returns the fragment for the other side.
async fn begin_restart(peer: &Peer) -> Fragment {
    let shared = &peer.link.shared;
    let mut gathering = shared.gathering.subscribe();
    let before = gathering.borrow_and_update().completed;
    let offer = shared.connection.create_offer(Some(RTCOfferOptions { ice_restart: true })).await.expect("an offer");
    shared.connection.set_local_description(offer).await.expect("it is used");
    let gathered = gathering.wait_for(|gathering| gathering.completed > before);
    timeout(LONG, gathered).await.expect("in time").expect("candidates");
    let written = shared.connection.local_description().await.expect("a description").sdp;
    let own = Description::parse(&written).expect("our own");
    let section = own.live().next().expect("a section");
    let (ufrag, pwd, candidates) = (section.ufrag.clone(), section.pwd.clone(), section.candidates.clone());
    Fragment { ufrag, pwd, candidates, complete: true }
}

/// Puts the credentials and candidates of a fragment into an answer.
fn with_credentials(answer: &str, fragment: &Fragment) -> String {
    let value = |value: &Option<String>| value.clone().expect("it has credentials");
    let mut lines = Vec::new();
    for line in answer.lines().filter(|line| !line.contains("candidate")) {
        lines.push(match line.split_once(':') {
            Some(("a=ice-ufrag", _)) => format!("a=ice-ufrag:{}", value(&fragment.ufrag)),
            Some(("a=ice-pwd", _)) => format!("a=ice-pwd:{}", value(&fragment.pwd)),
            _ => line.to_owned(),
        });
        if line.starts_with("a=mid:") {
            lines.extend(fragment.candidates.iter().map(|candidate| format!("a={}", candidate.text)));
        }
    }
    lines.into_iter().map(|line| line + "\r\n").collect()
}

#[test]
fn pictures_flow_on_through_ice_restarts() {
    run(async {
        let (egress, screen) = (Egress::new(EgressOptions::default()), Arc::new(Screen::default()));
        let (client, offer) = Peer::offer(shows(&egress), &loopback()).await.expect("an offer");
        let (server, answer) = Peer::answer(&offer, sees(&screen), &loopback()).await.expect("an answer");
        client.set_answer(&answer).await.expect("the answer fits");
        reaches(&client, PeerState::Connected).await;
        reaches(&server, PeerState::Connected).await;
        let mut states = [client.states(), server.states()];
        states.iter_mut().for_each(|states| drop(states.borrow_and_update()));
        let _film = film(&egress);
        screen.shows(10).await;
        // After the last, for longer than the timeout of a silent peer.
        for pictures in [20, 20, 180] {
            let tag = server.ice_tag();
            let fragment = begin_restart(&client).await;
            assert!(server.is_restart(&fragment));
            let reply = server.restart(&fragment).await.expect("it is up").expect("it answered");
            let reply = Fragment::parse(&reply).expect("a fragment");
            assert_ne!(server.ice_tag(), tag);
            let answer = RTCSessionDescription::answer(with_credentials(&answer, &reply)).expect("an answer");
            client.link.shared.connection.set_remote_description(answer).await.expect("it is taken");
            let so_far = screen.seen.lock().expect("no panic").len();
            screen.shows(so_far + pictures).await;
        }
        assert!(states.iter().all(|states| !states.has_changed().expect("it lives")), "nobody was disconnected");
    });
}
