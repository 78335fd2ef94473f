//! How soon a change shows: over HTTP and over the data channel.

use std::sync::Arc;

use dreamframe::transport::peer::PeerState;
use dreamframe::transport::{Egress, EgressOptions, play, publish};
use dreamframe_tests::network::{Drawn, Screen, Source, Talk, client_options};
use serde_json::{Value, json};

use crate::client::Server;
use crate::life::PATIENCE;

const SIDE: u32 = 128;
/// Slow, since frames are counted and not time: a machine with other work to do drops none.
const RATE: f64 = 4.0;
/// In how many frames a change shows.
const FRAMES: u64 = 3;

#[test]
fn a_change_shows_within_three_frames_by_http_and_by_data_channel() {
    let server = Server::start();
    // So much noise that nothing of a frame is left.
    let params = json!({"width": SIDE, "height": SIDE, "t_index_list": [0], "skip_diffusion": true});
    let stream = server.create(&json!({ "params": params }));
    let whip = stream["whip_url"].as_str().unwrap();
    let (drawn, egress) = (Arc::new(Drawn::default()), Egress::new(EgressOptions::default()));
    let (screen, _source) = (Screen::new(&drawn), Source::start(&egress, (SIDE, SIDE), RATE, &drawn));
    let talk = Talk::new();
    let options = client_options().with_channel(Some(talk.clone()));
    let publisher = publish(whip, options, egress).unwrap();
    publisher.wait_for(PeerState::Connected, PATIENCE).unwrap();
    let _viewer = play(&whip.replace("/whip", "-out/whep"), client_options(), screen.clone()).unwrap();
    let come = |frames: bool| {
        drop(screen.take());
        let shows = screen.wait_until(PATIENCE, |seen| {
            seen.len() >= 4 && seen[seen.len() - 4..].iter().all(|shown| shown.number.is_some() == frames)
        });
        assert!(shows, "pictures that are frames, or not: {frames}: {:?}", screen.take());
    };
    come(true);
    let path = format!("/v1/streams/{}", stream["id"].as_str().unwrap());
    let change = |way: &str, params: Value| {
        if way == "HTTP" {
            assert_eq!(server.json("PATCH", &path, &json!({ "params": params })).status, 200);
        } else {
            talk.say(&params);
            let answer = talk.next_of(&["parameters_applied", "error"], PATIENCE);
            assert_eq!(answer["type"], "parameters_applied", "{answer}");
        }
    };
    for way in ["HTTP", "data channel"].into_iter().cycle().take(8) {
        // From frames to pictures and back; what is counted is the frames that are numbered.
        change(way, json!({"skip_diffusion": false}));
        let told = drawn.count();
        let mut last = 0;
        let went = screen.wait_until(PATIENCE, |seen| {
            last = seen.iter().filter_map(|shown| shown.number).max().map_or(last, u64::from);
            seen.last().is_some_and(|shown| shown.number.is_none())
        });
        assert!(went && last < told + FRAMES, "{way}: frame {last} shows, of {told} before the change");
        come(false);
        change(way, json!({"skip_diffusion": true}));
        let told = drawn.count();
        let mut first = 0;
        let came = screen.wait_until(PATIENCE, |seen| {
            first = seen.iter().find_map(|shown| shown.number).map_or(first, u64::from);
            first > 0
        });
        assert!(came && first < told + FRAMES, "{way}: frame {first} is the first, of {told} before the change");
        come(true);
    }
}
