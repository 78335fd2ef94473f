//! The file of `--state`, which keeps streams across restarts.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use dreamframe_tests::network::{LiveStream, Program};
use serde_json::{Value, json};

use super::{Place, serve};

/// The option that names the folder.
const OPTION: &str = "--state";
/// Longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(60);

/// What a client knows of the streams that it made.
#[derive(Debug, Default)]
struct Known {
    /// Those whose creation was answered, with the seeds that they may have.
    kept: BTreeMap<String, Vec<u64>>,
    /// The number of those whose end was requested.
    ended: usize,
}

/// Creates three streams, changes one of them and ends another; stops at the first request that fails.
fn change(program: &Program, known: &mut Known) -> std::io::Result<()> {
    let create = |known: &mut Known| -> std::io::Result<LiveStream> {
        let stream = program.create(&json!({"seed": 1}))?;
        known.kept.insert(stream.id().to_owned(), vec![1]);
        Ok(stream)
    };
    let first = create(known)?;
    let second = create(known)?;
    for seed in 2..5 {
        known.kept.entry(first.id().to_owned()).or_default().push(seed);
        program.patch(&first, &json!({ "seed": seed }))?;
    }
    known.kept.remove(second.id());
    known.ended += 1;
    program.end(&second)?;
    create(known)?;
    Ok(())
}

/// Every stream whose creation was answered is there, as it was created or changed, and no other that was not requested.
fn check(program: &Program, _: &Path, known: &Known, what: &str) {
    let streams = program.streams().unwrap();
    let streams = streams["data"].as_array().unwrap();
    let found = |id: &str| streams.iter().find(|stream| stream["id"] == id);
    for (id, seeds) in &known.kept {
        let stream = found(id).unwrap_or_else(|| panic!("{what}: stream {id} is lost"));
        assert!(seeds.iter().any(|seed| seed_of(stream) == Some(*seed)), "{what}: {stream}");
    }
    // One more may have been created without an answer.
    let others = streams.iter().filter(|stream| !known.kept.contains_key(stream["id"].as_str().unwrap())).count();
    assert!(others <= 1 + known.ended, "{what}: {streams:?}");
}

fn seed_of(stream: &Value) -> Option<u64> {
    let seed = &stream["params"]["seed"];
    seed.as_u64().or_else(|| seed[0][0].as_u64())
}

#[test]
fn streams_are_kept_across_faults_and_kills_at_any_operation() {
    Place::new().each_server(OPTION, change, check);
}

#[test]
fn after_a_full_disk_has_room_again_changes_are_written() {
    let place = Place::new();
    let (folder, full) = (place.faulty(), place.folder.path().join("full"));
    let program = serve(OPTION, &folder, |command| place.library.fill_while(command, &folder, &full)).unwrap();
    let first = program.create(&json!({"seed": 1})).unwrap();
    fs::write(&full, "").unwrap();
    // A change is not lost, and a stream that is not stored is not promised.
    program.patch(&first, &json!({"seed": 2})).unwrap();
    let refused = program.create(&json!({"seed": 3})).unwrap_err().to_string();
    assert!(refused.contains("failed to write"), "{refused}");
    fs::remove_file(&full).unwrap();
    let start = Instant::now();
    let third = loop {
        match program.create(&json!({"seed": 4})) {
            Ok(stream) => break stream,
            Err(error) => assert!(start.elapsed() < LIMIT, "not written after {:?}: {error}", start.elapsed()),
        }
    };
    // Its creation has waited for everything before it.
    drop(program);
    let program = serve(OPTION, &folder, |_| ()).unwrap();
    let streams = program.streams().unwrap();
    let seed =
        |id: &str| streams["data"].as_array().unwrap().iter().find(|stream| stream["id"] == id).and_then(seed_of);
    assert_eq!((seed(first.id()), seed(third.id())), (Some(2), Some(4)), "{streams}");
}
