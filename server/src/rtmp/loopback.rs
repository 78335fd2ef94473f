//! Tests of publishing and pushing over loopback: with both sides of this crate, and with FFmpeg if it is installed.

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dreamframe::Stamp;
use dreamframe::frame::{FrameView, PixelFormat, Timestamp};
use dreamframe::transport::{AccessUnit, AudioHub, Egress, EgressOptions, now};
use dreamframe_tests::native::REQUIRE_TOOLS;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::listen::{Authenticator, Publication};
use super::{Limits, Push, PushTo, PushedSound, Report, Target, listen};
use crate::outputs::Source;
use crate::sound::testing::{heard, run, tone};
use crate::sound::{Format, Packet, SoundHub};

const KEY: &str = "stk_1";

/// Timeout that no test reaches, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Accepts one key and the newest publisher only, and records what is received.
#[derive(Debug)]
struct OneStream {
    turn: watch::Sender<u64>,
    units: Arc<Mutex<Vec<AccessUnit>>>,
    sounds: Arc<Mutex<Vec<Packet>>>,
}

#[derive(Debug)]
struct Turn {
    number: u64,
    turns: watch::Receiver<u64>,
    units: Arc<Mutex<Vec<AccessUnit>>>,
    sounds: Arc<Mutex<Vec<Packet>>>,
}

impl OneStream {
    fn new() -> Arc<Self> {
        Arc::new(Self { turn: watch::Sender::new(0), units: Arc::default(), sounds: Arc::default() })
    }
}

impl Authenticator for OneStream {
    fn admit(&self, key: &str) -> Option<Box<dyn Publication>> {
        if key != KEY {
            return None;
        }
        self.turn.send_modify(|turn| *turn += 1);
        let turns = self.turn.subscribe();
        let number = *turns.borrow();
        Some(Box::new(Turn { number, turns, units: self.units.clone(), sounds: self.sounds.clone() }))
    }
}

impl Publication for Turn {
    fn access_unit(&self, unit: AccessUnit) {
        self.units.lock().unwrap().push(unit);
    }

    fn sound(&self, packet: Packet) {
        self.sounds.lock().unwrap().push(packet);
    }

    fn revoked(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let (number, mut turns) = (self.number, self.turns.clone());
        Box::pin(async move {
            let _ = turns.wait_for(|turn| *turn != number).await;
        })
    }
}

/// A listening server; it ends with the test.
struct Server {
    authenticator: Arc<OneStream>,
    at: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start(limits: Limits) -> Self {
        Self::start_with(None, limits).await
    }

    async fn start_with(tls: Option<Arc<ServerConfig>>, limits: Limits) -> Self {
        let authenticator = OneStream::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        let shared = authenticator.clone();
        tasks.spawn(async move { listen(shared, &listener, tls, limits).await });
        Self { authenticator, at, _tasks: tasks }
    }

    fn url(&self, key: &str) -> String {
        format!("rtmp://{}/aiWebrtc/{key}", self.at)
    }

    fn units(&self) -> Vec<AccessUnit> {
        self.authenticator.units.lock().unwrap().clone()
    }

    async fn wait_for_units(&self, count: usize) -> Vec<AccessUnit> {
        until(|| self.units().len() >= count).await;
        self.units()
    }
}

/// Polls a condition that has no notification.
async fn until(mut so: impl FnMut() -> bool) {
    let wait = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("it takes too long");
}

/// A source that shows a moving picture until this is dropped.
struct Pictures {
    source: Source,
    tasks: JoinSet<()>,
}

impl Pictures {
    /// Adds sound: packets that arrive at their times, after now.
    fn hear(&mut self, packets: Vec<Packet>) {
        let (sound, start) = (self.source.sound.clone(), now());
        self.tasks.spawn(async move {
            for mut packet in packets {
                packet.at.0 += start.0;
                tokio::time::sleep(packet.at.since(now())).await;
                sound.send(packet);
            }
        });
    }
}

fn pictures() -> Pictures {
    let egress = Egress::new(EgressOptions::default());
    let mut tasks = JoinSet::new();
    let shown = egress.clone();
    tasks.spawn(async move {
        let mut every = tokio::time::interval(Duration::from_millis(33));
        for shade in 0_u8.. {
            every.tick().await;
            let pixels: Vec<u8> = (0..64 * 64 * 3).map(|at| (at as u8).wrapping_add(shade.wrapping_mul(3))).collect();
            let view = FrameView::packed(PixelFormat::Rgb8, 64, 64, &pixels).unwrap();
            shown.show(&view.with_stamp(Stamp { timestamp: now(), ..Stamp::default() }));
        }
    });
    Pictures { source: Source { egress, sound: SoundHub::new(AudioHub::default()) }, tasks }
}

/// A report that keeps the last error.
fn reports() -> (Report, Arc<Mutex<Vec<Option<String>>>>) {
    let said = Arc::new(Mutex::new(Vec::new()));
    let keep = said.clone();
    let report: Report = Arc::new(move |state| {
        let mut said = keep.lock().unwrap();
        // Another sound is no change here.
        if state.is_err() || said.last() != Some(&None) {
            said.push(state.err());
        }
    });
    (report, said)
}

/// Allows pushing to this machine.
fn here() -> Arc<PushTo> {
    Arc::new(PushTo::new(&[], true).unwrap())
}

fn target(url: &str) -> Target {
    Target::parse(url).unwrap()
}

#[tokio::test]
async fn a_push_arrives_from_a_key_frame_on_and_ends_when_it_is_dropped() {
    let (server, pictures, (report, said)) = (Server::start(Limits::default()).await, pictures(), reports());
    let push = Push::start(target(&server.url(KEY)), pictures.source.clone(), here(), report);
    let units = server.wait_for_units(20).await;
    assert!(units[0].key);
    assert_eq!(*said.lock().unwrap(), [None]);
    assert_eq!(pictures.source.egress.viewers(), 1);
    drop(push);
    until(|| pictures.source.egress.viewers() == 0).await;
}

#[tokio::test]
async fn push_without_a_service_reports_the_reason_and_reconnects() {
    let (pictures, (report, said)) = (pictures(), reports());
    // A port without a listener until the first attempt has failed.
    let place = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = place.local_addr().unwrap();
    drop(place);
    let _push = Push::start(target(&format!("rtmp://{at}/live/{KEY}")), pictures.source.clone(), here(), report);
    until(|| said.lock().unwrap().iter().flatten().any(|said| said.starts_with("pushing by RTMP fails"))).await;
    let authenticator = OneStream::new();
    let mut tasks = JoinSet::new();
    let listener = TcpListener::bind(at).await.unwrap();
    let shared = authenticator.clone();
    tasks.spawn(async move { listen(shared, &listener, None, Limits::default()).await });
    until(|| authenticator.units.lock().unwrap().len() > 5).await;
    assert_eq!(said.lock().unwrap().last(), Some(&None));
}

#[tokio::test]
async fn a_push_that_panics_connects_again() {
    let (server, pictures, (report, said)) = (Server::start(Limits::default()).await, pictures(), reports());
    let has_panicked = AtomicBool::new(false);
    let panicking: Report = Arc::new(move |state| {
        assert!(state.is_err() || has_panicked.swap(true, Ordering::Relaxed), "a defect of the push");
        report(state);
    });
    let _push = Push::start(target(&server.url(KEY)), pictures.source.clone(), here(), panicking);
    server.wait_for_units(5).await;
    assert_eq!(*said.lock().unwrap(), [Some("pushing by RTMP fails: it panicked".to_owned()), None]);
}

#[tokio::test]
async fn services_without_rtmp_are_reported_with_the_same_sentence() {
    let pictures = pictures();
    let place = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = place.local_addr().unwrap();
    drop(place);
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = other.local_addr().unwrap();
    let mut services = JoinSet::new();
    services.spawn(async move {
        while let Ok((mut socket, _)) = other.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut socket, b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let mut told = Vec::new();
    for (at, allowed) in [(closed.to_string(), here()), (at.to_string(), here()), (at.to_string(), Arc::default())] {
        let (report, said) = reports();
        let url = target(&format!("rtmp://{at}/live/{KEY}"));
        let _push = Push::start(url, pictures.source.clone(), allowed, report);
        until(|| !said.lock().unwrap().is_empty()).await;
        told.push(said.lock().unwrap()[0].clone());
    }
    assert!(told.iter().all(|said| said.is_some() && *said == told[0]), "{told:?}");
}

#[tokio::test]
async fn an_unknown_key_is_refused_and_a_second_publisher_takes_the_place_of_the_first() {
    let (server, pictures) = (Server::start(Limits::default()).await, pictures());
    let (report, said) = reports();
    let _unknown = Push::start(target(&server.url("stk_2")), pictures.source.clone(), here(), report);
    until(|| !said.lock().unwrap().is_empty()).await;
    let refusal = said.lock().unwrap()[0].clone().unwrap();
    assert!(refusal.contains("no stream has this key") && !refusal.contains("stk_2"), "{refusal}");
    let (report, said) = reports();
    let _first = Push::start(target(&server.url(KEY)), pictures.source.clone(), here(), report);
    server.wait_for_units(1).await;
    let (report, _) = reports();
    let second = Push::start(target(&server.url(KEY)), pictures.source.clone(), here(), report);
    until(|| said.lock().unwrap().iter().flatten().any(|said| said.contains("another publisher"))).await;
    drop(second);
}

/// Connects, sends `bytes`, and returns how the server ends the connection.
async fn rude(at: SocketAddr, bytes: &[u8]) -> usize {
    let mut socket = TcpStream::connect(at).await.unwrap();
    let _ = tokio::io::AsyncWriteExt::write_all(&mut socket, bytes).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut answer)).await;
    // Any kind of end is accepted.
    let _ = read.expect("the connection is still there");
    answer.len()
}

#[tokio::test]
async fn garbage_silence_and_crowds_are_sent_away() {
    let short = Duration::from_millis(300);
    let limits = Limits { waiting: 2, admission: short, idle: short, ..Limits::default() };
    let server = Server::start(limits).await;
    rude(server.at, b"GET / HTTP/1.1\r\n\r\n").await;
    rude(server.at, &[3; 40_000]).await;
    rude(server.at, &[]).await;
    // Slow connections hold both permits until their timeout; the third is rejected immediately.
    let mut slow = [TcpStream::connect(server.at).await.unwrap(), TcpStream::connect(server.at).await.unwrap()];
    for socket in &mut slow {
        tokio::io::AsyncWriteExt::write_all(socket, &[3]).await.unwrap();
        // The first response shows that it has a permit.
        socket.read_exact(&mut [0; 1537]).await.unwrap();
    }
    assert_eq!(rude(server.at, &[3]).await, 0);
    for socket in &mut slow {
        let _ = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut Vec::new())).await.expect("no time-out");
    }
    let pictures = pictures();
    let _push = Push::start(target(&server.url(KEY)), pictures.source.clone(), here(), reports().0);
    server.wait_for_units(1).await;
}

#[tokio::test]
async fn unfinished_handshakes_and_missing_media_time_out() {
    let long = Duration::from_secs(3600);
    let limits = Limits { handshake: Duration::from_millis(50), admission: long, idle: long, ..Limits::default() };
    let server = Server::start(limits).await;
    // One byte of the handshake only.
    rude(server.at, &[3]).await;
    let limits = Limits { silence: Duration::from_millis(300), idle: long, ..Limits::default() };
    let server = Server::start(limits).await;
    let mut subscriber = super::subscriber::Subscriber::new(target(&server.url(KEY)));
    let mut socket = TcpStream::connect(server.at).await.unwrap();
    let ended = async {
        let mut bytes = [0; 4096];
        loop {
            tokio::io::AsyncWriteExt::write_all(&mut socket, &subscriber.take_output()).await.unwrap();
            let len = socket.read(&mut bytes).await.unwrap();
            if len == 0 {
                return subscriber.is_ready();
            }
            subscriber.push(&bytes[..len]).unwrap();
        }
    };
    assert!(tokio::time::timeout(PATIENCE, ended).await.expect("the connection is still there"), "it was let in");
}

#[tokio::test]
async fn silent_connections_of_one_address_do_not_exclude_publishers() {
    let server = Server::start(Limits::default()).await;
    let mut silent = Vec::new();
    for _ in 0..8 {
        let mut socket = TcpStream::connect(server.at).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut socket, &[3]).await.unwrap();
        socket.read_exact(&mut [0; 1537]).await.unwrap();
        silent.push(socket);
    }
    assert_eq!(rude(server.at, &[3]).await, 0, "the ninth that has not said its key is sent away");
    // A publisher with a known key releases the permit of its address.
    silent.truncate(7);
    let (pictures, (report, said)) = (pictures(), reports());
    let _push = Push::start(target(&server.url(KEY)), pictures.source.clone(), here(), report);
    server.wait_for_units(1).await;
    assert_eq!(said.lock().unwrap().last(), Some(&None));
    let mut next = TcpStream::connect(server.at).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut next, &[3]).await.unwrap();
    next.read_exact(&mut [0; 1537]).await.unwrap();
}

/// A running FFmpeg; it ends with the test.
struct Ffmpeg(Child);

impl Drop for Ffmpeg {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts FFmpeg; returns `None` and prints a note if it is not installed.
fn ffmpeg(arguments: &str) -> Option<Ffmpeg> {
    let mut command = Command::new("ffmpeg");
    command.args(["-hide_banner", "-loglevel", "error", "-y"]).args(arguments.split(' ')).stdin(Stdio::null());
    match command.spawn() {
        Ok(child) => Some(Ffmpeg(child)),
        Err(error) => {
            assert!(std::env::var_os(REQUIRE_TOOLS).is_none(), "FFmpeg cannot be started: {error}");
            eprintln!("skipped: FFmpeg cannot be started: {error}");
            None
        }
    }
}

#[tokio::test]
async fn ffmpeg_publishes_h264_with_aac() {
    let server = Server::start(Limits::default()).await;
    let arguments = format!(
        "-re -f lavfi -i testsrc2=s=128x96:r=30 -f lavfi -i sine -c:v libx264 -preset ultrafast -tune zerolatency -g 30 \
         -pix_fmt yuv420p -c:a aac -f flv {}?token=x",
        server.url(KEY)
    );
    let Some(_ffmpeg) = ffmpeg(&arguments.replace("  ", " ")) else { return };
    let units = server.wait_for_units(40).await;
    assert!(units[0].key);
    let mut decoder = openh264::decoder::Decoder::new().unwrap();
    let decoded = units.iter().filter(|unit| decoder.decode(&unit.data).is_ok_and(|picture| picture.is_some())).count();
    assert_eq!(decoded, units.len());
}

#[tokio::test]
async fn ffmpeg_publishes_its_aac_with_its_pictures() {
    let server = Server::start(Limits::default()).await;
    // The first picture that is white, and the tone, come after a second.
    let arguments = format!(
        "-re -f lavfi -i color=black:s=64x64:r=30,drawbox=t=fill:c=white:enable='gte(t,1)' -f lavfi -i \
         sine=f=600:r=48000,volume='gte(t,1)':eval=frame -c:v libx264 -preset ultrafast -tune zerolatency -g 30 -pix_fmt \
         yuv420p -c:a aac -ac 2 -t 2 -f flv {}",
        server.url(KEY)
    );
    let Some(_ffmpeg) = ffmpeg(&arguments) else { return };
    let units = server.wait_for_units(45).await;
    let sounds = server.authenticator.sounds.lock().unwrap().clone();
    assert!(matches!(sounds[0].format, Format::Aac(_)));
    let mut decoder = openh264::decoder::Decoder::new().unwrap();
    let white = units.iter().find(|unit| {
        let picture = decoder.decode(&unit.data).unwrap();
        picture.is_some_and(|picture| openh264::formats::YUVSource::y(&picture)[0] > 128)
    });
    // Frames with a tone are much longer than those without.
    let loud = sounds.iter().skip(4).find(|packet| packet.data.len() > 60);
    let (white, loud) = (white.unwrap().at.0 as f64, loud.unwrap().at.0 as f64);
    assert!((white - loud).abs() < 300e6, "{} ms apart", (white - loud) / 1e6);
}

/// A certificate of 127.0.0.1 that signs itself: the settings of a server, and its file.
fn certificate() -> (Arc<ServerConfig>, tempfile::NamedTempFile) {
    crate::listener::choose_tls();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), made.cert.pem()).unwrap();
    (Arc::new(config.unwrap()), file)
}

#[tokio::test]
async fn a_push_by_tls_arrives_if_its_certificate_is_trusted_and_no_other_does() {
    let (config, file) = certificate();
    let (server, pictures) = (Server::start_with(Some(config), Limits::default()).await, pictures());
    let url = server.url(KEY).replace("rtmp://", "rtmps://");
    let (report, said) = reports();
    let _distrusting = Push::start(target(&url), pictures.source.clone(), here(), report);
    until(|| !said.lock().unwrap().is_empty()).await;
    assert!(said.lock().unwrap()[0].is_some() && server.units().is_empty());
    let trusting = PushTo::new(&[], true).unwrap().with_authorities(file.path()).unwrap();
    let (report, said) = reports();
    let _push = Push::start(target(&url), pictures.source.clone(), Arc::new(trusting), report);
    assert!(server.wait_for_units(5).await[0].key);
    assert_eq!(*said.lock().unwrap(), [None]);
    // Unencrypted, and by TLS without a byte of RTMP: sent away.
    rude(server.at, &[3; 4000]).await;
    let empty = tempfile::NamedTempFile::new().unwrap();
    assert!(PushTo::default().with_authorities(empty.path()).is_err());
}

#[tokio::test]
async fn ffmpeg_publishes_by_tls() {
    let (config, _file) = certificate();
    let server = Server::start_with(Some(config), Limits::default()).await;
    let arguments = format!(
        "-re -f lavfi -i testsrc2=s=64x64:r=30 -c:v libx264 -preset ultrafast -tune zerolatency -pix_fmt yuv420p -f flv {}",
        server.url(KEY).replace("rtmp://", "rtmps://")
    );
    let Some(_ffmpeg) = ffmpeg(&arguments) else { return };
    assert!(server.wait_for_units(5).await[0].key);
}

#[tokio::test]
async fn opus_is_pushed_to_a_server_that_accepts_it() {
    let (server, mut pictures) = (Server::start(Limits::default()).await, pictures());
    let states = Arc::new(Mutex::new(Vec::new()));
    let keep = states.clone();
    let report: Report = Arc::new(move |state| keep.lock().unwrap().push(state));
    let _push = Push::start(target(&server.url(KEY)), pictures.source.clone(), here(), report);
    server.wait_for_units(1).await;
    let opus = |at: u64| Packet {
        format: Format::Opus,
        data: vec![0xF8, 0xFF, 0xFE, at as u8].into(),
        timestamp: at as u32 * 960,
        at: Timestamp(at * 20_000_000),
    };
    pictures.hear((0..100).map(opus).collect());
    let sounds = || server.authenticator.sounds.lock().unwrap().clone();
    until(|| sounds().iter().filter(|packet| packet.format == Format::Opus).count() > 20).await;
    let arrived: Vec<Packet> = sounds().into_iter().filter(|packet| packet.format == Format::Opus).collect();
    let first = arrived[0].data[3];
    assert!(arrived.iter().enumerate().all(|(at, packet)| packet.data[3] == first + at as u8), "in order and complete");
    assert_eq!(states.lock().unwrap().last(), Some(&Ok(PushedSound::Opus)));
}

/// The number of whole video tags in an FLV file, which may still be written.
fn video_tags(path: &Path) -> usize {
    let bytes = std::fs::read(path).unwrap_or_default();
    let (mut rest, mut count) = (bytes.get(13..).unwrap_or_default(), 0);
    while let [kind, a, b, c, ..] = *rest {
        let Some(next) = rest.get(15 + u32::from_be_bytes([0, a, b, c]) as usize..) else { break };
        count += usize::from(kind == 9);
        rest = next;
    }
    count
}

#[tokio::test]
async fn ffmpeg_receives_a_push_with_its_sound() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("received.flv");
    let place = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("rtmp://{}/live/{KEY}", place.local_addr().unwrap());
    drop(place);
    let arguments = format!("-listen 1 -i {url} -c copy -flush_packets 1 -f flv {}", path.display());
    let Some(mut ffmpeg) = ffmpeg(&arguments) else { return };
    // For longer than the pictures take on a busy machine: silence after it would have another rate, and FFmpeg would
    // start its filters again.
    let Some(packets) = tone("aac", 30, 1, Timestamp(0)) else { return };
    let (mut pictures, (report, said)) = (pictures(), reports());
    pictures.hear(packets);
    let push = Push::start(target(&url), pictures.source.clone(), here(), report);
    until(|| said.lock().unwrap().last() == Some(&None)).await;
    // One more than the pictures: the parameter sets have a tag of their own.
    until(|| video_tags(&path) > 85).await;
    drop(push);
    tokio::task::spawn_blocking(move || ffmpeg.0.wait().unwrap()).await.unwrap();
    let wanted = "stream=codec_name,width,height,nb_read_frames";
    let Some(said) = crate::media::coded::testing::ffprobe(&path, wanted) else { return };
    let frames: u64 = said.strip_prefix("h264,64,64,").expect(&said).parse().unwrap();
    assert!(frames >= 85, "{said}");
    assert!(said.len() < 20, "{said}");
    // The tone lasts a second. On a busy machine pictures are late in the meantime, and the sound follows them.
    let (first, last) = heard(&path).unwrap();
    assert!((0.5..2.0).contains(&(last - first)), "from {first} to {last}");
    let wanted = ["-select_streams", "a", "-show_entries", "stream=codec_name,sample_rate", "-of", "csv=p=0"];
    let said = run("ffprobe", &[&wanted[..], &[path.to_str().unwrap()]].concat()).unwrap();
    assert_eq!(String::from_utf8_lossy(&said).trim(), "aac,48000");
}
