//! Publishers, servers and viewers over links that lose packets, and with much that changes meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dreamframe::transport::peer::PeerState;
use dreamframe::transport::{Client, Egress, EgressOptions, FrameSink, play, publish, serve};
use dreamframe_tests::frames::demo_engine;
use dreamframe_tests::network::{
    Drawn, Echo, Proxy, Screen, Shown, Source, Talk, client_options, longest_gap, serve_options,
};
use serde_json::{Value, json};

/// Longer than anything here takes, on the busiest machine.
const LONG: Duration = Duration::from_secs(90);
/// How long pictures may stay away where nothing is wrong. Far more than is asked, for machines with other work to do;
/// far less than it takes to connect again, or until a key frame comes unasked.
const PATIENCE: Duration = Duration::from_secs(5);

const SIZE: (u32, u32) = (256, 256);
const RATE: f64 = 30.0;

fn egress() -> Egress {
    Egress::new(EgressOptions::default())
}

fn publisher(url: &str, source: &Egress) -> Client {
    connected(publish(url, client_options(), source.clone()).unwrap())
}

fn viewer(url: &str, screen: &Arc<Screen>) -> Client {
    connected(play(url, client_options(), screen.clone() as Arc<dyn FrameSink>).unwrap())
}

fn connected(client: Client) -> Client {
    client.wait_for(PeerState::Connected, LONG).unwrap();
    client
}

/// Waits until the source has shown a number of further pictures; returns those that were seen meanwhile.
fn seen_of(count: u64, source: &Source, screen: &Screen) -> Vec<Shown> {
    let end = source.count() + count;
    drop(screen.take());
    // One that is seen wakes it; where none is, it looks again.
    while source.count() < end {
        screen.wait_until(Duration::from_millis(20), |_| false);
    }
    screen.take()
}

fn come(screen: &Screen, count: usize) {
    drop(screen.take());
    assert!(screen.wait_until(LONG, |seen| seen.len() >= count), "{count} pictures do not come");
}

#[test]
fn a_link_that_loses_every_twentieth_packet_shows_nearly_all_and_nothing_broken() {
    let (server, _egress) = Echo::serve(&serve_options()).unwrap();
    let (near, far) = (Proxy::start(server.addr(), 5).unwrap(), Proxy::start(server.addr(), 6).unwrap());
    let (drawn, sent) = (Arc::new(Drawn::default()), egress());
    let (screen, source) = (Screen::new(&drawn), Source::start(&sent, SIZE, RATE, &drawn));
    let _publisher = publisher(&near.url("/whip"), &sent);
    let _viewer = viewer(&far.url("/whep"), &screen);
    come(&screen, 30);
    for proxy in [&near, &far] {
        proxy.conditions().set_loss(50);
        proxy.conditions().set_delay(Duration::from_millis(10));
    }
    let start = Instant::now();
    let seen = seen_of(150, &source, &screen);
    let (gap, numbers) = (longest_gap(&seen, start, Instant::now()), numbers(&seen));
    assert!([near, far].iter().all(|proxy| proxy.conditions().counts().1 > 0), "packets are lost");
    assert!(gap < PATIENCE && numbers.len() >= 100, "{} of 150 pictures, longest gap {gap:?}", numbers.len());
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
}

/// The numbers of pictures, all of which can be read.
fn numbers(seen: &[Shown]) -> Vec<u16> {
    let mut numbers: Vec<_> = seen.iter().map(|shown| shown.number.expect("the picture is whole")).collect();
    numbers.dedup();
    numbers
}

#[test]
fn pictures_come_back_when_a_link_that_was_dark_is_not() {
    let (server, _egress) = Echo::serve(&serve_options()).unwrap();
    let (near, far) = (Proxy::start(server.addr(), 7).unwrap(), Proxy::start(server.addr(), 8).unwrap());
    let (drawn, sent) = (Arc::new(Drawn::default()), egress());
    let (screen, source) = (Screen::new(&drawn), Source::start(&sent, SIZE, RATE, &drawn));
    let publisher = publisher(&near.url("/whip"), &sent);
    let viewer = viewer(&far.url("/whep"), &screen);
    for proxy in [&near, &far] {
        come(&screen, 30);
        proxy.conditions().set_dark(true);
        // What is on its way still comes.
        let seen = seen_of(90, &source, &screen);
        assert!(seen.len() < 30, "{} pictures in the dark", seen.len());
        proxy.conditions().set_dark(false);
        assert!(screen.next_new(PATIENCE).is_some(), "the pictures come back");
    }
    assert!(numbers(&screen.take()).len() < 60, "none is shown that was taken in the dark");
    assert_eq!((publisher.state(), viewer.state()), (PeerState::Connected, PeerState::Connected));
    assert_eq!(server.whep().viewers(), 1);
}

#[test]
fn publisher_can_change_the_size_of_its_pictures() {
    let (server, _egress) = Echo::serve(&serve_options()).unwrap();
    let (drawn, sent) = (Arc::new(Drawn::default()), egress());
    let (screen, source) = (Screen::new(&drawn), Source::start(&sent, (640, 360), RATE, &drawn));
    let _publisher = publisher(&server.whip_url(), &sent);
    let _viewer = viewer(&server.whep_url(), &screen);
    for size in [(640, 360), (320, 180), (1280, 720), (96, 320), (640, 360)] {
        source.resize(size.0, size.1);
        let shows =
            |seen: &[Shown]| seen.iter().filter(|shown| shown.size == size && shown.number.is_some()).count() >= 5;
        assert!(screen.wait_until(LONG, shows), "{size:?} does not come");
        let seen = screen.take();
        assert!(seen.iter().all(|shown| shown.number.is_some()), "each is whole: {seen:?}");
    }
}

#[test]
fn session_size_is_independent_of_the_publishers() {
    let server = serve(demo_engine(64, |_, _| ()), serve_options()).unwrap();
    let (drawn, sent) = (Arc::new(Drawn::default()), egress());
    let (screen, source) = (Screen::new(&drawn), Source::start(&sent, (640, 360), RATE, &drawn));
    let publisher = publisher(&server.whip_url(), &sent);
    let _viewer = viewer(&server.whep_url(), &screen);
    for (width, height) in [(640, 360), (320, 180), (1280, 720), (96, 320)] {
        source.resize(width, height);
        let decodes = || publisher_decodes(&server, (width, height));
        assert!(screen.wait_until(LONG, |_| decodes()), "{width}x{height} does not come");
        come(&screen, 5);
        assert!(screen.take().iter().all(|shown| shown.size == (64, 64)));
    }
    assert_eq!(publisher.state(), PeerState::Connected);
}

/// Whether the server now decodes frames of this size.
fn publisher_decodes(server: &dreamframe::transport::Server, size: (u32, u32)) -> bool {
    let video = server.whip().publisher().and_then(|peer| peer.stats().video_in);
    video.is_some_and(|video| (video.width, video.height) == size)
}

#[test]
fn a_thousand_patches_while_pictures_flow_freeze_nothing() {
    const PATCHES: u32 = 1000;
    let server = serve(demo_engine(64, |_, options| options.threads = Some(1)), serve_options()).unwrap();
    let (drawn, sent) = (Arc::new(Drawn::default()), egress());
    let (screen, source) = (Screen::new(&drawn), Source::start(&sent, SIZE, RATE, &drawn));
    let talk = Talk::new();
    let options = client_options().with_channel(Some(talk.clone()));
    let _publisher = connected(publish(&server.whip_url(), options, sent).unwrap());
    let _viewer = viewer(&server.whep_url(), &screen);
    come(&screen, 30);
    drop(screen.take());
    let start = Instant::now();
    for number in 1..=PATCHES {
        let patch = match number % 4 {
            0 => json!({"prompt": format!("scene {number}"), "seed": number}),
            1 => json!({"guidance_scale": 1.0 + f64::from(number % 10) / 10.0}),
            2 => json!({"t_index_list": if number % 8 == 2 { json!([25]) } else { json!([20, 30]) }}),
            _ => json!({"delta": f64::from(number) / 1000.0}),
        };
        talk.say(&patch);
    }
    // What comes faster than it may is joined, and answered together.
    let (mut version, mut seed) = (0, Value::Null);
    while seed != PATCHES {
        let applied = talk.next_of(&["parameters_applied", "error"], LONG);
        assert_eq!(applied["type"], "parameters_applied", "{applied}");
        assert!(applied["version"].as_u64() > Some(version), "{applied}");
        version = applied["version"].as_u64().unwrap();
        seed = applied["parameters"]["seed"].clone();
    }
    let seen = screen.take();
    let gap = longest_gap(&seen, start, Instant::now());
    assert!(gap < PATIENCE, "{} pictures, longest gap {gap:?}", seen.len());
    come(&screen, 10);
    let params = server.session().params().to_value();
    assert_eq!((&params["prompt"], &params["delta"]), (&json!(format!("scene {PATCHES}")), &json!(0.999)));
    assert_eq!(params["seed"], PATCHES);
    drop(source);
}
