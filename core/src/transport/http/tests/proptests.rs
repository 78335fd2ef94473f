//! Properties of every request.

use proptest::prelude::*;

use super::*;

fn methods() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec!["GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS", "TRACE"])
            .prop_map(str::to_owned),
        1 => "[A-Z]{1,12}",
    ]
}

fn headers() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let name =
        prop::sample::select(vec!["content-type", "if-match", "etag", "authorization", "cookie", "origin", "link"]);
    let known = prop::sample::select(vec![
        "application/sdp",
        "application/trickle-ice-sdpfrag",
        "APPLICATION/SDP; charset=x",
        "*",
        "",
    ]);
    let value = prop_oneof![
        3 => known.prop_map(|value| value.as_bytes().to_vec()),
        1 => prop::collection::vec(prop_oneof![0x20_u8..0x7f, 0x80_u8..=0xff], 0..40),
    ];
    prop::collection::vec((name.prop_map(str::to_owned), value), 0..4)
}

/// Descriptions that are partly valid, so that more of them is parsed.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        Just("v=0".to_owned()),
        Just("o=- 1 1 IN IP4 0.0.0.0".to_owned()),
        Just("s=-".to_owned()),
        Just("t=0 0".to_owned()),
        Just("m=video 9 UDP/TLS/RTP/SAVPF 96".to_owned()),
        Just("m=audio 9 UDP/TLS/RTP/SAVPF 111".to_owned()),
        Just("a=ice-ufrag:EsAw".to_owned()),
        Just("a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1".to_owned()),
        Just("a=mid:0".to_owned()),
        Just("a=rtpmap:96 H264/90000".to_owned()),
        Just("a=candidate:1 1 UDP 1 127.0.0.1 9 typ host".to_owned()),
        "a=(fingerprint|setup|candidate|ssrc|group):[ -~]{0,40}",
        "[a-z]=[ -~]{0,30}",
    ];
    prop_oneof![
        4 => prop::collection::vec(line, 0..24).prop_map(|lines| (lines.join("\r\n") + "\r\n").into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..200),
        1 => (0_usize..70_000).prop_map(|len| vec![b'v'; len]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_request_is_the_servers_fault(
        method in methods(),
        headers in headers(),
        body in bodies(),
        session in prop::option::of("[ -~]{0,40}|\\PC{0,8}"),
        publish in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut ask = Request::builder().method(method.as_str()).uri("/");
        for (name, value) in &headers {
            ask = ask.header(name.as_str(), value.as_slice());
        }
        let ask = ask.body(Bytes::from(body)).unwrap();
        let response = runtime.block_on(async {
            if publish {
                whip(Limits::default()).handle(ask, session.as_deref(), &links()).await
            } else {
                whep(Limits::default()).handle(ask, session.as_deref(), &links()).await
            }
        });
        prop_assert!(response.status().as_u16() < 500, "{:?}", response);
        assert_cors(&response);
    }
}
