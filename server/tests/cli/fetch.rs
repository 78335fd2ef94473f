//! `dreamframe models fetch` against a hub on this machine.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Output;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// The files of the one model that the hub has, with the object ids that `git hash-object` gives them.
const FILES: [(&str, &str, &str); 3] = [
    (
        "model_index.json",
        r#"{"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}"#,
        "f45339cb78a3be301b830cddb6eaa19d7eab6617",
    ),
    ("unet/config.json", r#"{"cross_attention_dim": 768}"#, "fce1f2894f41e0f63a19b2c117faf754cef09c17"),
    ("unet/diffusion_pytorch_model.safetensors", "\u{2}\0\0\0\0\0\0\0{}", "7b19cc601c0e9f2f80f83c1b0b2d9586d018ae2b"),
];

fn fetch(endpoint: &str, cache: &std::path::Path, arguments: &[&str]) -> Output {
    crate::dreamframe()
        .args(["models", "fetch"])
        .args(arguments)
        .env("HF_ENDPOINT", endpoint)
        .env("HF_HUB_CACHE", cache)
        .env_remove("HF_TOKEN")
        .env_remove("HF_HUB_OFFLINE")
        .output()
        .unwrap()
}

/// Answers one request after the other, until the program under test has asked for everything.
fn serve(listener: &TcpListener, requests: usize) {
    for stream in listener.incoming().take(requests) {
        let mut stream = stream.unwrap();
        let path = request_path(&mut stream);
        let (body, id) = if path.starts_with("/api/models/") {
            let siblings: Vec<String> =
                FILES.iter().map(|(name, ..)| format!(r#"{{"rfilename": "{name}"}}"#)).collect();
            (format!(r#"{{"sha": "{COMMIT}", "siblings": [{}]}}"#, siblings.join(", ")), "listing")
        } else {
            let name = path.split(COMMIT).nth(1).unwrap_or_default().trim_start_matches('/');
            let file = FILES.iter().find(|(known, ..)| *known == name);
            file.map(|(_, text, id)| ((*text).to_owned(), *id)).unwrap_or_default()
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nETag: \"{id}\"\r\nX-Repo-Commit: {COMMIT}\r\nConnection: close\r\n\r\n",
            body.len(),
        );
        // The program may have hung up after the head.
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
    }
}

fn request_path(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && request.len() < 16 * 1024 && stream.read(&mut byte).unwrap() == 1 {
        request.push(byte[0]);
    }
    String::from_utf8_lossy(&request).split_whitespace().nth(1).unwrap_or_default().to_owned()
}

#[test]
fn a_model_is_fetched_and_its_folder_printed() {
    let cache = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || serve(&listener, 32));
    let output = fetch(&endpoint, cache.path(), &["some/model", "--json"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["event"], "done");
    let folder = std::path::PathBuf::from(last["path"].as_str().unwrap());
    for (name, content, _) in FILES {
        assert_eq!(std::fs::read_to_string(folder.join(name)).unwrap(), content, "{name}");
    }
}

#[test]
fn all_models_of_a_file_of_parameters_are_fetched() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || serve(&listener, 32));
    let params = folder.path().join("params.json");
    std::fs::write(&params, r#"{"model_id": "demo", "lora_dict": {"some/lora/unet": 1.0}}"#).unwrap();
    let output = fetch(&endpoint, folder.path(), &["--params", params.to_str().unwrap()]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.trim_end().ends_with("unet") && std::path::Path::new(text.trim_end()).is_dir(), "{text}");
}

#[test]
fn each_model_of_a_preset_that_is_not_available_is_reported() {
    let cache = tempfile::tempdir().unwrap();
    let output = crate::dreamframe()
        .args(["models", "fetch", "--preset", "daydream", "--json"])
        .env("HF_HUB_CACHE", cache.path())
        .env("HF_HUB_OFFLINE", "1")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    let events: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let failed = events.iter().filter(|event| event["event"] == "failed");
    let failed: Vec<&str> = failed.map(|event| event["field"].as_str().unwrap()).collect();
    let mut expected = vec!["model_id".to_owned()];
    expected.extend((0..5).map(|index| format!("controlnets[{index}].model_id")));
    expected.push("controlnets[3].preprocessor".into());
    assert_eq!(failed, expected);
    assert_eq!(events.last().unwrap()["event"], "error");
}

#[test]
fn a_short_name_means_the_model_that_its_parameters_name() {
    let cache = tempfile::tempdir().unwrap();
    let offline = |name: &str| {
        let mut command = crate::dreamframe();
        command.args(["models", "fetch", name, "--json"]).env("HF_HUB_CACHE", cache.path()).env("HF_HUB_OFFLINE", "1");
        command.output().unwrap()
    };
    for (name, repository) in [("sdxs", "IDKiro/sdxs-512-0.9"), ("vega-rt", "segmind/Segmind-Vega")] {
        let output = offline(name);
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8(output.stdout).unwrap();
        let failed: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!((&failed["event"], &failed["model"]), (&"failed".into(), &repository.into()), "{text}");
    }
    let output = offline("sdxs-2048");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("sdxs-2048") && text.contains("expected organisation/name or one of sd-turbo, sdxs"),
        "{text}"
    );
}

#[test]
fn invalid_and_unavailable_ids_are_rejected() {
    let cache = tempfile::tempdir().unwrap();
    let bad = fetch("http://127.0.0.1:9", cache.path(), &["../escape"]);
    assert_eq!(bad.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&bad.stderr).contains("model id: got"));
    assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 0);
}
