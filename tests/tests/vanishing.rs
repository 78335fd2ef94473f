//! Two hundred publishers and viewers that come and go, half of them without a word, leave a server as it was.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dreamframe::transport::peer::PeerState;
use dreamframe::transport::{Client, Egress, EgressOptions, Server, play, publish};
use dreamframe_tests::network::{Drawn, Echo, Proxy, Screen, Source, client_options, serve_options};
use dreamframe_tests::process::{Process, in_one_arena, return_memory};

/// Servers, and viewers of each in a round; each has a publisher, too.
const SERVERS: usize = 5;
const VIEWERS: usize = 3;
/// Rounds that count; those before them make what all share.
const ROUNDS: usize = 10;
/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);
/// How much more memory there may be in the end, in KiB.
const MORE: usize = 12 << 10;

/// Without a harness: what is counted belongs to the whole process.
fn main() {
    if let Some(status) = in_one_arena().unwrap() {
        assert!(status.success(), "{status}");
        return;
    }
    let servers: Vec<_> = (0..SERVERS).map(|_| Echo::serve(&serve_options()).unwrap().0).collect();
    (0..2).for_each(|number| round(&servers, number));
    let before = settled(&servers, None);
    (1..=ROUNDS).for_each(|number| round(&servers, number));
    let after = settled(&servers, Some(before));
    assert_eq!((after.0, after.1), (before.0, before.1), "descriptors and threads");
    let (before, after) = (before.2, after.2);
    assert!(after <= before + MORE, "memory went from {before} to {after} KiB");
}

/// Lets a publisher and viewers of each server connect, and go once a viewer has seen something. In every other round they
/// vanish.
fn round(servers: &[Server<()>], number: usize) {
    let vanish = number.is_multiple_of(2);
    let (egress, drawn) = (Egress::new(EgressOptions::default()), Arc::new(Drawn::default()));
    let source = Source::start(&egress, (64, 64), 15.0, &drawn);
    let mut clients: Vec<(Client, Proxy)> = Vec::new();
    let mut screens = Vec::new();
    for server in servers {
        let proxy = || Proxy::start(server.addr(), number as u64).unwrap();
        let near = proxy();
        clients.push((publish(&near.url("/whip"), client_options(), egress.clone()).unwrap(), near));
        for _ in 0..VIEWERS {
            let (far, screen) = (proxy(), Screen::new(&drawn));
            clients.push((play(&far.url("/whep"), client_options(), screen.clone()).unwrap(), far));
            screens.push(screen);
        }
    }
    for (client, _) in &clients {
        client.wait_for(PeerState::Connected, LONG).unwrap();
    }
    for screen in &screens {
        assert!(screen.wait_until(LONG, |seen| !seen.is_empty()), "no picture in round {number}");
    }
    drop(source);
    // Concurrently, since each ends its session.
    let ends = clients.into_iter().map(|(client, proxy)| {
        std::thread::spawn(move || {
            if vanish {
                proxy.conditions().set_dark(true);
                drop(proxy);
                client.stop();
            } else {
                client.stop();
                drop(proxy);
            }
        })
    });
    ends.collect::<Vec<_>>().into_iter().for_each(|end| end.join().unwrap());
}

/// Waits until there are no connections, and descriptors and threads are as before; returns those and the memory.
fn settled(servers: &[Server<()>], before: Option<(usize, usize, usize)>) -> (usize, usize, usize) {
    let (start, mut last, mut since) = (Instant::now(), (0, 0), Instant::now());
    loop {
        let is_empty = servers.iter().all(|server| server.whip().publisher().is_none() && server.whep().viewers() == 0);
        let counts = (Process::this().descriptors(), Process::this().threads());
        if !is_empty || counts != last {
            (last, since) = (counts, Instant::now());
        }
        // Threads end a little after those that they work for, so a count is taken permanently after a while.
        let is_as_before = before.is_some_and(|(descriptors, threads, _)| counts == (descriptors, threads));
        if is_empty && (is_as_before || since.elapsed() > Duration::from_secs(2)) || start.elapsed() > LONG {
            return_memory();
            return (counts.0, counts.1, Process::this().resident_kib().unwrap_or(0));
        }
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
