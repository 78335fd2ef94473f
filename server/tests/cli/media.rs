//! Pictures and video through files: what is written is read back, and what is left unfinished leaves nothing.

use std::fs;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use dreamframe::frame::{ColorSpace, Fit, Frame, FrameConverter, PixelFormat, YuvMatrix, YuvRange};
use dreamframe::{ErrorKind, Result};
use dreamframe_server::media::{Output, Rate, create, open};

const SIZE: (u32, u32) = (64, 48);

fn rate(frames: u32, seconds: u32) -> Rate {
    Rate { frames: NonZeroU32::new(frames).unwrap(), seconds: NonZeroU32::new(seconds).unwrap() }
}

fn output(pictures: Option<usize>) -> Output {
    Output { width: SIZE.0, height: SIZE.1, rate: rate(30000, 1001), pictures }
}

/// One colour, a little brighter from left to right.
fn picture(rgb: [u8; 3]) -> Frame {
    let pixels = (0..SIZE.0 * SIZE.1).flat_map(|i| rgb.map(|byte| byte.saturating_add((i % SIZE.0 / 8) as u8)));
    Frame::from_packed(PixelFormat::Rgb8, SIZE.0, SIZE.1, pixels.collect()).unwrap()
}

/// The colours of eight pictures: far apart, so that a lost or moved one shows.
fn colours() -> Vec<[u8; 3]> {
    (0..8).map(|k| [20 + 28 * k, 220 - 26 * k, 60 + 50 * (k % 3)]).collect()
}

/// The mean of each channel, 0..=255.
fn mean(frame: &Frame) -> [f32; 3] {
    let (width, height) = (frame.width(), frame.height());
    let mut rgb = vec![0.0; (width * height * 3) as usize];
    FrameConverter::new().to_unit(&frame.view(), Fit::Stretch, width, height, &mut rgb).unwrap();
    let mut sums = [0.0_f32; 3];
    for pixel in rgb.chunks(3) {
        sums.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += value);
    }
    sums.map(|sum| sum * 255.0 / (width * height) as f32)
}

fn write(path: &Path, pictures: &[Frame]) -> Result<()> {
    let mut writer = create(path, output(Some(pictures.len())))?;
    for picture in pictures {
        writer.write(picture, None)?;
    }
    writer.finish()
}

fn read(path: &Path) -> Result<Vec<Frame>> {
    let mut reader = open(path, 1920)?;
    std::iter::from_fn(|| reader.next().transpose()).collect()
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn the_bundled_clip_is_read_whole_and_in_order() {
    let mut clip = open(&repository().join("server/media/big-buck-bunny-360p.mp4"), 1920).unwrap();
    assert_eq!((clip.size(), clip.len(), clip.rate()), ((640, 360), Some(132), Some(rate(25, 1))));
    let mut means = Vec::new();
    while let Some(frame) = clip.next().unwrap() {
        assert_eq!((frame.id().0, frame.format()), (means.len() as u64, PixelFormat::I420));
        assert_eq!(frame.timestamp().0, frame.id().0 * 40_000_000);
        means.push(mean(&frame));
    }
    assert_eq!(means.len(), 132);
    // As ffmpeg decodes them: `ffmpeg -i CLIP -vf scale=in_color_matrix=bt601 -pix_fmt rgb24`, mean of a channel.
    for (frame, expected) in CLIP_MEANS {
        let worst = means[frame].iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1.5, "frame {frame} is {:?}, expected {expected:?}", means[frame]);
    }
}

const CLIP_MEANS: [(usize, [f32; 3]); 3] =
    [(0, [112.5, 125.3, 81.2]), (66, [115.6, 126.9, 94.1]), (131, [112.9, 124.7, 91.3])];

#[test]
fn frames_that_are_coded_out_of_order_come_in_the_order_they_are_shown() {
    // Twenty frames of grey, 10 levels brighter each, with two B frames between others.
    let frames = read(&repository().join("server/tests/data/b-frames.mp4")).unwrap();
    let greys: Vec<f32> = frames.iter().map(|frame| mean(frame)[1]).collect();
    assert_eq!(greys.len(), 20);
    assert!(greys.windows(2).all(|pair| pair[1] - pair[0] > 5.0), "{greys:?}");
}

#[test]
fn a_written_video_is_read_back_picture_for_picture() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["video.mp4", "video.y4m"] {
        let path = folder.path().join(name);
        write(&path, &colours().into_iter().map(picture).collect::<Vec<_>>()).unwrap();
        let reader = open(&path, 1920).unwrap();
        assert_eq!((reader.size(), reader.rate()), (SIZE, Some(rate(30000, 1001))));
        let frames = read(&path).unwrap();
        assert_eq!(frames.len(), 8, "{name}");
        // The video names its matrix; the stream cannot, and is read as small video is everywhere.
        let matrix = if name == "video.mp4" { YuvMatrix::Bt709 } else { YuvMatrix::Bt601 };
        assert_eq!(frames[0].color(), ColorSpace { matrix, range: YuvRange::Limited });
        for (frame, rgb) in frames.iter().zip(colours()) {
            let expected = mean(&picture(rgb));
            let worst = mean(frame).iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 3.0, "{name}: {rgb:?} came back as {:?}", mean(frame));
        }
    }
    assert_eq!(files(folder.path()), ["video.mp4", "video.y4m"]);
}

#[test]
fn the_same_pictures_make_the_same_video_with_the_index_in_front() {
    let folder = tempfile::tempdir().unwrap();
    let pictures: Vec<_> = colours().into_iter().map(picture).collect();
    let bytes = ["a.mp4", "b.mp4"].map(|name| {
        write(&folder.path().join(name), &pictures).unwrap();
        fs::read(folder.path().join(name)).unwrap()
    });
    assert_eq!(bytes[0], bytes[1]);
    let place = |kind: &[u8]| bytes[0].windows(4).position(|window| window == kind).unwrap();
    assert!(place(b"moov") < place(b"mdat"));
}

#[test]
fn pictures_of_every_kind_keep_their_pixels() {
    let folder = tempfile::tempdir().unwrap();
    let original = picture([10, 120, 200]);
    for (name, tolerance) in [("a.png", 0), ("a.bmp", 0), ("a.webp", 0), ("a.jpg", 6)] {
        let path = folder.path().join(name);
        write(&path, std::slice::from_ref(&original)).unwrap();
        let frames = read(&path).unwrap();
        assert_eq!(frames.len(), 1);
        let pairs = frames[0].pixels().iter().zip(original.pixels());
        let worst = pairs.map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(worst <= tolerance, "{name} is off by {worst}");
    }
}

#[test]
fn a_folder_is_read_in_the_order_of_names_and_written_under_them() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::create_dir(&from).unwrap();
    for (name, rgb) in [("c.png", [200, 0, 0]), ("a.bmp", [0, 200, 0]), ("b.PNG", [0, 0, 200])] {
        write(&from.join(name), &[picture(rgb)]).unwrap();
    }
    fs::write(from.join("notes.txt"), "no picture").unwrap();
    fs::write(from.join(".hidden.png"), "no picture").unwrap();
    fs::create_dir(from.join("folder.png")).unwrap();
    let mut reader = open(&from, 1920).unwrap();
    assert_eq!((reader.size(), reader.len(), reader.rate(), reader.name()), (SIZE, Some(3), None, None));
    let mut writer = create(&to, output(None)).unwrap();
    let mut names = Vec::new();
    while let Some(frame) = reader.next().unwrap() {
        names.extend(reader.name().map(str::to_owned));
        writer.write(&frame, reader.name()).unwrap();
    }
    assert!(writer.write(&picture([0; 3]), Some("../escaped.png")).is_err());
    writer.write(&picture([0; 3]), None).unwrap();
    writer.finish().unwrap();
    assert_eq!(names, ["a.bmp", "b.PNG", "c.png"]);
    assert_eq!(files(&to), ["000003.png", "a.bmp", "b.PNG", "c.png"]);
    assert_eq!(files(folder.path()), ["from", "to"]);
}

#[test]
fn a_broken_picture_in_a_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("a.png"), &[picture([1, 2, 3])]).unwrap();
    fs::write(folder.path().join("b.png"), "no picture").unwrap();
    let mut reader = open(folder.path(), 1920).unwrap();
    assert!(reader.next().unwrap().is_some());
    let error = reader.next().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidFrame);
    assert!(error.to_string().contains("b.png"), "{error}");
}

#[test]
fn unfinished_file_is_removed_and_the_old_one_stays() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["video.mp4", "video.y4m"] {
        let path = folder.path().join(name);
        fs::write(&path, "old").unwrap();
        let mut writer = create(&path, output(None)).unwrap();
        writer.write(&picture([1, 2, 3]), None).unwrap();
        drop(writer);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        fs::remove_file(&path).unwrap();
    }
    assert_eq!(files(folder.path()), [""; 0]);
}

#[test]
fn an_output_refuses_what_it_cannot_hold() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("video.mp4");
    let kind = |result: Result<()>| result.unwrap_err().kind();
    for (width, height) in [(63, 48), (64, 8), (3842, 2160), (2162, 2162)] {
        let odd = create(&path, Output { width, height, ..output(None) });
        assert_eq!(kind(odd.map(drop)), ErrorKind::InvalidArgument, "{width}x{height}");
    }
    assert_eq!(kind(create(&path, output(None)).unwrap().finish()), ErrorKind::InvalidArgument);
    let other_size = Frame::from_packed(PixelFormat::Rgb8, 2, 2, vec![0; 12]).unwrap();
    let mut writer = create(&path, output(None)).unwrap();
    assert_eq!(kind(writer.write(&other_size, None)), ErrorKind::InvalidFrame);
    drop(writer);
    let mut one = create(&folder.path().join("one.png"), output(None)).unwrap();
    one.write(&picture([1, 2, 3]), None).unwrap();
    assert_eq!(kind(one.write(&picture([1, 2, 3]), None)), ErrorKind::InvalidArgument);
    let nowhere = create(&folder.path().join("missing/video.mp4"), output(None));
    assert_eq!(kind(nowhere.map(drop)), ErrorKind::NotFound);
    assert_eq!(files(folder.path()), ["one.png"]);
}

/// Runs itself again with a limit on the size of files, which is to a program what a full disk is.
#[cfg(unix)]
#[test]
fn a_full_disk_is_an_error_that_names_the_path_and_leaves_nothing() {
    const CHILD: &str = "DREAMFRAME_TEST_FULL_DISK";
    if let Some(folder) = std::env::var_os(CHILD) {
        for name in ["video.mp4", "video.y4m", "picture.bmp"] {
            let path = Path::new(&folder).join(name);
            let pictures: Vec<_> = (0..60).map(|k: u32| noise(k)).collect();
            let pictures = if name == "picture.bmp" { &pictures[..1] } else { &pictures[..] };
            let error = write(&path, pictures).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Io, "{error}");
            assert!(error.to_string().contains(name), "{error}");
        }
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let status = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "a_full_disk_is_an_error_that_names_the_path_and_leaves_nothing"])
        .env(CHILD, folder.path())
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(files(folder.path()), [""; 0]);
}

/// A picture that no codec makes small.
#[cfg(unix)]
fn noise(seed: u32) -> Frame {
    let mut state = seed.wrapping_mul(0x9E37_79B9) | 1;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    let pixels = (0..SIZE.0 * SIZE.1 * 3).map(|_| byte()).collect();
    Frame::from_packed(PixelFormat::Rgb8, SIZE.0, SIZE.1, pixels).unwrap()
}
