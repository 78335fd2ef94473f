//! OSC, as programs send it.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use rosc::{OscBundle, OscMessage, OscPacket, OscTime, OscType};
use serde_json::{Value, json};

use super::client::Server;

fn message(addr: &str, args: Vec<OscType>) -> OscPacket {
    OscPacket::Message(OscMessage { addr: addr.to_owned(), args })
}

fn params_of(server: &Server, path: &str) -> Value {
    server.get(path).value()["params"].clone()
}

/// Waits until the parameters are as expected.
fn wait_for(server: &Server, path: &str, what: impl Fn(&Value) -> bool) {
    let start = Instant::now();
    while !what(&params_of(server, path)) {
        assert!(start.elapsed() < Duration::from_secs(30), "{}", params_of(server, path));
    }
}

#[test]
fn osc_messages_change_the_parameters_of_streams() {
    let server = Server::with(&["--osc", "127.0.0.1:0"], &[]);
    let path = server.stream(json!({"prompt": "before"}));
    let id = path.rsplit('/').next().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let send = |packet: &OscPacket| socket.send_to(&rosc::encoder::encode(packet).unwrap(), &server.osc).unwrap();
    socket.send_to(b"no packet", &server.osc).unwrap();
    send(&message("/dreamframe/none/prompt", vec![OscType::String("other".into())]));
    let content = vec![
        message(&format!("/dreamframe/{id}/prompt"), vec![OscType::String("after".into())]),
        message("/dreamframe/*/t_index_list", vec![OscType::Int(10), OscType::Int(20)]),
    ];
    send(&OscPacket::Bundle(OscBundle { timetag: OscTime { seconds: 0, fractional: 1 }, content }));
    wait_for(&server, &path, |params| params["prompt"] == "after" && params["t_index_list"] == json!([10, 20]));
    // The last of many values counts, and does not wait in line.
    for at in 0..=2000 {
        send(&message("/dreamframe/*/delta", vec![OscType::Float(at as f32 / 1000.0)]));
    }
    wait_for(&server, &path, |params| {
        send(&message("/dreamframe/*/delta", vec![OscType::Float(2.5)]));
        params["delta"] == 2.5
    });
}

#[test]
fn osc_is_off_unless_it_is_asked_for() {
    assert_eq!(Server::start().osc, "");
}
