//! Gateways and workers that find each other in a real Redis, where it is installed.

use std::time::Instant;

use serde_json::{Value, json};

use crate::client::{Answer, Server};
use crate::life::{PATIENCE, Publisher, made, until, watch};
use crate::redis::Redis;
use crate::robust::{takes_large_bodies, takes_odd_bodies};

/// Enough for the keys that a server takes.
pub(crate) const KEY: (&str, &str) = ("DREAMFRAME_API_KEYS", "key-for-all-of-a-test");
pub(crate) const WITH_KEY: &str = "authorization: Bearer key-for-all-of-a-test";

fn gateway(redis: &Redis) -> Server {
    Server::run("gateway", &["--registry", &redis.url()], &[])
}

fn worker(redis: &Redis, arguments: &[&str]) -> Server {
    Server::with(&[&["--registry", &redis.url()], arguments].concat(), &[])
}

/// Asks until `wanted`.
pub(crate) fn wait<T>(what: &str, mut wanted: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = wanted() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{what}");
        std::thread::yield_now();
    }
}

/// A figure of `/metrics`.
pub(crate) fn figure(server: &Server, name: &str) -> u64 {
    let text = server.get("/metrics").text();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("dreamframe_{name} ")));
    line.unwrap_or_else(|| panic!("{name}: {text}")).parse().unwrap()
}

pub(crate) fn workers(gateway: &Server, count: u64) {
    wait("workers", || (figure(gateway, "workers") == count).then_some(()));
}

pub(crate) fn streams(server: &Server) -> u64 {
    server.get("/health").value()["streams"].as_u64().unwrap()
}

pub(crate) fn ids(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.value()["data"].as_array().unwrap().iter().map(|stream| stream["id"].clone()).collect()
}

#[test]
fn streams_are_shared_out_and_each_is_found_again() {
    let Some(redis) = Redis::start() else { return };
    let (one, two) = (worker(&redis, &[]), worker(&redis, &["--max-streams", "8"]));
    let gateways = [gateway(&redis), gateway(&redis)];
    workers(&gateways[0], 2);
    let body = json!({"pipeline": "streamdiffusion", "name": "shared", "params": {}});
    // The share counts: 64 streams may be at one, eight at the other.
    let made: Vec<_> = (0..12).map(|at| gateways[at % 2].create(&body)).collect();
    assert!(streams(&one) >= 8 && streams(&two) >= 1, "{} and {}", streams(&one), streams(&two));
    assert_eq!(streams(&one) + streams(&two), 12);
    for (at, stream) in made.iter().enumerate() {
        let other = &gateways[(at + 1) % 2];
        let path = format!("/v1/streams/{}", stream["id"].as_str().unwrap());
        // Addresses are the gateway's that was asked.
        let host = stream["gateway_host"].as_str().unwrap();
        assert_eq!(host, gateways[at % 2].address);
        assert!(stream["whip_url"].as_str().unwrap().starts_with(&format!("http://{host}/")), "{stream:#}");
        assert_eq!(other.get(&path).value()["stream_key"], stream["stream_key"]);
        let patched = other.json("PATCH", &path, &json!({"params": {"prompt": "elsewhere"}}));
        assert_eq!(patched.value()["params"]["prompt"], "elsewhere");
        assert_eq!(gateways[at % 2].get(&format!("{path}/status")).status, 200);
        let playback = stream["output_playback_id"].as_str().unwrap();
        assert_eq!(other.get(&format!("/hls/{playback}/index.m3u8")).value()["code"], "STREAMS/OFFLINE");
    }
    let all: Vec<_> = made.iter().map(|stream| stream["id"].clone()).collect();
    let listed = ids(&gateways[1].get("/v1/streams"));
    assert!(listed.len() == 12 && all.iter().all(|id| listed.contains(id)), "{listed:?}");
    for (at, stream) in made.iter().enumerate() {
        let id = stream["id"].as_str().unwrap();
        let path = if at % 2 == 0 { format!("/v1/streams/{id}") } else { format!("/v1/streams?id={id}") };
        assert_eq!(gateways[0].send("DELETE", &path, &[], b"").status, 200);
        gateways[1].get(&format!("/v1/streams/{id}")).expect_error(404);
    }
    assert_eq!((streams(&one), streams(&two)), (0, 0));
}

#[test]
fn media_works_with_urls_of_a_gateway_and_no_secret_is_logged() {
    let Some(redis) = Redis::start() else { return };
    let (_one, _two, gateway) = (worker(&redis, &[]), worker(&redis, &[]), gateway(&redis));
    workers(&gateway, 2);
    let (path, whip, whep) = made(&gateway);
    let (viewer, seen) = watch(&whep);
    assert_eq!(seen.recv_timeout(PATIENCE), Ok((256, 256)));
    let publisher = Publisher::start(&whip);
    until(&gateway, &path, "pictures", |data| data["inference_status"]["fps"].as_f64().unwrap() > 0.0);
    let known = redis.everything();
    assert!(known.contains("wkr_") && known.contains("127.0.0.1"), "{known}");
    assert!(["str_", "stk_", "lp_"].iter().all(|name| !known.contains(name)), "{known}");
    drop((viewer, publisher));
}

#[test]
fn draining_worker_accepts_no_streams_and_keeps_its_own() {
    let Some(redis) = Redis::start() else { return };
    let (mut old, gateway) = (worker(&redis, &["--drain-seconds", "600"]), gateway(&redis));
    workers(&gateway, 1);
    let (path, whip, whep) = made(&gateway);
    let publisher = Publisher::start(&whip);
    old.ask_to_end();
    wait("the worker drains", || (old.get("/ready").status == 503).then_some(()));
    wait("gateways know", || (figure(&gateway, "workers_draining") == 1).then_some(()));
    let refused = gateway.json("POST", "/v1/streams", &json!({}));
    assert!(refused.expect_error(503)["code"] == "GATEWAY/NO_WORKER" && refused.header("retry-after") == "3");
    assert_eq!(old.json("POST", "/v1/streams", &json!({})).expect_error(503)["code"], "SERVER/DRAINING");
    let new = worker(&redis, &[]);
    workers(&gateway, 2);
    gateway.create(&json!({}));
    assert_eq!(streams(&new), 1);
    // The existing stream continues, for new viewers as well.
    let (viewer, seen) = watch(&whep);
    assert_eq!(seen.recv_timeout(PATIENCE), Ok((256, 256)));
    assert_eq!(gateway.get(&path).status, 200);
    drop(publisher);
    drop(viewer);
    assert!(old.child.wait().unwrap().success());
    workers(&gateway, 1);
    gateway.get(&path).expect_error(404);
}

#[test]
fn vanished_worker_is_avoided_immediately_and_expires() {
    let Some(redis) = Redis::start() else { return };
    let (mut one, two, gateway) = (worker(&redis, &[]), worker(&redis, &[]), gateway(&redis));
    workers(&gateway, 2);
    let made: Vec<_> = (0..4).map(|_| gateway.create(&json!({}))).collect();
    let path = |stream: &Value| format!("/v1/streams/{}", stream["id"].as_str().unwrap());
    assert_eq!((streams(&one), streams(&two)), (2, 2));
    let (gone, there): (Vec<_>, Vec<_>) = made.iter().partition(|stream| one.get(&path(stream)).status == 200);
    one.child.kill().unwrap();
    one.child.wait().unwrap();
    // Only one request finds out.
    let answers: Vec<_> = (0..4).map(|_| gateway.json("POST", "/v1/streams", &json!({})).status).collect();
    assert!(answers.iter().filter(|status| **status == 503).count() <= 1, "{answers:?}");
    assert_eq!(gateway.get(&path(there[0])).status, 200);
    assert!([404, 503].contains(&gateway.get(&path(gone[0])).status));
    workers(&gateway, 1);
    gateway.get(&path(gone[0])).expect_error(404);
    assert_eq!(ids(&gateway.get("/v1/streams")).len() as u64, streams(&two));
}

#[test]
fn without_workers_or_registry_a_gateway_returns_retry_after() {
    let Some(mut redis) = Redis::start() else { return };
    let gateway = gateway(&redis);
    for (method, path) in [("POST", "/v1/streams"), ("GET", "/"), ("GET", "/v1/streams/str_1"), ("GET", "/ready")] {
        let answer = gateway.send(method, path, &[], b"");
        assert!(answer.expect_error(503)["code"] == "GATEWAY/NO_WORKER" && answer.header("retry-after") == "3");
    }
    assert_eq!(gateway.get("/health").status, 200);
    let server = worker(&redis, &[]);
    workers(&gateway, 1);
    let stream = gateway.create(&json!({}));
    let path = format!("/v1/streams/{}", stream["id"].as_str().unwrap());
    redis.stop();
    let answer = gateway.get(&path);
    assert!(answer.expect_error(503)["code"] == "GATEWAY/NO_REGISTRY" && answer.header("retry-after") == "3");
    // The worker continues meanwhile, and publishes all of its entries to an empty registry.
    assert_eq!(server.get(&path).status, 200);
    redis.restart();
    wait("the stream is found again", || (gateway.get(&path).status == 200).then_some(()));
}

#[test]
fn workers_have_keys_and_gateways_only_pass_them_on() {
    let Some(redis) = Redis::start() else { return };
    let register = ["--registry", &redis.url()];
    let (_one, _two) = (Server::with(&register, &[KEY]), Server::with(&register, &[KEY]));
    let gateway = gateway(&redis);
    workers(&gateway, 2);
    gateway.json("POST", "/v1/streams", &json!({})).expect_error(401);
    gateway.get("/v1/streams").expect_error(401);
    for _ in 0..2 {
        assert_eq!(gateway.send("POST", "/v1/streams", &[WITH_KEY], b"{}").status, 201);
    }
    assert_eq!(ids(&gateway.send("GET", "/v1/streams", &[WITH_KEY], b"")).len(), 2);
}

#[test]
fn full_workers_are_429_with_the_figure_of_all() {
    let Some(redis) = Redis::start() else { return };
    let few = ["--max-streams", "1"];
    let (_one, _two, gateway) = (worker(&redis, &few), worker(&redis, &few), gateway(&redis));
    workers(&gateway, 2);
    gateway.create(&json!({}));
    gateway.create(&json!({}));
    let error = gateway.json("POST", "/v1/streams", &json!({})).expect_error(429);
    assert_eq!((&error["code"], &error["details"]["limit"]), (&json!("SERVER/LIMIT"), &json!(2)));
}

#[test]
fn scope_api_at_a_gateway_is_not_implemented() {
    let Some(redis) = Redis::start() else { return };
    let (_worker, gateway) = (worker(&redis, &[]), gateway(&redis));
    let answer = gateway.json("POST", "/api/v1/webrtc/offer", &json!({}));
    assert_eq!(answer.status, 501);
    assert!(answer.value()["detail"].as_str().unwrap().contains("worker"), "{}", answer.text());
}

#[test]
fn gateway_forwards_requests_and_responses_unchanged() {
    let Some(redis) = Redis::start() else { return };
    let (worker, gateway) = (worker(&redis, &[]), gateway(&redis));
    workers(&gateway, 1);
    takes_odd_bodies(&gateway);
    takes_large_bodies(&gateway);
    for path in ["/", "/page/app.js", "/v1/schema", "/no/such/path"] {
        let (through, direct) = (gateway.get(path), worker.get(path));
        assert_eq!((through.status, through.header("content-type")), (direct.status, direct.header("content-type")));
        assert!(through.status == 404 || through.body == direct.body, "{path}");
    }
    let head = gateway.send("HEAD", "/v1/schema", &[], b"");
    let length = worker.get("/v1/schema").body.len();
    assert!(head.body.is_empty() && head.header("content-length") == length.to_string(), "{head:?}");
    let forwarded = ["x-forwarded-proto: https", "x-forwarded-host: sd.example"];
    let stream = gateway.send("POST", "/v1/streams", &forwarded, b"{}").value();
    assert!(stream["whip_url"].as_str().unwrap().starts_with("https://sd.example/live/"), "{stream}");
    // A refusal has one id, which is the one that the worker's log has.
    let refused = gateway.get("/v1/streams/str_1");
    assert_eq!(refused.expect_error(404)["requestId"], refused.header("x-request-id"));
}
