//! Streams recover from faults of every kind, and sessions that end in any way leave nothing behind.

use std::time::{Duration, Instant};

use dreamframe::transport::Server;
use dreamframe::transport::peer::PeerState;
use dreamframe_tests::network::{
    Echo, Fault, FaultKind, Offers, Sessions, Side, Target, Trial, open_and_drop, serve_options,
};

/// How long pictures may stay away after a fault. Far more than is expected, for machines with other work to do.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long they may stay away where the connection continues: far less than it takes to connect again.
const SOON: Duration = Duration::from_secs(8);
/// The longest fault.
const SHORT: Duration = Duration::from_millis(300);

const SIZE: (u32, u32) = (128, 128);
const RATE: f64 = 20.0;

fn trial(server: &Server<()>) -> Trial {
    let (whip, whep) = ("/whip".to_owned(), "/whep".to_owned());
    let target = Target { server: server.addr(), whip, page: whep.clone(), whep, offers: Offers::make().unwrap() };
    Trial::start(target, SIZE, RATE, 11).unwrap()
}

/// Has a fault of each of these kinds for one client, and for the other.
fn recovers_from(kinds: impl Iterator<Item = FaultKind>) {
    let (server, _egress) = Echo::serve(&serve_options()).unwrap();
    let trial = trial(&server);
    for (number, kind) in kinds.enumerate() {
        for side in [Side::Publisher, Side::Viewer] {
            let fault = Fault { side, ..Fault::of(kind, number as u64).at_most(SHORT) };
            let end = trial.run(&fault);
            assert!(trial.recovery(end, PATIENCE).is_some(), "no pictures after {fault}: {:?}", trial.states());
            let seen = trial.take();
            assert!(seen.iter().all(|shown| shown.number.is_some()), "{fault} shows broken pictures: {seen:?}");
        }
    }
}

#[test]
fn pictures_return_after_every_impairment_of_a_link() {
    recovers_from(
        FaultKind::ALL
            .into_iter()
            .filter(|kind| !matches!(kind, FaultKind::Malformed(_)) && Fault::of(*kind, 0).impairment().is_some()),
    );
}

#[test]
fn pictures_return_after_malformed_datagrams_of_every_protocol() {
    recovers_from(FaultKind::ALL.into_iter().filter(|kind| matches!(kind, FaultKind::Malformed(_))));
}

#[test]
fn pictures_return_after_clock_jumps_slow_readers_and_storms() {
    recovers_from([FaultKind::ClockJump, FaultKind::SlowReaders, FaultKind::ConnectionStorm].into_iter());
}

#[test]
fn connections_survive_rebindings() {
    let (server, _egress) = Echo::serve(&serve_options()).unwrap();
    let trial = trial(&server);
    for side in [Side::Viewer, Side::Publisher, Side::Viewer] {
        let end = trial.run(&Fault { side, intensity: 1, ..Fault::of(FaultKind::Rebinding, 0).at_most(SHORT) });
        let back = trial.recovery(end, PATIENCE);
        assert!(back.is_some_and(|back| back < SOON), "{side:?}: {back:?}, {:?}", trial.states());
    }
    // The server notices after four seconds that it does not reach a client.
    let end = Instant::now() + Duration::from_secs(6);
    while Instant::now() < end {
        assert!(trial.recovery(Instant::now(), PATIENCE).is_some(), "no pictures: {:?}", trial.states());
    }
    assert_eq!(trial.failures(), (0, 0));
    let publisher = server.whip().publisher().expect("it is still connected");
    assert_eq!(*publisher.states().borrow(), PeerState::Connected);
    assert_eq!(server.whep().viewers(), 1);
}

#[test]
fn sessions_that_are_deleted_or_abandoned_end() {
    let (server, _egress) = Echo::serve(&serve_options()).unwrap();
    let sessions = Sessions { server: server.addr(), whip: vec!["/whip".into()], whep: "/whep".into() };
    open_and_drop(&sessions, 20, &|_| ()).unwrap();
    let start = Instant::now();
    while server.whip().publisher().is_some() || server.whep().viewers() > 0 {
        assert!(start.elapsed() < PATIENCE, "{} viewers remain", server.whep().viewers());
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
