//! Each example runs, and writes the expected files.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Creates an empty folder for this test.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("the build folder can be written");
    folder
}

fn run(program: &str, arguments: &[&Path]) {
    let status = Command::new(program).args(arguments).status().expect("the example starts");
    assert!(status.success(), "{program}: {status}");
}

/// Writes a small input picture.
fn input(folder: &Path) -> PathBuf {
    let path = folder.join("in.png");
    let picture = image::RgbImage::from_fn(96, 64, |x, y| image::Rgb([(x * 2) as u8, (y * 3) as u8, 90]));
    picture.save(&path).expect("the picture is written");
    path
}

#[test]
fn hello_writes_a_picture() {
    let folder = folder("hello");
    let out = folder.join("out.png");
    run(env!("CARGO_BIN_EXE_hello"), &[&input(&folder), &out]);
    assert_eq!(image::open(out).unwrap().width(), 512);
}

#[test]
fn hot_swap_writes_a_picture_for_each_change() {
    let folder = folder("hot_swap");
    let out = folder.join("out");
    run(env!("CARGO_BIN_EXE_hot_swap"), &[&input(&folder), &out]);
    assert_eq!(std::fs::read_dir(out).unwrap().count(), 3);
}

#[test]
fn session_writes_a_contact_sheet_of_different_pictures() {
    let out = folder("session").join("sheet.png");
    run(env!("CARGO_BIN_EXE_session"), &[&out, Path::new("3")]);
    let sheet = image::open(out).unwrap().to_rgba8();
    assert_eq!(sheet.dimensions(), (1024, 512));
    let picture = |column: u32| image::imageops::crop_imm(&sheet, column * 256, 256, 256, 256).to_image();
    assert!((1..4).all(|column| picture(column) != picture(0)), "each prompt counts");
}
