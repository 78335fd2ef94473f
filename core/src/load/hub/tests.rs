//! The hub's client against a small local HTTP server that simulates network failures.

mod repositories;
mod server;

use std::collections::HashMap;

use self::server::{Reply, Request, Server};
use super::*;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
fn sha(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn weights() -> Vec<u8> {
    (0..300_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

const CONFIG: &[u8] = br#"{"_class_name": "AutoencoderTiny"}"#;
/// Git's object id of `CONFIG`, as `git hash-object` gives it.
const CONFIG_ID: &str = "b30aa81ccc82b47814129cad030f305c1a88880c";
const WEIGHTS_PATH: &str =
    "/org/tiny/resolve/0123456789abcdef0123456789abcdef01234567/diffusion_pytorch_model.safetensors";

/// Returns a hub with one repository of two files, without failures.
fn good(request: &Request) -> Reply {
    let file = request.path.rsplit('/').next().unwrap_or("");
    match file {
        "main" if request.path == "/api/models/org/tiny/revision/main" => {
            let files = ["README.md", "config.json", "diffusion_pytorch_model.safetensors"];
            let siblings: Vec<_> = files.iter().map(|file| serde_json::json!({ "rfilename": file })).collect();
            let body = serde_json::json!({ "sha": COMMIT, "siblings": siblings }).to_string().into_bytes();
            Reply { status: 200, body, ..Default::default() }
        }
        "config.json" => {
            let headers = vec![("ETag", format!("\"{CONFIG_ID}\""))];
            Reply { status: 200, headers, body: CONFIG.to_vec(), cut: None }
        }
        "diffusion_pytorch_model.safetensors" => {
            let body = weights();
            let mut headers = vec![("X-Linked-ETag", format!("\"{}\"", sha(&body)))];
            headers.push(("X-Linked-Size", body.len().to_string()));
            match request
                .headers
                .get("range")
                .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok())
            {
                Some(from) => {
                    headers.push(("Content-Range", format!("bytes {from}-{}/{}", body.len() - 1, body.len())));
                    Reply { status: 206, headers, body: body[from..].to_vec(), cut: None }
                }
                None => Reply { status: 200, headers, body, cut: None },
            }
        }
        _ => Reply { status: 404, ..Default::default() },
    }
}

struct Setup {
    server: Server,
    folder: tempfile::TempDir,
    hub: Hub,
}

fn setup(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Setup {
    let server = Server::start(handler);
    let folder = tempfile::tempdir().unwrap();
    let options = HubOptions {
        endpoint: server.url(),
        cache: HubCache::at(folder.path()),
        offline: false,
        token: Some("hf_secret".into()),
    };
    Setup { server, hub: Hub::with_pause(options, Duration::ZERO).unwrap(), folder }
}

fn id() -> ModelId {
    "org/tiny".parse().unwrap()
}

impl Setup {
    fn fetch(&self) -> Result<PathBuf> {
        self.hub.fetch(&id(), &mut |_| ControlFlow::Continue(()))
    }

    fn assert_fetched(&self) {
        let snapshot = self.fetch().unwrap();
        assert_eq!(std::fs::read(snapshot.join("config.json")).unwrap(), CONFIG);
        assert_eq!(std::fs::read(snapshot.join("diffusion_pytorch_model.safetensors")).unwrap(), weights());
        assert_eq!(HubCache::at(self.folder.path()).snapshot(&id()), Some(snapshot));
        assert!(self.incomplete().is_empty(), "{:?}", self.incomplete());
    }

    /// No file with a final name is incomplete.
    fn assert_nothing_half_written(&self) {
        let repository = HubCache::at(self.folder.path()).repository(&id());
        assert!(!repository.join("refs/main").exists());
        assert!(!repository.join("blobs").join(sha(&weights())).exists());
    }

    fn blobs(&self) -> PathBuf {
        HubCache::at(self.folder.path()).repository(&id()).join("blobs")
    }

    fn incomplete(&self) -> Vec<String> {
        let names =
            std::fs::read_dir(self.blobs()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".incomplete")).collect()
    }
}

fn is_weights_get(request: &Request) -> bool {
    request.method == "GET" && request.path == WEIGHTS_PATH
}

#[test]
fn a_model_comes_into_the_layout_of_the_cache() {
    let setup = setup(good);
    let mut seen = Vec::new();
    let snapshot = setup.hub.fetch(&id(), &mut |progress| {
        seen.push((progress.bytes, progress.total));
        ControlFlow::Continue(())
    });
    let snapshot = snapshot.unwrap();
    assert!(snapshot.ends_with(format!("models--org--tiny/snapshots/{COMMIT}")));
    let total = (CONFIG.len() + weights().len()) as u64;
    assert_eq!(seen.last(), Some(&(total, total)));
    assert!(seen.is_sorted());
    setup.assert_fetched();
    let again = setup.server.requests().iter().filter(|line| **line == format!("GET {WEIGHTS_PATH}")).count();
    assert_eq!(again, 1, "what is there is not fetched again");
    #[cfg(unix)]
    {
        let link = std::fs::read_link(snapshot.join("config.json")).unwrap();
        assert_eq!(link, Path::new("../../blobs").join(CONFIG_ID));
    }
}

#[test]
fn a_file_that_is_listed_twice_is_fetched_once() {
    // Of weights with a name of their own, there may be one file.
    let files = ["config.json", "own.safetensors", "config.json", "own.safetensors"];
    let setup = setup(move |request| match request.path.rsplit('/').next() {
        Some("main") => {
            let siblings = files.map(|file| serde_json::json!({ "rfilename": file }));
            let body = serde_json::json!({ "sha": COMMIT, "siblings": siblings }).to_string().into_bytes();
            Reply { status: 200, body, ..Default::default() }
        }
        Some("own.safetensors") => good(&Request { path: WEIGHTS_PATH.into(), ..request.clone() }),
        _ => good(request),
    });
    let mut total = 0;
    let snapshot = setup.hub.fetch(&id(), &mut |progress| {
        total = progress.total;
        ControlFlow::Continue(())
    });
    assert!(snapshot.unwrap().join("own.safetensors").exists());
    assert_eq!(total, (CONFIG.len() + weights().len()) as u64);
    let requests = setup.server.requests();
    let of_config: Vec<_> = requests.iter().filter(|line| line.ends_with("/config.json")).collect();
    assert_eq!(of_config.len(), 2, "the size and the content: {of_config:?}");
}

#[test]
fn interrupted_download_resumes() {
    let setup = setup(|request| {
        let cut = (is_weights_get(request) && request.before < 2).then_some(100_000);
        Reply { cut, ..good(request) }
    });
    setup.assert_fetched();
    let ranges = setup.server.header(&format!("GET {WEIGHTS_PATH}"), "range");
    assert_eq!(ranges, [None, Some("bytes=100000-".into()), Some("bytes=200000-".into())]);
}

#[test]
fn a_download_that_progress_ends_is_cancelled_and_continues_later() {
    let setup = setup(good);
    let error = setup.hub.fetch(&id(), &mut |progress| match progress.bytes {
        100_000.. => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Cancelled);
    setup.assert_nothing_half_written();
    setup.assert_fetched();
    let ranges = setup.server.header(&format!("GET {WEIGHTS_PATH}"), "range");
    assert!(matches!(&*ranges, [None, Some(from)] if from != "bytes=0-"), "{ranges:?}");
}

#[test]
fn later_run_resumes_an_earlier_download() {
    let setup = setup(|request| match request.before {
        0..5 if is_weights_get(request) => Reply { cut: Some(10), ..good(request) },
        _ => good(request),
    });
    let error = setup.fetch().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("the download ended early"), "{error}");
    setup.assert_nothing_half_written();
    assert_eq!(setup.incomplete().len(), 1);
    setup.assert_fetched();
    let ranges = setup.server.header(&format!("GET {WEIGHTS_PATH}"), "range");
    assert_eq!(ranges.last(), Some(&Some("bytes=50-".into())));
}

#[test]
fn a_server_that_ignores_ranges_sends_all_again() {
    let setup = setup(|request| {
        let whole =
            Request { headers: HashMap::new(), method: request.method.clone(), path: request.path.clone(), before: 0 };
        let cut = (is_weights_get(request) && request.before == 0).then_some(1234);
        Reply { cut, ..good(&whole) }
    });
    setup.assert_fetched();
}

#[test]
fn another_part_than_was_asked_for_is_not_taken() {
    let setup = setup(|request| {
        let mut reply = good(request);
        if is_weights_get(request) && request.before == 0 {
            reply.cut = Some(1000);
        }
        if is_weights_get(request) && request.before == 1 {
            reply.headers.retain(|(name, _)| *name != "Content-Range");
            reply.headers.push(("Content-Range", "bytes 7-9/300000".into()));
        }
        reply
    });
    setup.assert_fetched();
}

#[test]
fn wrong_checksum_is_retried_and_then_reported() {
    let setup = setup(|request| {
        let mut reply = good(request);
        if is_weights_get(request) {
            reply.body[5] ^= 1;
        }
        reply
    });
    let error = setup.fetch().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadModel);
    assert!(error.to_string().contains("SHA-256: got"), "{error}");
    setup.assert_nothing_half_written();
}

#[test]
fn a_small_file_that_does_not_match_its_object_id_is_refused() {
    let setup = setup(|request| {
        let mut reply = good(request);
        if request.method == "GET" && request.path.ends_with("config.json") {
            // As long as the announced content, so that only the object id differs.
            reply.body[2] ^= 1;
        }
        reply
    });
    let error = setup.fetch().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadModel);
    assert!(error.to_string().contains("git object id"), "{error}");
    assert!(!setup.blobs().join(CONFIG_ID).exists());
}

#[test]
fn a_blob_of_the_right_size_and_other_content_is_fetched_again() {
    let setup = setup(good);
    std::fs::create_dir_all(setup.blobs()).unwrap();
    let mut altered = weights();
    altered[5] ^= 1;
    std::fs::write(setup.blobs().join(sha(&weights())), altered).unwrap();
    setup.assert_fetched();
}

#[test]
fn a_file_of_other_content_in_the_snapshot_is_replaced() {
    let setup = setup(good);
    let snapshot = HubCache::at(setup.folder.path()).repository(&id()).join("snapshots").join(COMMIT);
    std::fs::create_dir_all(&snapshot).unwrap();
    std::fs::write(snapshot.join("config.json"), b"other").unwrap();
    setup.assert_fetched();
}

#[test]
fn an_etag_that_is_no_digest_is_refused() {
    let setup = setup(|request| {
        let mut reply = good(request);
        if request.path.ends_with("config.json") {
            reply.headers = vec![("ETag", "\"0a1b2c3d\"".to_owned())];
        }
        reply
    });
    let error = setup.fetch().unwrap_err();
    assert!(error.to_string().contains("expected a size and an ETag"), "{error}");
}

#[test]
fn a_token_is_not_sent_unencrypted_to_another_machine() {
    let hub = |endpoint: &str, token: Option<&str>| {
        let (endpoint, token) = (endpoint.to_owned(), token.map(str::to_owned));
        Hub::new(HubOptions { endpoint, cache: HubCache::at("cache"), offline: false, token })
    };
    for endpoint in ["http://hub.example", "http://hub.example:8080/mirror", "http://127.0.0.1@hub.example"] {
        let error = hub(endpoint, Some("hf_secret")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{endpoint}");
        assert!(error.to_string().contains("https://") && !error.to_string().contains("hf_secret"), "{error}");
        assert!(hub(endpoint, None).is_ok(), "{endpoint}");
    }
    for endpoint in ["https://hub.example", "http://127.0.0.1:8080", "http://localhost", "http://[::1]:80"] {
        assert!(hub(endpoint, Some("hf_secret")).is_ok(), "{endpoint}");
    }
}

#[test]
fn a_file_longer_than_announced_is_refused() {
    let setup = setup(|request| {
        let mut reply = good(request);
        if is_weights_get(request) {
            reply.body.extend([0; 100]);
        }
        reply
    });
    let error = setup.fetch().unwrap_err();
    assert!(error.to_string().contains("got more than 300000 bytes, expected 300000"), "{error}");
    setup.assert_nothing_half_written();
}

#[test]
fn a_failing_server_is_asked_again_but_not_for_ever() {
    let setup_once =
        setup(|request| if request.before == 0 { Reply { status: 503, ..Default::default() } } else { good(request) });
    setup_once.assert_fetched();
    let setup = setup(|_| Reply { status: 500, ..Default::default() });
    let error = setup.fetch().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("got the status 500"), "{error}");
    assert_eq!(setup.server.requests().len(), http::ATTEMPTS as usize);
}

#[test]
fn missing_model_is_rejected_immediately() {
    for status in [404, 401, 403] {
        let setup = setup(move |_| Reply { status, ..Default::default() });
        let error = setup.fetch().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains(&format!("got the status {status}")), "{error}");
        assert_eq!(setup.server.requests().len(), 1);
    }
}

#[test]
fn redirects_are_followed_and_the_token_stays_at_home() {
    let content = Server::start(good);
    let elsewhere = content.url();
    let setup = setup(move |request| {
        let mut reply = good(request);
        if request.path == WEIGHTS_PATH {
            // As a renamed repository: to another path of the same host.
            return Reply {
                status: 307,
                headers: vec![("Location", format!("/moved{WEIGHTS_PATH}"))],
                ..Default::default()
            };
        }
        if request.path == format!("/moved{WEIGHTS_PATH}") {
            reply.status = 302;
            reply.body.clear();
            reply.headers.push(("Location", format!("{elsewhere}{WEIGHTS_PATH}")));
        }
        reply
    });
    setup.assert_fetched();
    let bearer = Some("Bearer hf_secret".to_owned());
    let moved = format!("GET /moved{WEIGHTS_PATH}");
    assert_eq!(setup.server.header(&moved, "authorization"), std::slice::from_ref(&bearer));
    assert_eq!(content.requests(), [format!("GET {WEIGHTS_PATH}")]);
    assert_eq!(content.header(&format!("GET {WEIGHTS_PATH}"), "authorization"), [None]);
}

#[test]
fn redirects_in_a_circle_end() {
    let setup = setup(|request| {
        let headers = vec![("Location", request.path.clone())];
        Reply { status: 302, headers, ..Default::default() }
    });
    let error = setup.fetch().unwrap_err();
    assert!(error.to_string().contains("redirects: got more than 8"), "{error}");
}

#[test]
fn a_hostile_listing_is_refused() {
    let listing = |text: &str| {
        let body = text.as_bytes().to_vec();
        setup(move |_| Reply { status: 200, body: body.clone(), ..Default::default() }).fetch().unwrap_err()
    };
    let error = listing(&format!(r#"{{"sha": "{COMMIT}", "siblings": [{{"rfilename": "../../etc/x.json"}}]}}"#));
    assert_eq!(error.kind(), ErrorKind::BadModel);
    assert!(error.to_string().contains("expected a path inside its folder"), "{error}");
    let error = listing(r#"{"sha": "../../x", "siblings": []}"#);
    assert!(error.to_string().contains("expected 40 hexadecimal digits"), "{error}");
    let error = listing("<html>");
    assert!(error.to_string().contains("invalid answer of the hub"), "{error}");
}

#[test]
fn an_etag_that_is_a_path_is_refused() {
    let setup = setup(|request| {
        let mut reply = good(request);
        if request.path.ends_with("config.json") {
            reply.headers = vec![("ETag", "\"../../../x\"".to_owned())];
        }
        reply
    });
    let error = setup.fetch().unwrap_err();
    assert!(error.to_string().contains("expected a size and an ETag"), "{error}");
}

#[test]
fn offline_mode_uses_the_cache_only() {
    let setup = setup(good);
    let offline = HubOptions { offline: true, ..setup.hub.options.clone() };
    let hub = Hub::new(offline).unwrap();
    let error = hub.fetch(&id(), &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("HF_HUB_OFFLINE"), "{error}");
    assert!(setup.server.requests().is_empty());
    let fetched = setup.fetch().unwrap();
    assert_eq!(hub.fetch(&id(), &mut |_| ControlFlow::Continue(())).unwrap(), fetched);
}

#[test]
fn two_processes_do_not_write_the_same_file() {
    let setup = setup(good);
    let blobs = setup.blobs();
    std::fs::create_dir_all(&blobs).unwrap();
    let other = std::fs::File::create(blobs.join(format!("{}.incomplete", sha(&weights())))).unwrap();
    other.lock().unwrap();
    let error = setup.fetch().unwrap_err();
    assert!(error.to_string().contains("another process is fetching this file"), "{error}");
    drop(other);
    setup.assert_fetched();
}

#[test]
fn debug_output_keeps_the_token_to_itself() {
    let setup = setup(good);
    assert!(!format!("{:?}", setup.hub).contains("hf_secret"));
}

#[test]
fn only_ids_of_the_hub_are_asked_for() {
    let setup = setup(good);
    for text in ["org/na me/x", "org/na me", "org/n%2e", "org/n?x"] {
        let Ok(id) = text.parse::<ModelId>() else { continue };
        assert_eq!(
            setup.hub.fetch(&id, &mut |_| ControlFlow::Continue(())).unwrap_err().kind(),
            ErrorKind::InvalidArgument
        );
    }
    assert!(setup.server.requests().is_empty());
}
