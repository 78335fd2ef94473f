//! The folder of `--clips`, which keeps clips across restarts.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dreamframe::transport::{Egress, EgressOptions, publish};
use dreamframe_tests::network::{Drawn, Program, Source, client_options};
use serde_json::json;

use super::Place;

/// Longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(60);

/// What a client knows of the clips that it made: those whose creation was answered, with the length of their video, and
/// those whose deletion was.
#[derive(Debug, Default)]
struct Known {
    kept: BTreeMap<String, usize>,
    deleted: Vec<String>,
}

/// Creates clips until three have been tried, deletes the second, and reads the first.
fn change(program: &Program, known: &mut Known) -> io::Result<()> {
    let stream = program.create(&json!({"width": 64, "height": 64, "skip_diffusion": true}))?;
    let egress = Egress::new(EgressOptions::default());
    let _source = Source::start(&egress, (64, 64), 30.0, &Arc::<Drawn>::default());
    let client = publish(&program.url(&stream.whip()), client_options(), egress).map_err(io::Error::other)?;
    let path = format!("/v1/streams/{}/clips", stream.id());
    let mut made = Vec::new();
    let mut result = Ok(());
    let start = Instant::now();
    while made.len() < 3 && result.is_ok() {
        let answer = program.send("POST", &path, &json!({"seconds": 3}))?;
        match answer.status {
            201 => made.push(answer.json()["id"].as_str().unwrap().to_owned()),
            // There are no pictures yet.
            404 if start.elapsed() < LIMIT => continue,
            status => result = Err(io::Error::other(format!("POST {path}: {status} {}", answer.text))),
        }
        if let Some(id) = made.last().filter(|_| result.is_ok()) {
            known.kept.insert(id.clone(), video(program, id)?.ok_or_else(|| io::Error::other("no clip"))?);
        }
    }
    drop(client);
    if let Some(id) = made.get(1) {
        let length = known.kept.remove(id);
        let answer = program.send("DELETE", &format!("/v1/clips/{id}"), &json!({}))?;
        match (answer.status, length) {
            (200, _) => known.deleted.push(id.clone()),
            (status, length) => {
                known.kept.extend(length.map(|length| (id.clone(), length)));
                result = result.and(Err(io::Error::other(format!("DELETE {id}: {status} {}", answer.text))));
            }
        }
    }
    result
}

/// Returns the length of a clip's video; `None` if there is no such clip.
fn video(program: &Program, id: &str) -> io::Result<Option<usize>> {
    if program.read(&format!("/clips/{id}/clip.json"))?.is_none() {
        return Ok(None);
    }
    let video = program.read(&format!("/clips/{id}/video.mp4"))?;
    Ok(Some(video.ok_or_else(|| io::Error::other(format!("{id}: no video")))?.len()))
}

/// Every clip whose creation was answered is there with its video, none whose deletion was, and no other file is left.
fn check(program: &Program, folder: &Path, known: &Known, what: &str) {
    for (id, length) in &known.kept {
        assert_eq!(video(program, id).unwrap(), Some(*length), "{what}: {id}");
    }
    for id in &known.deleted {
        assert_eq!(video(program, id).unwrap(), None, "{what}: {id} is there again");
    }
    let names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let mut clips = 0;
    for name in &names {
        let name = name.to_str().unwrap();
        let id = name.split_once('.').unwrap().0;
        assert!(video(program, id).unwrap().is_some(), "{what}: {name} is left");
        clips += usize::from(Path::new(name).extension().is_some_and(|extension| extension == "json"));
    }
    // One more may have been created, or its deletion begun, without an answer.
    assert!(names.len() == 2 * clips && clips <= known.kept.len() + 1, "{what}: {names:?}");
}

#[test]
fn clips_are_complete_or_absent_across_faults_and_kills_at_any_operation() {
    Place::new().each_server("--clips", change, check);
}
