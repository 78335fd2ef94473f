//! Clients and servers over loopback: published frames reach viewers.

mod http;
mod pattern;
mod session;

use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::sync::Arc;

use self::pattern::{Echo, LONG, Seen};
use super::{ServeOptions, Server, serve_media};
use crate::ErrorKind;
use crate::transport::http::{End, Limits, SessionEvent};
use crate::transport::peer::{Media, PeerOptions, PeerState};
use crate::transport::{AudioHub, Client, ClientOptions, Egress, EgressOptions, play, publish};

fn loopback() -> PeerOptions {
    PeerOptions { bind: vec![Ipv4Addr::LOCALHOST.into()], ..PeerOptions::default() }
}

fn options() -> ServeOptions {
    ServeOptions { addr: (Ipv4Addr::LOCALHOST, 0).into(), peer: loopback(), ..ServeOptions::default() }
}

fn client_options() -> ClientOptions {
    ClientOptions { peer: loopback(), pause: std::time::Duration::from_millis(50), ..ClientOptions::default() }
}

fn egress() -> Egress {
    Egress::new(EgressOptions::default())
}

/// A server that shows what is published.
fn echo(options: &ServeOptions) -> Server<()> {
    let (egress, audio) = (egress(), AudioHub::default());
    let publisher =
        Media { video_in: Some(Arc::new(Echo(egress.clone()))), audio_in: Some(audio.clone()), ..Media::default() };
    let viewer = Media { video_out: Some(egress), audio_out: Some(audio), ..Media::default() };
    serve_media(publisher, viewer, options).unwrap()
}

fn connected(client: Client) -> Client {
    client.wait_for(PeerState::Connected, LONG).unwrap();
    client
}

#[test]
fn published_pictures_are_viewed_in_order() {
    let server = echo(&options());
    let (source, seen) = (egress(), Arc::new(Seen::default()));
    let mut whip = server.whip().events();
    let player = play(&server.whep_url(), client_options(), seen.clone()).unwrap();
    let publisher = connected(publish(&server.whip_url(), client_options(), source.clone()).unwrap());
    assert_eq!(publisher.playback_url(), Some(server.whep_url()));
    let numbers = seen.while_publishing(&source, 30);
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    assert!(publisher.stats().unwrap().packets_out > 0 && player.stats().unwrap().packets_in > 0);
    assert_eq!((publisher.state(), player.state()), (PeerState::Connected, PeerState::Connected));
    // A publisher that stops ends its session; viewers stay for the next one.
    publisher.stop();
    let ended =
        std::iter::from_fn(|| whip.blocking_recv().ok()).find(|event| matches!(event, SessionEvent::Ended { .. }));
    assert!(matches!(ended, Some(SessionEvent::Ended { reason: End::Deleted, .. })), "{ended:?}");
    assert_eq!((player.state(), server.whep().viewers()), (PeerState::Connected, 1));
    let next = connected(publish(&server.whip_url(), client_options(), source.clone()).unwrap());
    assert!(seen.while_publishing(&source, 5).len() >= 5);
    player.stop();
    assert_eq!(server.whep().viewers(), 0);
    drop((next, server));
}

#[test]
fn wrong_token_is_rejected() {
    let token = Some("right".to_owned());
    let server = echo(&ServeOptions { token: token.clone(), ..options() });
    for wrong in [None, Some("wrong".to_owned()), Some("right ly".to_owned())] {
        let client = publish(&server.whip_url(), ClientOptions { token: wrong, ..client_options() }, egress()).unwrap();
        client.wait_for(PeerState::Failed, LONG).unwrap();
        let error = client.wait_for(PeerState::Connected, LONG).unwrap_err();
        assert!(format!("{error:#}").contains("401"), "{error:#}");
    }
    let mut whip = server.whip().events();
    let client = connected(publish(&server.whip_url(), ClientOptions { token, ..client_options() }, egress()).unwrap());
    client.stop();
    // The request that ends the session was also accepted.
    let ended =
        std::iter::from_fn(|| whip.blocking_recv().ok()).find(|event| matches!(event, SessionEvent::Ended { .. }));
    assert!(matches!(ended, Some(SessionEvent::Ended { reason: End::Deleted, .. })), "{ended:?}");
}

#[test]
fn client_reconnects_to_a_restarted_server() {
    let first = echo(&options());
    let (addr, url) = (first.addr(), first.whip_url());
    let (source, seen) = (egress(), Arc::new(Seen::default()));
    let publisher = connected(publish(&url, client_options(), source.clone()).unwrap());
    let player = connected(play(&first.whep_url(), client_options(), seen.clone()).unwrap());
    first.stop();
    publisher.wait_for(PeerState::Disconnected, LONG).unwrap();
    let second = echo(&ServeOptions { addr, ..options() });
    let (publisher, player) = (connected(publisher), connected(player));
    assert!(seen.while_publishing(&source, 5).len() >= 5);
    drop((publisher, player, second));
}

#[test]
fn viewers_of_a_server_are_limited() {
    let limits = Limits { viewers: 1, ..Limits::default() };
    let server = echo(&ServeOptions { limits, ..options() });
    let watch = |attempts| {
        let options = ClientOptions { attempts: NonZeroU32::new(attempts), ..client_options() };
        play(&server.whep_url(), options, Arc::new(Seen::default())).unwrap()
    };
    let first = connected(watch(1));
    let second = watch(1);
    second.wait_for(PeerState::Failed, LONG).unwrap();
    let error = second.wait_for(PeerState::Connected, LONG).unwrap_err();
    assert!(format!("{error:#}").contains("429"), "{error:#}");
    first.stop();
    drop(connected(watch(1)));
}

#[test]
fn a_new_publisher_takes_the_place_of_the_one_before() {
    let server = echo(&options());
    let once = || ClientOptions { attempts: NonZeroU32::new(1), pause: LONG, ..client_options() };
    let mut whip = server.whip().events();
    let first = connected(publish(&server.whip_url(), once(), egress()).unwrap());
    let (source, seen) = (egress(), Arc::new(Seen::default()));
    let second = connected(publish(&server.whip_url(), client_options(), source.clone()).unwrap());
    let ended =
        std::iter::from_fn(|| whip.blocking_recv().ok()).find(|event| matches!(event, SessionEvent::Ended { .. }));
    assert!(matches!(ended, Some(SessionEvent::Ended { reason: End::Replaced, .. })), "{ended:?}");
    first.wait_for(PeerState::Disconnected, LONG).unwrap();
    let player = play(&server.whep_url(), client_options(), seen.clone()).unwrap();
    assert!(seen.while_publishing(&source, 5).len() >= 5);
    drop((first, second, player));
}

#[test]
fn unservable_requests_are_rejected() {
    let refused =
        |options: &ServeOptions| serve_media(Media::default(), Media::default(), options).map(drop).unwrap_err().kind();
    let open = ServeOptions { addr: (Ipv4Addr::UNSPECIFIED, 0).into(), ..options() };
    assert_eq!(refused(&open), ErrorKind::InvalidArgument);
    let empty = ServeOptions { token: Some(String::new()), ..options() };
    assert_eq!(refused(&empty), ErrorKind::InvalidArgument);
    let no_origin = ServeOptions { allow_origins: vec!["*".into()], ..options() };
    assert_eq!(refused(&no_origin), ErrorKind::InvalidArgument);
    let nowhere = ServeOptions { public_url: Some("sd.example".into()), ..options() };
    assert_eq!(refused(&nowhere), ErrorKind::InvalidArgument);
    let server = echo(&options());
    assert_eq!(refused(&ServeOptions { addr: server.addr(), ..options() }), ErrorKind::Io);
}
