//! Descriptions and fragments: complete, unusual, malformed and random.

use proptest::prelude::*;

use super::*;

const TRANSPORT: &str = "c=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\n";

fn fingerprint() -> String {
    format!("a=fingerprint:sha-256 {}\r\n", ["0F"; 32].join(":"))
}

/// An offer of audio and video, with credentials in each section.
fn offer() -> String {
    format!(
        "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
         m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n{TRANSPORT}{print}a=setup:actpass\r\na=mid:0\r\na=sendonly\r\n\
         a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n\
         m=video 0 UDP/TLS/RTP/SAVPF 102 103\r\n{TRANSPORT}{print}a=mid:1\r\na=recvonly\r\n\
         a=rtpmap:102 H264/90000\r\na=fmtp:102 packetization-mode=1;profile-level-id=42e01f\r\n\
         a=rtcp-fb:102 nack pli\r\na=rtcp-fb:* ccm fir\r\na=rtpmap:103 rtx/90000\r\na=fmtp:103 apt=102\r\n\
         a=ssrc-group:FID 7 8\r\na=ssrc:7 cname:x\r\na=ssrc:8 cname:x\r\n\
         a=candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host\r\na=extmap:4/sendonly urn:x\r\n",
        print = fingerprint()
    )
}

fn refused(text: &str) -> String {
    Description::parse(text).expect_err("it is malformed").to_string()
}

#[test]
fn an_offer_is_read_whole() {
    let description = Description::parse(&offer()).expect("it is well-formed");
    assert_eq!(description.bundle, ["0", "1"]);
    let [sound, video] = description.sections.as_slice() else { panic!("two sections") };
    assert_eq!((&sound.kind, sound.direction, sound.setup), (&Kind::Audio, Direction::SendOnly, Some(Setup::ActPass)));
    assert_eq!(
        sound.codecs.first().map(|c| (c.payload_type, c.name.as_str(), c.clock, c.channels)),
        Some((111, "opus", 48_000, 2))
    );
    assert!(!video.rejected, "a bundled section may say port 0");
    assert_eq!((video.direction, video.ufrag.as_deref()), (Direction::RecvOnly, Some("abcd")));
    let h264 = video.codecs.first().expect("a codec");
    assert_eq!(h264.parameter("Profile-Level-Id"), Some("42e01f"));
    assert_eq!(h264.feedback, ["nack pli", "ccm fir"]);
    assert_eq!((video.sources.as_slice(), video.repairs.as_slice()), ([7, 8].as_slice(), [(7, 8)].as_slice()));
    assert_eq!(video.extensions, [(4, "urn:x".to_owned())]);
    assert_eq!(video.candidates.len(), 1);
}

#[test]
fn session_attributes_apply_to_sections_without_their_own() {
    let text = format!(
        "v=0\na=ice-ufrag:abcd\na=ice-pwd:abcdefghijklmnopqrstuvwx\n{}a=setup:passive\na=recvonly\nm=video 9 X 96\na=mid:v\n",
        fingerprint()
    );
    let description = Description::parse(&text).expect("LF will do");
    let video = description.section("v").expect("it is there");
    assert_eq!((video.setup, video.direction), (Some(Setup::Passive), Direction::RecvOnly));
    assert!(video.fingerprint.as_ref().is_some_and(|f| f.algorithm == "sha-256"));
}

#[test]
fn of_several_fingerprints_the_weak_are_passed_over() {
    let weak = format!("a=fingerprint:sha-1 {}\r\n", ["AA"; 20].join(":"));
    let text = offer().replace(&fingerprint(), &format!("{weak}{}", fingerprint()));
    assert!(Description::parse(&text).is_ok());
    assert!(refused(&offer().replace(&fingerprint(), &weak)).contains("fingerprint"));
}

#[test]
fn a_rejected_section_needs_nothing_but_its_name() {
    let text = format!("{}m=audio 0 UDP/TLS/RTP/SAVPF 0\r\na=mid:gone\r\n", offer());
    let description = Description::parse(&text).expect("it is well-formed");
    assert_eq!(description.live().count(), 2);
    let all_gone = "v=0\r\nm=audio 0 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n";
    assert!(refused(all_gone).contains("got rejected ones only"));
}

#[test]
fn malformed_descriptions_are_rejected_with_the_reason() {
    let many = "m=audio 0 X 0\r\n".repeat(MAX_SECTIONS + 1);
    for (text, says) in [
        (String::new(), "got no lines"),
        ("v=1\r\n".to_owned(), "v=0"),
        ("v=0\r\n".to_owned(), "media sections: got none"),
        ("v=0\r\nnonsense\r\n".to_owned(), "line 2"),
        (format!("v=0\r\na={}\r\n", "x".repeat(MAX_LINE)), "line 2: got"),
        ("v=0\r\n".repeat(MAX_LINES + 1), "lines"),
        (" ".repeat(MAX_BYTES + 1), "length: got"),
        (format!("v=0\r\n{many}"), "media sections"),
        (offer().replace("a=mid:1", "a=mid:0"), "a second time"),
        (offer().replace("a=mid:1\r\n", ""), "mid: missing"),
        (offer().replace("a=ice-pwd:abcdefghijklmnopqrstuvwx", "a=ice-pwd:short"), "ice-pwd"),
        (offer().replace("a=ice-ufrag:abcd\r\n", ""), "ice-ufrag"),
        (offer().replace("sha-256 0F:", "sha-256 "), "32 bytes"),
        (offer().replace("H264/90000", "H264/fast"), "clock rate"),
        (offer().replace("SAVPF 102", "SAVPF 200"), "got 200, expected at most 127"),
        (offer().replace("m=video 0", "m=video 70000"), "port"),
        (offer().replace("a=ssrc:7", "a=ssrc:x"), "ssrc"),
    ] {
        let reason = refused(&text);
        assert!(reason.contains(says), "{says}: {reason}");
    }
}

#[test]
fn a_fragment_is_read_however_odd_its_sections() {
    let text = "a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n\
                a=candidate:1 0 UDP 1 192.0.2.1 5000 typ host generation 0 ufrag abcd\r\nm=video 9 RTP/AVP 0\r\n\
                a=candidate:2 1 udp 1 192.0.2.1 5001 typ srflx raddr 10.0.0.1 rport 9\r\na=end-of-candidates\r\n";
    let fragment = Fragment::parse(text).expect("it is well-formed");
    assert_eq!(fragment.ufrag.as_deref(), Some("abcd"));
    assert!(fragment.complete);
    let places: Vec<_> = fragment.candidates.iter().map(|c| (c.mid.as_deref(), c.line)).collect();
    assert_eq!(places, [(Some("0"), None), (None, Some(1))]);
    let usable: Vec<_> = fragment.candidates.iter().filter_map(Candidate::usable).collect();
    assert_eq!(
        usable,
        [
            "candidate:1 1 udp 1 192.0.2.1 5000 typ host",
            "candidate:2 1 udp 1 192.0.2.1 5001 typ srflx raddr 10.0.0.1 rport 9"
        ]
    );
}

#[test]
fn a_fragment_of_nothing_or_of_half_the_credentials_is_malformed() {
    let of = |address: &str| Candidate {
        text: format!("candidate:1 1 udp 1 {address} 5000 typ host"),
        ..Candidate::default()
    };
    for private in ["10.0.0.1", "127.0.0.1", "169.254.169.254", "::1", "fd00::1"] {
        assert!(of(private).usable_from(false).is_some() && of(private).usable_from(true).is_none(), "{private}");
    }
    assert!(of("8.8.8.8").usable_from(true).is_some());
    for text in ["", "a=mid:0\r\n", "a=ice-ufrag:abcd\r\n", "a=candidate", "\u{0}"] {
        assert!(Fragment::parse(text).is_err(), "{text:?}");
    }
    let many = "a=candidate:1 1 udp 1 192.0.2.1 5000 typ host\r\n".repeat(65);
    assert!(Fragment::parse(&many).is_err());
}

#[test]
fn candidates_that_cannot_be_used_come_to_nothing() {
    for text in [
        "",
        "candidate:",
        "candidate:1 1 tcp 1 192.0.2.1 9 typ host tcptype active",
        "candidate:1 2 udp 1 192.0.2.1 5000 typ host",
        "candidate:1 1 udp 1 0f00.local 5000 typ host",
        "candidate:1 1 udp 1 192.0.2.1 0 typ host",
        "candidate:1 1 udp 1 192.0.2.1 70000 typ host",
        "candidate:1 1 udp 99999999999 192.0.2.1 5000 typ host",
        "candidate:1 1 udp 1 192.0.2.1 5000 type host",
        "candidate:1 1 udp 1 192.0.2.1 5000 typ guest",
        "candidate:1 1 udp 1 0.0.0.0 5000 typ host",
        "candidate:1 1 udp 1 192.0.2.1 5000 typ relay raddr nowhere rport 1",
    ] {
        let candidate = Candidate { text: text.to_owned(), ..Candidate::default() };
        assert_eq!(candidate.usable(), None, "{text:?}");
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,400}") {
        let _ = Description::parse(&text);
        let _ = Fragment::parse(&text);
        let _ = Candidate { text, ..Candidate::default() }.usable();
    }

    #[test]
    fn any_lines_are_read_or_refused(lines in prop::collection::vec("[vmac]=[a-z0-9:/ -]{0,30}", 0..40)) {
        let text = format!("v=0\r\n{}", lines.join("\r\n"));
        let _ = Description::parse(&text);
        let _ = Fragment::parse(&text);
    }

    #[test]
    fn a_mutated_offer_is_read_or_refused(at in 0_usize..1200, cut in 0_usize..20, put in "\\PC{0,6}") {
        let mut text: Vec<char> = offer().chars().collect();
        let at = at.min(text.len());
        let end = (at + cut).min(text.len());
        text.splice(at..end, put.chars());
        let text: String = text.into_iter().collect();
        if let Ok(description) = Description::parse(&text) {
            prop_assert!(description.sections.len() <= MAX_SECTIONS);
            for section in description.live() {
                prop_assert!(section.ufrag.is_some() && section.pwd.is_some() && section.fingerprint.is_some());
            }
        }
    }

    #[test]
    fn a_fragment_that_is_written_reads_the_same(
        ufrag in "[a-zA-Z0-9+/]{4,20}", pwd in "[a-zA-Z0-9+/]{22,40}", ports in prop::collection::vec(1_u16.., 0..8),
        complete: bool,
    ) {
        let candidates = ports.iter().map(|port| Candidate {
            text: format!("candidate:1 1 udp 1 192.0.2.1 {port} typ host"), mid: Some("v".to_owned()), line: None,
        });
        let fragment = Fragment { ufrag: Some(ufrag), pwd: Some(pwd), candidates: candidates.collect(), complete };
        prop_assert_eq!(Fragment::parse(&fragment.to_string()), Ok(fragment));
    }
}
