//! Gateways and workers that share a secret, in a registry that others write to as well.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use ring::hmac;
use serde_json::{Value, json};

use crate::client::Server;
use crate::gateway::{KEY, WITH_KEY, figure, ids, streams, wait, workers};
use crate::impostor::Impostor;
use crate::life::PATIENCE;
use crate::redis::Redis;
use crate::robust::takes_odd_bodies;

const SECRET: &[u8] = b"a secret of a test, which has 32 bytes and more";
const OTHER: &[u8] = b"another secret, which has 32 bytes and more, too";

/// A registry, and the files of who uses it.
struct Cluster {
    redis: Redis,
    folder: tempfile::TempDir,
}

impl Cluster {
    fn start() -> Option<Self> {
        let redis = Redis::start()?;
        let cluster = Self { redis, folder: tempfile::tempdir().unwrap() };
        for (name, secret) in [("secret", SECRET), ("other", OTHER)] {
            private(&cluster.folder.path().join(name), secret);
        }
        Some(cluster)
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn gateway(&self, more: &[&str]) -> Server {
        self.gateway_with("secret", more)
    }

    fn gateway_with(&self, secret: &str, more: &[&str]) -> Server {
        let (url, file) = (self.redis.url(), self.file(secret));
        Server::run("gateway", &[&["--registry", &url, "--registry-secret-file", &file], more].concat(), &[])
    }

    fn worker(&self, more: &[&str]) -> Server {
        self.worker_with(KEY, more)
    }

    fn worker_with(&self, key: (&str, &str), more: &[&str]) -> Server {
        let (url, file) = (self.redis.url(), self.file("secret"));
        Server::with(&[&["--registry", &url, "--registry-secret-file", &file], more].concat(), &[key])
    }

    /// Writes a worker's entry.
    fn register(&self, id: &str, entry: &str) {
        self.redis.ask(&["SADD", "dreamframe:workers", id]);
        self.redis.ask(&["SET", &worker_key(id), entry]);
    }
}

fn private(path: &Path, text: &[u8]) {
    std::fs::write(path, text).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
}

fn worker_key(id: &str) -> String {
    format!("dreamframe:worker:{id}")
}

/// The entry of a worker.
fn told(id: &str, url: &str) -> Value {
    json!({"id": id, "url": url, "open": false, "draining": false, "streams": 0, "max_streams": 64, "sessions": 0,
        "max_sessions": 4})
}

/// Seconds from now, since 1970.
fn in_seconds(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap() + seconds
}

/// The entry in the registry under `key`, in the format of `docs/scale-out.md`, created independently of the program's
/// code.
fn sealed(secret: &[u8], key: &str, expiry: i64, payload: &str) -> String {
    let mut message = Vec::new();
    for field in ["dreamframe registry 1", key, &expiry.to_string(), payload] {
        message.extend(u32::try_from(field.len()).unwrap().to_be_bytes());
        message.extend(field.as_bytes());
    }
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), &message);
    let digits: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("1 {expiry} {digits} {payload}")
}

fn list(gateway: &Server) -> crate::client::Answer {
    gateway.send("GET", "/v1/streams", &[WITH_KEY], b"")
}

fn create(server: &Server, more: &[&str]) -> Value {
    let answer = server.send("POST", "/v1/streams", &[&[WITH_KEY], more].concat(), b"{}");
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.value()
}

#[test]
fn an_entry_without_the_secret_behind_it_gets_no_key() {
    let Some(cluster) = Cluster::start() else { return };
    let (worker, gateway, impostor) = (cluster.worker(&[]), cluster.gateway(&[]), Impostor::start("200 OK", ""));
    workers(&gateway, 1);
    let id = |at: usize| format!("wkr_{at:016}");
    let json = |at: usize| told(&id(at), &impostor.url()).to_string();
    let own = |at: usize, secret, expiry| sealed(secret, &worker_key(&id(at)), in_seconds(expiry), &json(at));
    let changed = |at: usize| {
        let honest =
            sealed(SECRET, &worker_key(&id(at)), in_seconds(8), &told(&id(at), "http://10.0.0.5:1").to_string());
        honest.replace("http://10.0.0.5:1", &impostor.url())
    };
    let entries = [
        // What workers wrote before there was a secret.
        json(0),
        format!("1 {} - {}", in_seconds(8), json(1)),
        format!("1 {} {} {}", in_seconds(8), "0".repeat(64), json(2)),
        own(3, OTHER, 8),
        changed(4),
        // Stolen: written for another id.
        own(4, SECRET, 8),
        // Stolen, and the worker within is the one that it was written for.
        sealed(SECRET, &worker_key(&id(6)), in_seconds(8), &json(5)),
        own(7, SECRET, -60),
        own(8, SECRET, 3600),
        "1 ".to_owned(),
        String::new(),
    ];
    for (at, entry) in entries.iter().enumerate() {
        cluster.register(&id(at), entry);
        assert_eq!(ids(&list(&gateway)).len(), at, "{entry}");
        // As many streams as there are entries: each request might be the one that is led astray.
        create(&gateway, &[]);
        assert_eq!(impostor.heads(), Vec::<String>::new(), "{entry}");
    }
    assert_eq!((figure(&gateway, "workers"), streams(&worker)), (1, entries.len() as u64));
    assert!(figure(&gateway, "registry_entries_refused_total") >= entries.len() as u64 - 1);
    // The same impostor with an entry that the secret is behind is believed, so that the test above sees what it looks for.
    cluster.register(&id(20), &own(20, SECRET, 8));
    list(&gateway);
    assert!(impostor.heads().iter().any(|head| head.contains("key-for-all-of-a-test")), "{:?}", impostor.heads());
}

#[test]
fn a_stream_is_where_a_worker_with_the_secret_says() {
    let Some(cluster) = Cluster::start() else { return };
    let impostor = Impostor::start("200 OK", "");
    // A valid entry of a full worker, so that it gets only requests that name its stream.
    let full = cluster.worker(&["--worker-url", &impostor.url(), "--max-streams", "1"]);
    create(&full, &[]);
    // Until it is published, a gateway may choose the worker for a stream that does not exist.
    let entry = wait("the entry of the full worker", || {
        let known = cluster.redis.everything();
        let full = |line: &&str| line.contains(&impostor.url()) && line.contains(r#""streams":1,"#);
        known.lines().find(full).map(str::to_owned)
    });
    let full_id = entry.split('"').find(|part| part.starts_with("wkr_")).unwrap().to_owned();
    let (honest, gateway) = (cluster.worker(&[]), cluster.gateway(&[]));
    workers(&gateway, 2);
    let name = "str_111";
    let key = "dreamframe:stream:".to_owned() + &digest(name);
    let path = format!("/v1/streams/{name}");
    let ask = || gateway.send("GET", &path, &[WITH_KEY], b"").status;
    let entries = [
        full_id.clone(),
        format!("1 {} - {full_id}", in_seconds(8)),
        sealed(OTHER, &key, in_seconds(8), &full_id),
        sealed(SECRET, "dreamframe:stream:0", in_seconds(8), &full_id),
        sealed(SECRET, &key, in_seconds(-60), &full_id),
    ];
    for entry in entries {
        cluster.redis.ask(&["SET", &key, &entry]);
        assert_eq!((ask(), impostor.heads().len()), (404, 0), "{entry}");
    }
    cluster.redis.ask(&["SET", &key, &sealed(SECRET, &key, in_seconds(8), &full_id)]);
    assert_eq!((ask(), impostor.heads().len()), (200, 1));
    drop(honest);
}

/// The part of a registry key for a stream's name.
fn digest(name: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, name.as_bytes());
    digest.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_worker_that_refuses_every_key_hides_nothing_of_the_others() {
    let Some(cluster) = Cluster::start() else { return };
    let refusing = Impostor::start("401 Unauthorized", "");
    let (one, gateway) = (cluster.worker(&[]), cluster.gateway(&[]));
    workers(&gateway, 1);
    create(&one, &[]);
    create(&one, &[]);
    let _other = cluster.worker_with(KEY, &["--worker-url", &refusing.url()]);
    workers(&gateway, 2);
    assert_eq!(ids(&list(&gateway)).len(), 2);
    assert_eq!(refusing.heads().len(), 1);
    // An unknown key is refused nevertheless.
    let wrong = gateway.send("GET", "/v1/streams", &["authorization: Bearer key-of-nobody"], b"");
    assert_eq!(wrong.status, 401, "{}", wrong.text());
}

#[test]
fn gateway_does_not_follow_redirects_of_workers() {
    let Some(cluster) = Cluster::start() else { return };
    let target = Impostor::start("200 OK", "");
    let leading = Impostor::start("307 Temporary Redirect", &format!("location: {}/v1/streams\r\n", target.url()));
    let (_worker, gateway) = (cluster.worker(&["--worker-url", &leading.url()]), cluster.gateway(&[]));
    workers(&gateway, 1);
    for method in ["GET", "POST"] {
        let answer = gateway.send(method, "/v1/streams", &[WITH_KEY], b"{}");
        assert_eq!(answer.status, 307, "{}", answer.text());
    }
    assert_eq!((leading.heads().len(), target.heads().len()), (2, 0));
}

#[test]
fn a_worker_believes_forwarded_headers_of_its_gateways_alone() {
    let Some(cluster) = Cluster::start() else { return };
    let (worker, gateway) = (cluster.worker(&[]), cluster.gateway(&[]));
    workers(&gateway, 1);
    let forwarded = ["x-forwarded-host: evil.example", "x-forwarded-proto: https"];
    let whip = |server: &Server, headers: &[&str]| create(server, headers)["whip_url"].as_str().unwrap().to_owned();
    // A gateway may be behind a proxy, which sends the requested host.
    assert!(whip(&gateway, &forwarded).starts_with("https://evil.example/"));
    assert!(whip(&gateway, &[]).starts_with(&format!("http://{}/", gateway.address)));
    for headers in [&forwarded[..], &["forwarded: host=evil.example;proto=https"], &[]] {
        assert!(whip(&worker, headers).starts_with(&format!("http://{}/", worker.address)), "{headers:?}");
    }
    // A client that pretends to be a gateway is rejected.
    let false_proof = format!("dreamframe-gateway: 1 {} {}", in_seconds(0), "0".repeat(64));
    for proof in [&false_proof, "dreamframe-gateway: 1", "dreamframe-gateway:"] {
        let answer = worker.send("POST", "/v1/streams", &[&[WITH_KEY, proof], &forwarded[..]].concat(), b"{}");
        assert_eq!(answer.expect_error(403)["code"], "GATEWAY/NOT_AUTHENTIC", "{proof}");
    }
    // A client's own is not passed on.
    assert!(whip(&gateway, &[&false_proof]).starts_with(&format!("http://{}/", gateway.address)));
}

#[test]
fn gateway_with_a_proof_forwards_requests_and_responses_unchanged() {
    let Some(cluster) = Cluster::start() else { return };
    let (url, file) = (cluster.redis.url(), cluster.file("secret"));
    let worker = Server::with(&["--registry", &url, "--registry-secret-file", &file], &[]);
    let gateway = cluster.gateway(&[]);
    workers(&gateway, 1);
    takes_odd_bodies(&gateway);
    for target in [
        "/",
        "/?",
        "/?x=1",
        "/v1/schema?a=%20&b=//",
        "/v1//streams",
        "/%ff",
        "/a%2Fb",
        "//v1/streams",
        "/~!$&'()*+,;=:@|{}",
    ] {
        let (through, direct) = (gateway.get(target), worker.get(target));
        assert_eq!(
            (through.status, through.header("content-type")),
            (direct.status, direct.header("content-type")),
            "{target}"
        );
        let absolute = gateway.get(&format!("http://elsewhere.example{target}"));
        assert_eq!(absolute.status, direct.status, "{target}");
    }
    let bare = gateway.get("http://elsewhere.example?x=1");
    assert_eq!(bare.status, 200, "{}", bare.text());
}

#[test]
fn members_with_another_secret_form_another_cluster() {
    let Some(cluster) = Cluster::start() else { return };
    let (_worker, gateway) = (cluster.worker(&[]), cluster.gateway(&[]));
    workers(&gateway, 1);
    let url = cluster.redis.url();
    let strangers = [cluster.gateway_with("other", &[]), Server::run("gateway", &["--registry", &url], &[])];
    for stranger in &strangers {
        assert_eq!(stranger.get("/ready").expect_error(503)["code"], "GATEWAY/NO_WORKER");
        assert_eq!(list(stranger).expect_error(503)["code"], "GATEWAY/NO_WORKER");
        assert_eq!(figure(stranger, "workers"), 0);
    }
    // A worker without the secret is found by the gateway without it, and by no other.
    let open = Server::with(&["--registry", &url], &[KEY]);
    workers(&strangers[1], 1);
    create(&strangers[1], &[]);
    assert_eq!((streams(&open), figure(&gateway, "workers")), (1, 1));
}

#[test]
fn keys_go_to_no_address_that_is_not_listed() {
    let Some(cluster) = Cluster::start() else { return };
    let impostor = Impostor::start("200 OK", "");
    let listed = |networks: &str| cluster.gateway(&["--workers", networks]);
    let [none, loopback] = [listed("192.0.2.0/24,2001:db8::/32"), listed("192.0.2.0/24,127.0.0.0/8,::1")];
    let any = cluster.gateway(&[]);
    // An address, and a name that is looked up when it is asked.
    let port = impostor.address.port();
    let (_one, _two) = (
        cluster.worker(&["--worker-url", &impostor.url()]),
        cluster.worker(&["--worker-url", &format!("http://localhost:{port}")]),
    );
    workers(&any, 2);
    workers(&none, 1);
    for (method, path) in [("GET", "/v1/streams"), ("POST", "/v1/streams"), ("GET", "/v1/schema")] {
        let answer = none.send(method, path, &[WITH_KEY], b"");
        assert_eq!(answer.status, 503, "{method} {path}: {}", answer.text());
    }
    assert_eq!(impostor.heads(), Vec::<String>::new());
    assert_eq!(list(&loopback).status, 200);
    assert_eq!(impostor.heads().len(), 2);
}

#[test]
fn without_a_secret_workers_are_on_this_machine() {
    let Some(redis) = Redis::start() else { return };
    let gateway = Server::run("gateway", &["--registry", &redis.url()], &[]);
    let _far = Server::with(&["--registry", &redis.url(), "--worker-url", "http://192.0.2.1:9"], &[KEY]);
    wait("the entry is seen and refused", || {
        assert_eq!(figure(&gateway, "workers"), 0);
        (figure(&gateway, "registry_entries_refused_total") > 0).then_some(())
    });
    let _near = Server::with(&["--registry", &redis.url()], &[KEY]);
    workers(&gateway, 1);
}

#[test]
fn gateways_reach_workers_by_tls_where_they_are_given_an_authority() {
    let Some(cluster) = Cluster::start() else { return };
    let certificate = |name: &str| {
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        private(&cluster.folder.path().join(format!("{name}.pem")), cert.pem().as_bytes());
        private(&cluster.folder.path().join(format!("{name}-key.pem")), signing_key.serialize_pem().as_bytes());
    };
    certificate("own");
    certificate("false");
    let (cert, key, other) = (cluster.file("own.pem"), cluster.file("own-key.pem"), cluster.file("false.pem"));
    let worker = cluster.worker(&["--tls-cert", &cert, "--tls-key", &key]);
    let [with, wrong, without] =
        [cluster.gateway(&["--workers-ca", &cert]), cluster.gateway(&["--workers-ca", &other]), cluster.gateway(&[])];
    workers(&with, 1);
    let stream = create(&with, &[]);
    assert!(stream["whip_url"].as_str().unwrap().starts_with(&format!("http://{}/", with.address)));
    assert_eq!(ids(&list(&with)).len(), 1);
    // Another authority's word is not taken, and without one such a worker is not asked.
    assert_eq!(list(&wrong).expect_error(503)["code"], "GATEWAY/UNREACHABLE");
    assert_eq!(list(&without).expect_error(503)["code"], "GATEWAY/NO_WORKER");
    // Where there is an authority, nothing is sent in clear.
    let plain = cluster.worker(&[]);
    workers(&without, 1);
    for _ in 0..3 {
        create(&with, &[]);
    }
    assert_eq!((streams(&plain), figure(&with, "workers")), (0, 1));
    drop(worker);
}

#[test]
fn a_registry_that_others_reach_needs_a_secret_that_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &[u8]| -> PathBuf {
        let path = folder.path().join(name);
        private(&path, text);
        path
    };
    let (short, open) = (file("short", &SECRET[..31]), file("open", SECRET));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    let refused = |subcommand: &str, more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dreamframe"));
        command.args([subcommand, "--bind", "127.0.0.1:0", "--registry", "redis://192.0.2.1:6379"]).args(more);
        command.env_remove("DREAMFRAME_REGISTRY_SECRET_FILE").stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let began = Instant::now();
        while child.try_wait().unwrap().is_none() && began.elapsed() < PATIENCE {
            std::thread::yield_now();
        }
        // One that starts all the same is ended.
        let _ = child.kill();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    for subcommand in ["serve", "gateway"] {
        let text = refused(subcommand, &[]);
        assert!(text.contains("registry_secret_file"), "{text}");
        let text = refused(subcommand, &["--registry-secret-file", short.to_str().unwrap()]);
        assert!(text.contains("got 31 bytes, expected at least 32"), "{text}");
        if cfg!(unix) {
            let text = refused(subcommand, &["--registry-secret-file", open.to_str().unwrap()]);
            assert!(text.contains("got mode 644"), "{text}");
        }
    }
}

#[test]
fn invalid_entries_and_a_hanging_registry_block_no_one_for_long() {
    let Some(cluster) = Cluster::start() else { return };
    let (_worker, gateway) = (cluster.worker(&[]), cluster.gateway(&[]));
    workers(&gateway, 1);
    // An entry as large as Redis takes in one piece by a command line's argument, one of another type, and ids of any form.
    cluster.redis.ask(&[
        "SADD",
        "dreamframe:workers",
        "wkr_0000000000000001",
        "wkr_0000000000000002",
        "x",
        "",
        "wkr_*",
    ]);
    cluster.redis.ask(&["SETRANGE", &worker_key("wkr_0000000000000001"), "100000000", "x"]);
    cluster.redis.ask(&["SADD", &worker_key("wkr_0000000000000002"), "x"]);
    // Ids of workers that do not exist are removed.
    let absent: Vec<String> = (0..2000).map(|at| format!("wkr_{at:016}")).collect();
    let add: Vec<&str> = ["SADD", "dreamframe:workers"].into_iter().chain(absent.iter().map(String::as_str)).collect();
    cluster.redis.ask(&add);
    create(&gateway, &[]);
    assert_eq!(ids(&list(&gateway)).len(), 1);
    // The worker's own stays, as do the three that are not ids, which are ignored.
    assert_eq!(cluster.redis.ask(&["SCARD", "dreamframe:workers"]).trim(), "4");
    cluster.redis.halt();
    for _ in 0..2 {
        let began = Instant::now();
        assert_eq!(list(&gateway).expect_error(503)["code"], "GATEWAY/NO_REGISTRY");
        assert!(began.elapsed() < PATIENCE / 3, "{:?}", began.elapsed());
    }
    cluster.redis.go_on();
    wait("the registry is back", || (list(&gateway).status == 200).then_some(()));
}

#[test]
fn requests_without_a_worker_are_answered_by_the_gateway() {
    let Some(cluster) = Cluster::start() else { return };
    let impostor = Impostor::start("200 OK", "");
    let (_worker, gateway) = (cluster.worker(&["--worker-url", &impostor.url()]), cluster.gateway(&[]));
    workers(&gateway, 1);
    let answer = gateway.raw("CONNECT 127.0.0.1:1 HTTP/1.1\nhost: 127.0.0.1:1\nconnection: close", b"");
    assert_eq!((answer.status, impostor.heads().len()), (405, 0));
    // A request target in absolute form has the client's address of the gateway; the request is forwarded nevertheless.
    let head = "GET http://127.0.0.1:1/v1/schema HTTP/1.1\nhost: 127.0.0.1:1\nconnection: close";
    assert_eq!(gateway.raw(head, b"").status, 200);
    // Two lengths, or a length with chunks, do not reach it unchanged.
    let smuggled = "POST /v1/streams HTTP/1.1\nhost: localhost\nconnection: close, content-length\ncontent-length: 4\n\
                    transfer-encoding: chunked";
    gateway.raw(smuggled, b"0\r\n\r\nGET /v1/api-key HTTP/1.1\r\nhost: x\r\n\r\n");
    let heads = impostor.heads();
    assert!(!heads.iter().any(|head| head.contains("api-key")), "{heads:?}");
    let last = heads.last().unwrap().to_ascii_lowercase();
    assert_eq!((last.matches("content-length").count(), last.matches("transfer-encoding").count()), (0, 1), "{last}");
}
