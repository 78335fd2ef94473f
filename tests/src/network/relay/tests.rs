use super::super::Malformed;
use super::*;

const MS: Duration = Duration::from_millis(1);
/// Longer than a datagram takes over loopback.
const LONG: Duration = Duration::from_secs(30);

/// What arrives of a thousand numbered packets, one per millisecond, in the order of arrival.
fn arrivals(impairment: Impairment, seed: u64) -> Vec<(Duration, Vec<u8>)> {
    let (mut arrivals, start) = (Arrivals::new(seed), Instant::now());
    let mut all: Vec<_> = (0..1000_u32)
        .flat_map(|number| arrivals.of(&[number.to_be_bytes(), [0x55; 4]].concat(), &impairment, start + MS * number))
        .map(|(due, packet)| (due - start, packet))
        .collect();
    all.sort_by_key(|(due, _)| *due);
    all
}

fn packets(impairment: Impairment) -> Vec<Vec<u8>> {
    arrivals(impairment, 3).into_iter().map(|(_, packet)| packet).collect()
}

fn sent() -> Vec<Vec<u8>> {
    packets(Impairment::default())
}

#[test]
fn without_impairments_every_packet_arrives_in_order() {
    let all = sent();
    assert_eq!(all.len(), 1000);
    assert!(all.is_sorted());
}

#[test]
fn rates_are_per_thousand_packets() {
    let lost = 1000 - packets(Impairment { loss: 200, ..Impairment::default() }).len();
    assert!((150..250).contains(&lost), "{lost}");
    assert!(packets(Impairment { dark: true, ..Impairment::default() }).is_empty());
    let twice = packets(Impairment { duplication: 200, ..Impairment::default() }).len() - 1000;
    assert!((150..250).contains(&twice), "{twice}");
    let old = packets(Impairment { replay: 200, ..Impairment::default() });
    assert!((1150..1250).contains(&old.len()), "{}", old.len());
    assert!(old.iter().all(|packet| sent().contains(packet)));
}

#[test]
fn reordering_changes_the_order_and_jitter_does_not() {
    let reordered = packets(Impairment { reordering: 200, ..Impairment::default() });
    assert!(!reordered.is_sorted());
    let mut sorted = reordered;
    sorted.sort();
    assert_eq!(sorted, sent());
    let delayed = Impairment { delay: MS * 100, jitter: MS * 50, ..Impairment::default() };
    assert_eq!(packets(delayed), sent());
    let first = arrivals(delayed, 3)[0].0;
    assert!(first >= MS * 100 && first <= MS * 150, "{first:?}");
}

#[test]
fn corruption_and_truncation_change_single_packets() {
    let corrupted = packets(Impairment { corruption: 200, ..Impairment::default() });
    let changed = corrupted.iter().zip(sent()).filter(|(got, sent)| *got != sent).count();
    assert!((100..250).contains(&changed), "{changed}");
    assert!(corrupted.iter().all(|packet| packet.len() == 8));
    let short = packets(Impairment { truncation: 200, ..Impairment::default() });
    let shortened = short.iter().filter(|packet| packet.len() < 8).count();
    assert!((150..250).contains(&shortened), "{shortened}");
}

#[test]
fn malformed_datagrams_come_with_each_packet() {
    let malformed = Impairment { malformed: Some((Malformed::Stun, 3)), ..Impairment::default() };
    assert_eq!(packets(malformed).len(), 4000);
}

#[test]
fn a_seed_gives_the_same_impairments() {
    let impairment = Impairment { loss: 100, corruption: 100, replay: 100, ..Impairment::default() };
    let of = |seed| arrivals(impairment, seed).into_iter().map(|(_, packet)| packet).collect::<Vec<_>>();
    assert_eq!(of(1), of(1));
    assert_ne!(of(1), of(2));
}

/// A link between two sockets, and where the client sends to.
fn link() -> (UdpSocket, UdpSocket, SocketAddr, Arc<Conditions>) {
    let socket = || {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(LONG)).unwrap();
        socket
    };
    let (client, server, relay) = (socket(), socket(), Relay::bind().unwrap());
    let (near, conditions) = (relay.addresses().unwrap().0, Arc::new(Conditions::default()));
    relay.run((client.local_addr().unwrap(), server.local_addr().unwrap()), &conditions, 7);
    (client, server, near, conditions)
}

fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut bytes = [0; LONGEST];
    let (length, from) = socket.recv_from(&mut bytes).unwrap();
    (bytes[..length].to_vec(), from)
}

#[test]
fn rebinding_changes_the_port_that_the_server_receives_from() {
    let (client, server, near, conditions) = link();
    client.send_to(b"one", near).unwrap();
    let (packet, first) = receive(&server);
    assert_eq!(packet, b"one");
    conditions.rebind();
    client.send_to(b"two", near).unwrap();
    let (packet, second) = receive(&server);
    assert_eq!(packet, b"two");
    assert_ne!(first, second);
    // The old port is not connected to the client any more, and the new one is.
    server.send_to(b"old", first).unwrap();
    server.send_to(b"new", second).unwrap();
    assert_eq!(receive(&client).0, b"new");
    conditions.is_over.store(true, Ordering::Relaxed);
}

#[test]
fn a_stalled_direction_delivers_everything_afterwards() {
    let (client, server, near, conditions) = link();
    client.send_to(&[0], near).unwrap();
    let (_, far) = receive(&server);
    conditions.set(Direction::ToServer, Impairment { stalled: true, ..Impairment::default() });
    for number in 1..20_u8 {
        client.send_to(&[number], near).unwrap();
    }
    // The other direction is not affected.
    server.send_to(b"back", far).unwrap();
    assert_eq!(receive(&client).0, b"back");
    server.set_nonblocking(true).unwrap();
    assert_eq!(server.recv_from(&mut [0; LONGEST]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    server.set_nonblocking(false).unwrap();
    conditions.set(Direction::ToServer, Impairment::default());
    let rest: Vec<_> = (1..20).map(|_| receive(&server).0[0]).collect();
    assert!(rest.is_sorted() && rest.last() == Some(&19), "{rest:?}");
    conditions.is_over.store(true, Ordering::Relaxed);
}
