//! Targets that a server receives: requests, datagrams, RTMP, and entries of its cluster.

use std::collections::VecDeque;
use std::sync::LazyLock;

use arbitrary::{Arbitrary, Result, Unstructured};
use bytes::Bytes;
use dreamframe::frame::Timestamp;
use dreamframe::transport::AccessUnit;
use dreamframe_server::fuzz_api;
use dreamframe_server::fuzz_api::requests::Request;
use dreamframe_server::rtmp::fuzz_api::{self as rtmp_api, Step};
use serde_json::{Map, Value, json};
use tokio::runtime::{Builder, Runtime};

use crate::updates::Patch;

/// The runtime of all servers, one of which is made for each input.
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_all().build().expect("a runtime can be made"));

/// The body of a request.
fn body(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let text = |u: &mut Unstructured<'_>| Ok(json!(u.arbitrary::<&str>()?));
    Ok(match u.int_in_range(0..=5)? {
        0 => Vec::new(),
        1 => u.arbitrary::<&[u8]>()?.to_vec(),
        2 => Value::Object(Patch::arbitrary(u)?.to_json()).to_string().into_bytes(),
        _ => {
            let mut object = Map::from_iter([("pipeline".to_owned(), json!("streamdiffusion"))]);
            let key = *u.choose(&["params", "pipeline_params", "parameters", "initialParameters"])?;
            object.insert(key.to_owned(), Patch::arbitrary(u)?.to_json().into());
            for _ in 0..u.int_in_range(0..=2)? {
                let keys =
                    ["name", "pipeline", "pipeline_id", "model_id", "output_rtmp_url", "adapt", "fade", "seconds"];
                let value = match u.int_in_range(0..=3)? {
                    0 => Value::Null,
                    1 => json!(u.arbitrary::<i16>()?),
                    2 => json!(u.arbitrary::<bool>()?),
                    _ => text(u)?,
                };
                object.insert((*u.choose(&keys)?).to_owned(), value);
            }
            Value::Object(object).to_string().into_bytes()
        }
    })
}

fn request<'a>(u: &mut Unstructured<'a>) -> Result<Request<'a>> {
    let methods = ["GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS", "TRACE"];
    let is_usual = u.ratio(7, 8)?;
    Ok(Request {
        // The first routes are those of streams.
        route: if bool::arbitrary(u)? { u.int_in_range(0..=8)? } else { u.arbitrary()? },
        method: if is_usual { None } else { Some(*u.choose(&methods)?) },
        name: if u.ratio(1, 8)? { Some(u.arbitrary()?) } else { None },
        query: if u.ratio(1, 8)? { u.arbitrary()? } else { "" },
        header: if u.ratio(1, 4)? { Some((u.arbitrary()?, u.arbitrary()?)) } else { None },
        body: body(u)?,
    })
}

/// Up to 16 requests in a row to a whole server, of every API: none shows a bug, each answer has a described status and
/// form, and a refused one changes nothing.
pub fn http_requests(bytes: &[u8]) {
    let mut input = Unstructured::new(bytes);
    let create = Request { route: 0, method: None, name: None, query: "", header: None, body: b"{}".to_vec() };
    let mut requests = vec![create];
    while !input.is_empty() && requests.len() < 16 {
        let Ok(request) = request(&mut input) else { break };
        requests.push(request);
    }
    fuzz_api::requests::requests(&RUNTIME, &requests);
}

/// The header `Range` and its condition, in two lines after the file's length: a part has bytes that the file has.
pub fn byte_range(bytes: &[u8]) {
    let Some((length, text)) = bytes.split_first_chunk() else { return };
    let mut lines = text.splitn(2, |&byte| byte == b'\n');
    let (range, condition) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    fuzz_api::byte_range(range, condition, u64::from_le_bytes(*length));
}

/// Any bytes as an OSC datagram: it is refused with a text of one line, or what it writes are parameters or is refused.
pub fn osc_packet(bytes: &[u8]) {
    fuzz_api::osc(bytes);
}

/// Any text as an entry of a cluster's registry: only what a member sealed is opened, and only unchanged.
pub fn registry_entry(bytes: &[u8]) {
    let mut input = Unstructured::new(bytes);
    let Ok((now, change, key)) = <(u32, u16, &str)>::arbitrary(&mut input) else { return };
    let Ok(entry) = std::str::from_utf8(input.take_rest()) else { return };
    fuzz_api::registry_entry(key, now.into(), entry, change.into());
}

/// The encoded pictures of a small video.
static PICTURES: LazyLock<Vec<Bytes>> = LazyLock::new(|| {
    let (mut rest, mut pictures) = (&include_bytes!("../seeds/h264_decode/small.units")[..], Vec::new());
    while let Some((length, after)) = rest.split_first_chunk() {
        let (picture, after) = after.split_at(u16::from_le_bytes(*length).into());
        pictures.push(Bytes::copy_from_slice(picture));
        rest = after;
    }
    pictures
});

/// Pictures and sound at any times, and the name of a file: segments follow each other, and the playlist names only
/// files that there are.
pub fn hls(bytes: &[u8]) {
    let mut input = Unstructured::new(bytes);
    let Ok(name) = input.arbitrary::<&str>() else { return };
    let (mut at, mut units) = (0_u64, Vec::new());
    while !input.is_empty() && units.len() < 300 {
        let Ok((index, millis, is_odd)) = <(u8, u8, bool)>::arbitrary(&mut input) else { break };
        let index = usize::from(index) % PICTURES.len();
        let data = match is_odd.then(|| input.arbitrary::<&[u8]>()) {
            Some(Ok(data)) if millis % 8 == 0 => Bytes::copy_from_slice(data),
            _ => PICTURES[index].clone(),
        };
        let step = if millis == 255 { 7_000_000_000 } else { u64::from(millis) * 10_000_000 };
        at = if millis == 254 { 0 } else { at + step };
        let sound = bool::arbitrary(&mut input).unwrap_or_default().then(|| u32::from(millis) * 48);
        units.push((AccessUnit::new(data, index == 0, Timestamp(at)), sound));
    }
    fuzz_api::hls(units, name);
}

fn step<'a>(u: &mut Unstructured<'a>) -> Result<Step<'a>> {
    let commands = ["createStream", "FCPublish", "releaseStream", "FCUnpublish", "deleteStream", "play", "_checkbw"];
    // Kinds of messages that have no effect on the others.
    let others = [3, 5, 6, 15, 18, 22];
    Ok(match u.int_in_range(0..=9)? {
        0 => Step::ChunkSize(u.arbitrary()?),
        1 => Step::Connect(if u.ratio(7, 8)? { "live" } else { u.arbitrary()? }),
        2 => Step::Publish(key(u)?),
        3 => Step::Command(if u.ratio(7, 8)? { u.choose(&commands)? } else { key(u)? }),
        4 => Step::Other(*u.choose(&others)?, u.arbitrary()?),
        _ => Step::Media { video: u.arbitrary()?, time: u.arbitrary()?, tag: u.arbitrary()? },
    })
}

/// Returns text without a question mark, after which a key has settings.
fn key<'a>(u: &mut Unstructured<'a>) -> Result<&'a str> {
    Ok(u.arbitrary::<&str>()?.split('?').next().unwrap_or_default())
}

/// Messages of an RTMP publisher in any order and in pieces of any size: the connection wants, passes on and ends what
/// the protocol says, unchanged and in order.
pub fn rtmp_session(bytes: &[u8]) {
    let mut input = Unstructured::new(bytes);
    let Ok(pieces) = input.arbitrary::<[u8; 4]>() else { return };
    let mut steps: VecDeque<Step<'_>> = VecDeque::new();
    // Most inputs begin as a publisher does.
    if pieces[0] % 4 != 0 {
        steps.extend([Step::Connect("live"), Step::Publish("key")]);
    }
    while !input.is_empty() && steps.len() < 64 {
        let Ok(step) = step(&mut input) else { break };
        steps.push_back(step);
    }
    rtmp_api::session(steps.make_contiguous(), &pieces);
}

/// Any bytes as the values of an RTMP command: they are refused, or the same after they are written and read.
pub fn amf(bytes: &[u8]) {
    rtmp_api::amf(bytes);
}
