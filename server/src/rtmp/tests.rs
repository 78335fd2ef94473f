//! Both sides of the protocol connected to each other, without a network.

use dreamframe::ErrorKind;
use proptest::prelude::*;

use super::amf::Value;
use super::flv::{AudioReader, VideoReader};
use super::publisher::{Event, Publisher};
use super::subscriber::Subscriber;
use super::wire::{Input, Wire};
use super::{PushedSound, RtmpError, Target};
use crate::media::coded::testing::{steady, units};
use crate::sound::Format;

fn target(url: &str) -> Target {
    Target::parse(url).unwrap()
}

/// Transfers bytes in both directions until neither side has more; returns what the server received.
fn settle(client: &mut Subscriber, server: &mut Publisher, accept: bool) -> Result<Vec<Event>, RtmpError> {
    let mut events = Vec::new();
    loop {
        let (up, down) = (client.take_output(), server.take_output());
        if up.is_empty() && down.is_empty() {
            return Ok(events);
        }
        // In pieces, as on a network.
        for piece in up.chunks(1460) {
            server.push(piece)?;
            while let Some(event) = server.next()? {
                match &event {
                    Event::Wants(_) if accept => server.accept(),
                    Event::Wants(_) => server.refuse("no stream has this key"),
                    Event::Video(_) | Event::Audio(..) | Event::Ended => {}
                }
                events.push(event);
            }
        }
        for piece in down.chunks(1460) {
            client.push(piece)?;
        }
    }
}

#[test]
fn pushed_pictures_arrive_unchanged_with_silent_audio() {
    let mut client = Subscriber::new(target("rtmp://host/aiWebrtc/stk_1?token=a/b"));
    let mut server = Publisher::new();
    let events = settle(&mut client, &mut server, true).unwrap();
    assert!(matches!(&events[..], [Event::Wants(key)] if key == "stk_1"), "{events:?}");
    assert!(client.is_ready());
    let units = units(64, &steady(40, 100, 20));
    // Those before the first key frame are useless.
    for unit in units[1..].iter() {
        client.picture(&unit.data, unit.key, (unit.at.0 / 1_000_000) as u32, None).unwrap();
    }
    client.end();
    let (mut reader, mut pictures, mut sounds, mut ended) = (VideoReader::default(), Vec::new(), 0, false);
    for event in settle(&mut client, &mut server, true).unwrap() {
        match event {
            Event::Video(tag) => pictures.extend(reader.read(&tag).unwrap()),
            Event::Audio(..) => sounds += 1,
            Event::Ended => ended = true,
            Event::Wants(key) => panic!("{key} was asked for again"),
        }
    }
    let sent: Vec<_> = units[20..].iter().map(|unit| (unit.data.clone(), unit.key)).collect();
    let arrived: Vec<_> = pictures.into_iter().map(|picture| (picture.data, picture.key)).collect();
    let first = arrived.iter().zip(&sent).position(|(arrived, sent)| arrived != sent);
    assert_eq!((arrived.len(), first), (sent.len(), None), "how many arrived, and the first that is not as it was");
    // The description, and a frame of 1024 samples at 44.1 kHz for each that begins within 3.9 seconds.
    assert_eq!(sounds, 1 + 169);
    assert!(ended);
}

/// The sound that the server received: what starts with each format, and its times.
fn heard(events: Vec<Event>) -> Vec<(Format, Vec<u32>)> {
    let (mut reader, mut heard) = (AudioReader::default(), Vec::<(Format, Vec<u32>)>::new());
    for event in events {
        let Event::Audio(tag, time) = event else { continue };
        let Some((format, _)) = reader.read(&tag).unwrap() else { continue };
        match heard.last_mut() {
            Some((known, times)) if *known == format => times.push(time),
            _ => heard.push((format, vec![time])),
        }
    }
    heard
}

#[test]
fn sound_takes_the_place_of_silence_and_silence_comes_back() {
    let (silent, aac) = (Format::aac(&[0x12, 0x10]).unwrap(), Format::aac(&[0x11, 0x88]).unwrap());
    let mut client = Subscriber::new(target("rtmp://host/live/k"));
    let mut server = Publisher::new();
    settle(&mut client, &mut server, true).unwrap();
    client.sound(&Format::Opus, &[1], 0);
    let mut show = |time: u32, sounds: &[(&Format, u32)]| {
        for (format, time) in sounds {
            client.sound(format, &[1], *time);
        }
        client.picture(&units(64, &[(0, true)])[0].data, true, time, None).unwrap();
        let pushed = client.pushed_sound(time);
        (pushed, heard(settle(&mut client, &mut server, true).unwrap()))
    };
    assert_eq!(show(0, &[]), (PushedSound::Silence, vec![(silent.clone(), vec![0])]));
    let (pushed, heard) = show(100, &[(&aac, 60), (&aac, 81)]);
    assert_eq!((pushed, heard), (PushedSound::Aac, vec![(aac, vec![60, 81])]));
    assert_eq!(show(2000, &[]).1, vec![]);
    let (pushed, heard) = show(2100, &[]);
    assert_eq!((pushed, heard), (PushedSound::Silence, vec![(silent, vec![2100])]));
    // This server accepts Opus.
    assert_eq!(show(2200, &[(&Format::Opus, 2150)]), (PushedSound::Opus, vec![(Format::Opus, vec![2150])]));
}

#[test]
fn opus_is_left_out_for_a_service_that_does_not_accept_it() {
    let mut client = Subscriber::new(target("rtmp://host/live/k"));
    client.picture(&units(64, &[(0, true)])[0].data, true, 0, None).unwrap();
    assert_eq!(client.pushed_sound(0), PushedSound::Silence);
    client.sound(&Format::Opus, &[1], 20);
    assert_eq!(client.pushed_sound(30), PushedSound::NotAccepted);
    assert_eq!(client.pushed_sound(3000), PushedSound::Silence, "the publisher sends none any more");
}

#[test]
fn an_unknown_key_is_refused_with_words_and_without_the_key() {
    let mut client = Subscriber::new(target("rtmp://host/live/secret"));
    let refused = settle(&mut client, &mut Publisher::new(), false).unwrap_err();
    assert!(matches!(&refused, RtmpError::Refused(said) if said.contains("no stream has this key")), "{refused}");
    assert!(!refused.to_string().contains("secret"));
    assert!(!client.is_ready());
}

#[test]
fn another_app_is_refused_and_nothing_is_sent_before_the_parameter_sets() {
    let refused = settle(&mut Subscriber::new(target("rtmp://host/vod/k")), &mut Publisher::new(), true).unwrap_err();
    assert!(matches!(refused, RtmpError::Refused(_)), "{refused}");
    let mut client = Subscriber::new(target("rtmp://host/live/k"));
    settle(&mut client, &mut Publisher::new(), true).unwrap();
    assert_eq!(client.picture(b"no units", true, 0, None).unwrap_err().kind(), ErrorKind::InvalidFrame);
    assert!(client.take_output().is_empty());
}

/// A peer after the handshake, which sends what the test specifies.
fn greeted(server: &mut Publisher) -> Wire {
    let mut peer = Wire::new();
    for _ in 0..2 {
        server.push(&peer.take_output()).unwrap();
        peer.push(&server.take_output()).unwrap();
    }
    peer
}

#[test]
fn commands_in_the_wrong_state_and_large_messages_are_rejected() {
    let text = |text: &str| Value::Text(text.to_owned());
    for (name, argument) in [("publish", text("k")), ("play", text("k"))] {
        let mut server = Publisher::new();
        let mut peer = greeted(&mut server);
        peer.command(name, 1.0, &[Value::Null, argument]);
        server.push(&peer.take_output()).unwrap();
        assert!(server.next().is_err(), "{name}");
    }
    let mut server = Publisher::new();
    let mut peer = greeted(&mut server);
    peer.video(0, vec![0x17; 200_000].into());
    server.push(&peer.take_output()).unwrap();
    assert!(matches!(server.next(), Err(RtmpError::TooLong(200_000))));
}

#[test]
fn ping_is_answered() {
    let mut server = Publisher::new();
    let mut peer = greeted(&mut server);
    server.push(&peer.take_output()).unwrap();
    while server.next().unwrap().is_some() {}
    server.take_output();
    // Chunk stream 2, message of kind 4: event 6, then a time.
    server.push(&[2, 0, 0, 0, 0, 0, 6, 4, 0, 0, 0, 0, 0, 6, 1, 2, 3, 4]).unwrap();
    assert!(server.next().unwrap().is_none());
    let answer = server.take_output();
    assert!(answer.ends_with(&[0, 7, 1, 2, 3, 4]), "{answer:?}");
    assert!(matches!(peer.next(), Ok(None) | Ok(Some(Input::Command(_)))));
}

proptest! {
    #[test]
    fn no_bytes_after_the_handshake_make_either_side_panic(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0..21_u8, Just(0)], 0..600),
    ) {
        super::fuzz_api::bytes(&bytes);
    }

    #[test]
    fn no_command_makes_either_side_panic(
        name in prop_oneof![Just("connect"), Just("publish"), Just("createStream"), Just("_result"), Just("onStatus"), Just("_error")],
        number in prop_oneof![0..6_u8, any::<u8>()],
        text in ".{0,20}",
    ) {
        let mut peer = Wire::new();
        peer.take_output();
        for argument in [Value::Null, Value::Text(text.clone()), Value::texts([("app", "live"), ("code", &text)])] {
            peer.command(name, number.into(), &[argument.clone(), argument]);
        }
        super::fuzz_api::bytes(&peer.take_output());
    }
}
