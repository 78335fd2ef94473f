//! How connections end.

use super::*;

#[test]
fn closing_ends_both_sides_and_everything_after_it_is_refused() {
    run(async {
        let handler = Shouter::new();
        let (ours, theirs) = connect(talking(&handler), talking(&handler)).await;
        ours.close().await;
        reaches(&ours, PeerState::Closed).await;
        reaches(&theirs, PeerState::Closed).await;
        let fragment = Fragment::default();
        assert_eq!(ours.add_candidates(&fragment).await.expect_err("it is over").kind(), ErrorKind::Closed);
        assert_eq!(theirs.restart(&fragment).await.expect_err("it is over").kind(), ErrorKind::Closed);
        ours.close().await;
    });
}

#[test]
fn the_last_handle_closes_a_connection() {
    run(async {
        let handler = Shouter::new();
        let (ours, theirs) = connect(talking(&handler), talking(&handler)).await;
        let again = ours.clone();
        drop(ours);
        assert_eq!(*again.states().borrow(), PeerState::Connected);
        drop(again);
        reaches(&theirs, PeerState::Closed).await;
    });
}

#[test]
fn a_peer_that_vanishes_is_disconnected_and_then_failed() {
    run(async {
        let handler = Shouter::new();
        let (ours, offer) = Peer::offer(talking(&handler), &loopback()).await.expect("an offer");
        let media = talking(&handler);
        let other = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let (peer, answer) = runtime.block_on(Peer::answer(&offer, media, &loopback())).expect("an answer");
            (runtime, peer, answer)
        });
        let (runtime, peer, answer) = other.join().expect("no panic");
        ours.set_answer(&answer).await.expect("the answer fits");
        let connected = tokio::task::spawn_blocking(move || {
            runtime.block_on(reaches(&peer, PeerState::Connected));
            // As if the process was killed: its sockets are closed without notice.
            runtime.shutdown_background();
            drop(peer);
        });
        connected.await.expect("it connects");
        reaches(&ours, PeerState::Disconnected).await;
        reaches(&ours, PeerState::Failed).await;
    });
}

#[test]
fn a_connection_that_does_not_come_about_fails_in_time() {
    run(async {
        let handler = Shouter::new();
        let (client, offer) = Peer::offer(talking(&handler), &loopback()).await.expect("an offer");
        let options = PeerOptions { connect_timeout: Duration::from_millis(200), ..loopback() };
        let (server, _) = Peer::answer(&offer, talking(&handler), &options).await.expect("an answer");
        // The answer is never set.
        reaches(&server, PeerState::Failed).await;
        drop(client);
    });
}

#[test]
fn ports_come_from_the_range_and_are_free_again() {
    run(async {
        let probe = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
        let port = probe.local_addr().expect("bound").port();
        drop(probe);
        let options = PeerOptions { ports: Some(port..=port), ..loopback() };
        let handler = Shouter::new();
        for _ in 0..2 {
            let (peer, offer) = Peer::offer(talking(&handler), &options).await.expect("the port is free");
            assert!(offer.contains(&format!(" 127.0.0.1 {port} typ host")), "{offer}");
            let refused = Peer::offer(talking(&handler), &options).await.expect_err("the port is taken");
            assert_eq!(refused.kind(), ErrorKind::Io);
            peer.close().await;
        }
    });
}

/// Set in the process that the next test starts, since other tests' descriptors and threads would disturb its count.
const ALONE: &str = "DREAMFRAME_TEST_ALONE";

#[test]
fn twenty_connections_leave_no_descriptor_and_no_thread() {
    if !cfg!(target_os = "linux") {
        eprintln!("skipped: descriptors and threads are counted in /proc");
        return;
    }
    if std::env::var_os(ALONE).is_none() {
        let name = "transport::peer::tests::lifetime::twenty_connections_leave_no_descriptor_and_no_thread";
        let mut again = std::process::Command::new(std::env::current_exe().expect("this program"));
        let output = again.args(["--exact", name]).env(ALONE, "1").output().expect("this program runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    run(async {
        let count = |folder: &str| std::fs::read_dir(folder).map_or(0, Iterator::count);
        let counts = || (count("/proc/self/fd"), count("/proc/self/task"));
        let handler = Shouter::new();
        let mut before = None;
        for _ in 0..20 {
            let (ours, theirs) = connect(talking(&handler), talking(&handler)).await;
            ours.close().await;
            theirs.close().await;
            drop((ours, theirs));
            // The first creates what all share.
            before.get_or_insert_with(counts);
        }
        assert_eq!(Some(counts()), before);
    });
}
