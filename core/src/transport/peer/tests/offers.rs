//! Offers of all kinds, and their answers.

use super::*;
use crate::frame::FrameView;
use crate::transport::sdp::{Direction, Kind, Setup};
use crate::transport::{AudioHub, Egress, EgressOptions, FrameSink};

#[derive(Debug)]
struct Blind;

impl FrameSink for Blind {
    fn frame(&self, _: &FrameView<'_>) {}
}

fn receiving() -> Media {
    Media { video_in: Some(Arc::new(Blind)), ..Media::default() }
}

fn sending() -> Media {
    Media { video_out: Some(Egress::new(EgressOptions::default())), ..Media::default() }
}

fn with_sound(media: Media) -> Media {
    Media { audio_out: Some(AudioHub::default()), audio_in: Some(AudioHub::default()), ..media }
}

async fn answered(offer: &str, media: Media) -> (String, Description) {
    let (_, answer) = Peer::answer(offer, media, &loopback()).await.expect("an answer");
    assert!(answer.len() <= sdp_answer::MAX_ANSWER && answer.lines().count() > 10);
    assert!(answer.split_inclusive('\n').all(|l| l.ends_with("\r\n")), "CRLF throughout");
    let parsed = Description::parse(&answer).expect("our own answer can be read");
    (answer, parsed)
}

/// An offer of a browser: audio first, many codecs, no candidates.
fn browser(direction: &str) -> String {
    let head = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE a v\r\na=extmap-allow-mixed\r\n";
    let transport = format!(
        "c=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=ice-options:trickle\r\n\
         a=fingerprint:sha-256 {}\r\na=setup:actpass\r\na={direction}\r\na=rtcp-mux\r\n",
        ["AB"; 32].join(":")
    );
    format!(
        "{head}m=audio 9 UDP/TLS/RTP/SAVPF 111 0\r\n{transport}a=mid:a\r\na=rtpmap:111 opus/48000/2\r\n\
         a=rtpmap:0 PCMU/8000\r\na=msid:s t1\r\na=ssrc:1001 cname:x\r\n\
         m=video 9 UDP/TLS/RTP/SAVPF 96 102 103 125\r\n{transport}a=mid:v\r\na=rtpmap:96 VP8/90000\r\n\
         a=rtpmap:102 H264/90000\r\na=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f\r\n\
         a=rtcp-fb:102 nack\r\na=rtcp-fb:102 nack pli\r\na=rtcp-fb:102 transport-cc\r\n\
         a=rtpmap:103 rtx/90000\r\na=fmtp:103 apt=102\r\na=rtpmap:125 H264/90000\r\n\
         a=fmtp:125 packetization-mode=0;profile-level-id=42e01f\r\na=msid:s t2\r\n\
         a=rid:h send\r\na=rid:l send\r\na=simulcast:send h;l\r\n\
         a=ssrc-group:FID 2002 2003\r\na=ssrc:2002 cname:x\r\na=ssrc:2003 cname:x\r\n"
    )
}

#[test]
fn the_playout_delay_is_answered_for_video_that_this_side_sends() {
    run(async {
        let uri = sdp_normalize::PLAYOUT_DELAY;
        let offered = |direction: &str| browser(direction).replace("a=mid:v", &format!("a=mid:v\r\na=extmap:6 {uri}"));
        let (_, answer) = answered(&offered("recvonly"), sending()).await;
        assert_eq!(answer.sections[1].extensions, [(6, uri.to_owned())]);
        let (_, answer) = answered(&browser("recvonly"), sending()).await;
        assert_eq!(answer.sections[1].extensions, []);
        let (_, answer) = answered(&offered("sendonly"), receiving()).await;
        assert!(answer.sections[1].extensions.iter().all(|(_, name)| name != uri));
    });
}

#[test]
fn a_browsers_publish_offer_is_answered_section_by_section() {
    run(async {
        let (text, answer) = answered(&browser("sendonly"), receiving()).await;
        let [sound, video] = answer.sections.as_slice() else { panic!("two sections: {text}") };
        assert_eq!((&sound.kind, sound.mid.as_str(), sound.direction), (&Kind::Audio, "a", Direction::Inactive));
        assert_eq!((&video.kind, video.mid.as_str(), video.direction), (&Kind::Video, "v", Direction::RecvOnly));
        assert!(sound.port != 0 && video.port != 0, "nothing is rejected: {text}");
        assert_eq!(answer.bundle, ["a", "v"]);
        let codecs: Vec<_> = video.codecs.iter().map(|c| c.payload_type).collect();
        assert_eq!(codecs, [102, 103], "the offered numbers");
        let first = video.codecs.first().expect("a codec");
        assert_eq!(first.parameter("profile-level-id"), Some("42001f"));
        assert!(first.feedback.iter().any(|f| f == "nack pli"));
        assert_eq!(video.setup, Some(Setup::Passive), "the peer opens DTLS where it may");
        assert!(!text.contains("simulcast") && !text.contains("a=rid"), "one layer is enough: {text}");
        let candidates = &sound.candidates;
        assert!(candidates.first().is_some_and(|c| c.text.contains(" udp ") && c.text.ends_with("typ host")), "{text}");
    });
}

#[test]
fn audio_is_received_if_there_is_a_listener() {
    run(async {
        let (_, answer) = answered(&browser("sendonly"), with_sound(receiving())).await;
        assert!(answer.sections.iter().all(|s| s.direction == Direction::RecvOnly));
    });
}

#[test]
fn a_viewers_offer_is_answered_with_one_stream_for_all_tracks() {
    run(async {
        let offer =
            browser("recvonly").lines().filter(|l| !l.contains("ssrc")).map(|l| format!("{l}\r\n")).collect::<String>();
        let (text, answer) = answered(&offer, with_sound(sending())).await;
        assert!(answer.sections.iter().all(|s| s.direction == Direction::SendOnly), "{text}");
        assert!(text.contains("a=msid:dreamframe video") && text.contains("a=msid:dreamframe audio"), "{text}");
        assert!(answer.sections.iter().all(|s| !s.sources.is_empty()), "{text}");
        let (text, answer) = answered(&offer, sending()).await;
        assert_eq!(
            answer.sections.first().map(|s| (s.direction, s.port != 0)),
            Some((Direction::Inactive, true)),
            "{text}"
        );
    });
}

#[test]
fn the_dtls_role_follows_the_offer_and_passive_peers_connect() {
    run(async {
        let handler = Shouter::new();
        for (offered, answered) in [("actpass", "passive"), ("passive", "active"), ("active", "passive")] {
            let change = |offer: String| offer.replace("a=setup:actpass", &format!("a=setup:{offered}"));
            let (client, offer) = Peer::offer(talking(&handler), &loopback()).await.expect("an offer");
            let (server, answer) =
                Peer::answer(&change(offer), talking(&handler), &loopback()).await.expect("an answer");
            assert!(answer.contains(&format!("a=setup:{answered}")), "{offered}: {answer}");
            client.set_answer(&answer).await.expect("the answer fits");
            reaches(&server, PeerState::Connected).await;
        }
    });
}

#[test]
fn an_offer_without_candidates_connects() {
    run(async {
        let handler = Shouter::new();
        let bare = |offer: String| {
            offer.lines().filter(|l| !l.contains("candidate")).map(|l| format!("{l}\n")).collect::<String>()
        };
        let (_client, _server) = connect_by(talking(&handler), talking(&handler), bare).await;
    });
}

#[test]
fn candidates_that_come_later_and_an_ice_restart_are_taken() {
    run(async {
        let handler = Shouter::new();
        let (client, offer) = Peer::offer(talking(&handler), &loopback()).await.expect("an offer");
        let (server, answer) = Peer::answer(&offer, talking(&handler), &loopback()).await.expect("an answer");
        let late = "m=audio 9 RTP/AVP 0\r\na=mid:0\r\na=candidate:1 0 UDP 2113937151 127.0.0.1 9 typ host\r\n\
                    a=candidate:2 1 udp 2113937151 0a1b.local 9 typ host\r\n";
        let late = Fragment::parse(late).expect("a fragment");
        assert!(!server.is_restart(&late));
        server.add_candidates(&late).await.expect("candidates");
        client.set_answer(&answer).await.expect("the answer fits");
        reaches(&server, PeerState::Connected).await;

        let tag = server.ice_tag();
        let restart = "a=ice-ufrag:newfragment\r\na=ice-pwd:abcdefghijklmnopqrstuvwxyz\r\n";
        let restart = Fragment::parse(restart).expect("a fragment");
        assert!(server.is_restart(&restart));
        assert_eq!(client.restart(&restart).await.expect("it is up"), None, "the side that offered does not answer");
        let reply = server.restart(&restart).await.expect("it is up").expect("it answered");
        let reply = Fragment::parse(&reply).expect("a fragment");
        assert_eq!(reply.candidates.len(), 1);
        assert!(reply.ufrag.is_some() && reply.ufrag.as_deref() == Some(server.ice_tag().as_str()));
        assert_ne!(server.ice_tag(), tag);
        assert!(!server.is_restart(&restart), "these are its credentials now");
    });
}

#[test]
fn offer_of_unsupported_codecs_is_rejected_with_the_reason() {
    run(async {
        let offer = browser("sendonly").replace("H264", "AV1").replace("VP8", "VP9");
        let refusal = Peer::answer(&offer, receiving(), &loopback()).await.expect_err("nothing in common");
        assert!(
            matches!(&refusal, Refusal::NoCommonCodec(why) if why.contains("VP9") && why.contains("H264")),
            "{refusal}"
        );
    });
}

#[test]
fn invalid_offers_are_rejected_with_the_reason() {
    run(async {
        let whole = browser("sendonly");
        let second = whole.replace("m=audio 9 UDP/TLS/RTP/SAVPF 111 0", "m=video 9 UDP/TLS/RTP/SAVPF 111");
        for (offer, says) in [
            (String::new(), "got no lines"),
            ("hello".to_owned(), "x=value"),
            (whole.replace("a=group:BUNDLE a v\r\n", ""), "bundled"),
            (whole.replace("a=fingerprint", "a=fingerprnt"), "fingerprint"),
            (second, "2 sections of video"),
        ] {
            let refusal = Peer::answer(&offer, receiving(), &loopback()).await.expect_err(says);
            assert!(refusal.to_string().contains(says), "{refusal}");
        }
        let refusal = Peer::answer(&whole, Media::default(), &loopback()).await.expect_err("nothing to carry");
        assert!(matches!(refusal, Refusal::NoCommonCodec(_)), "{refusal}");
        let nothing = Peer::offer(Media::default(), &loopback()).await.expect_err("nothing to offer");
        assert_eq!(nothing.kind(), ErrorKind::InvalidArgument);
    });
}

#[test]
fn a_section_of_data_channels_that_the_peer_rejects_keeps_its_format() {
    run(async {
        let rejected = "m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\n";
        let offer = format!("{}{rejected}c=IN IP4 0.0.0.0\r\na=mid:d\r\n", browser("sendonly"));
        let (answer, parsed) = answered(&offer, receiving()).await;
        assert!(answer.contains(rejected), "{answer}");
        assert_eq!((&parsed.sections[2].kind, parsed.sections[2].rejected), (&Kind::Data, true));
    });
}

#[test]
fn public_address_precedes_bound_ones() {
    run(async {
        let options = PeerOptions { public_ip: Some([203, 0, 113, 7].into()), ..PeerOptions::default() };
        let (_, answer) = Peer::answer(&browser("sendonly"), receiving(), &options).await.expect("an answer");
        let candidates: Vec<_> = answer.lines().filter(|l| l.starts_with("a=candidate:")).collect();
        let outside = candidates.iter().filter(|c| !c.contains(" 127.0.0.1 ")).count();
        if outside > 0 {
            assert!(candidates.first().is_some_and(|c| c.contains(" 203.0.113.7 ")), "{candidates:?}");
        }
        assert!(candidates.last().is_some_and(|c| c.contains(" 127.0.0.1 ")), "{candidates:?}");
    });
}

/// A server with a public address does not try addresses of its own network; peers there still connect.
#[test]
fn with_a_public_address_private_candidates_are_not_tried() {
    run(async {
        let inside = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
        inside.set_nonblocking(true).expect("a socket");
        let port = inside.local_addr().expect("an address").port();
        let (client, offer) = Peer::offer(sending(), &loopback()).await.expect("an offer");
        let first = offer.find("a=candidate:").expect("a candidate");
        let (before, after) = offer.split_at(first);
        let offer = format!("{before}a=candidate:9 1 udp 2130706431 127.0.0.1 {port} typ host\r\n{after}");
        let options = PeerOptions { public_ip: Some([203, 0, 113, 7].into()), ..loopback() };
        let (server, answer) = Peer::answer(&offer, receiving(), &options).await.expect("an answer");
        let more = format!("a=mid:0\r\na=candidate:8 1 udp 2130706430 127.0.0.1 {port} typ host\r\n");
        server.add_candidates(&Fragment::parse(&more).expect("a fragment")).await.expect("candidates");
        client.set_answer(&answer).await.expect("the answer fits");
        reaches(&server, PeerState::Connected).await;
        let came = inside.recv(&mut [0; 2048]);
        assert!(came.is_err(), "{came:?} bytes were sent to a private address");
    });
}

#[test]
fn of_very_many_candidates_some_are_tried() {
    let line = |port: u16| format!("a=candidate:{port} 1 udp 1 192.0.2.1 {port} typ host\r\n");
    let offer = browser("sendonly") + &(1..=100).map(line).collect::<String>();
    let offer = Description::parse(&offer).expect("an offer");
    let plan = plan::Plan::answering(&offer, &receiving()).expect("a plan");
    let tried = |public_only| sdp_normalize::write(&offer, &plan, 1, public_only).matches("a=candidate:").count();
    assert_eq!((tried(false), tried(true)), (64, 0));
}

#[test]
fn further_candidates_end_with_the_connection_and_the_side_that_answers_has_none() {
    run(async {
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
        let stun = IceServer::default().with_urls(vec![format!("stun:{}", silent.local_addr().expect("an address"))]);
        let options = PeerOptions { ice_servers: vec![stun], gather_timeout: Duration::from_millis(200), ..loopback() };
        let (client, offer) = Peer::offer(sending(), &options).await.expect("an offer");
        assert!(offer.contains("a=ice-options:trickle") && !offer.contains("a=end-of-candidates"), "{offer}");
        let (server, _) = Peer::answer(&offer, receiving(), &loopback()).await.expect("an answer");
        assert_eq!(server.next_candidates().await, None);
        let (further, ()) = tokio::join!(client.next_candidates(), client.close());
        assert_eq!(further, None);
    });
}

#[test]
fn relayed_candidates_of_an_unusable_turn_server_are_no_offer() {
    run(async {
        let relayed = |url: &str| {
            let urls = vec![url.to_owned()];
            let turn = IceServer { urls, username: Some("a".into()), credential: Some("b".into()), secret: None };
            PeerOptions { ice_servers: vec![turn], ice_transport_policy: IceTransportPolicy::Relay, ..loopback() }
        };
        // A name that no server has.
        let error = Peer::offer(sending(), &relayed("turn:host.invalid:3478")).await.expect_err("no address");
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        let error = Peer::offer(sending(), &relayed("turn:127.0.0.1:9?transport=tcp")).await.expect_err("no server");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        let refused = Peer::answer(&browser("sendonly"), receiving(), &relayed("stun:127.0.0.1:9")).await;
        assert!(matches!(refused, Err(Refusal::Failed(_))), "{refused:?}");
    });
}
