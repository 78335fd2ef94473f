//! The C and C++ interface, used as a host does: programs in `tests/c`, `tests/cpp` and `examples`, compiled, linked with
//! either library, and run; also under valgrind and AddressSanitizer.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use dreamframe::{Engine, FrameView, ParamsPatch, PixelFormat};
use dreamframe_tests::frames::{demo_engine, moving_disc};
use dreamframe_tests::hub;
use dreamframe_tests::native::{Compiler, Link, has_tool, is_full, program, program_with, root, run, with_network};
use dreamframe_tests::onnx_library;

/// Pixels to a side in tests about bytes.
const SIDE: u32 = 128;
const LINKS: [(Link, &str); 2] = [(Link::Shared, "shared"), (Link::Static, "static")];

/// A folder of one test's own, empty.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("c_abi").join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("the build folder can be written");
    folder
}

/// Compiles a program of the repository, in the language of its extension.
fn compile(source: &str, link: Link, flags: &[&str], out: PathBuf) -> PathBuf {
    let compiler = if source.ends_with(".cpp") { Compiler::cpp() } else { Compiler::c().arg("-pthread") };
    compiler.args(flags).arg(root().join(source)).link(link).output(out)
}

#[test]
fn the_headers_compile_as_c11_and_cpp17_alone_and_twice() {
    let folder = folder("headers");
    let both = [("dreamframe.h", vec!["c", "cpp"]), ("dreamframe.hpp", vec!["cpp"])];
    for (header, languages) in both {
        for language in languages {
            for times in [1, 2] {
                let source = folder.join(format!("{times}.{language}"));
                let text = format!("#include <{header}>\n").repeat(times) + "int main(void);\n";
                std::fs::write(&source, text).unwrap();
                let compiler = if language == "c" { Compiler::c() } else { Compiler::cpp() };
                compiler.arg(source).check();
            }
        }
    }
    let units = ["tests/cpp/unit_a.cpp", "tests/cpp/unit_b.cpp"].map(|unit| root().join(unit));
    let two = Compiler::cpp().args(units).link(Link::Shared).output(folder.join("two"));
    run(&mut program(two));
}

#[test]
fn the_hello_in_c_has_at_most_forty_lines() {
    let text = std::fs::read_to_string(root().join("examples/c/hello.c")).unwrap();
    assert!(text.lines().count() <= 40);
}

#[test]
fn every_function_is_called_wrongly() {
    let header = std::fs::read_to_string(root().join("include/dreamframe.h")).unwrap();
    let refusals = ["refusals", "network"].map(|name| root().join("tests/c").join(name).with_extension("c"));
    let refusals = refusals.map(|path| std::fs::read_to_string(path).unwrap()).concat();
    // These take nothing that could be wrong.
    let harmless = ["dreamframe_last_error", "dreamframe_last_error_json"];
    let names = header.match_indices("dreamframe_").map(|(at, _)| &header[at..]);
    let functions = names.filter_map(|text| {
        let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?;
        // A declaration has types behind its bracket, a mention in the text has none.
        (text[end..].starts_with('(') && !text[end..].starts_with("()")).then_some(&text[..end])
    });
    let absent: Vec<_> =
        functions.filter(|name| !harmless.contains(name) && !refusals.contains(&format!("{name}("))).collect();
    assert!(absent.is_empty(), "tests/c/refusals.c and network.c do not call {absent:?}");
}

/// A picture file for the examples, and its pixels as RGBA.
fn input(folder: &Path) -> (PathBuf, image::RgbaImage) {
    let picture = image::RgbImage::from_fn(96, 64, |x, y| image::Rgb([(x * 2) as u8, (y * 3) as u8, 90]));
    let path = folder.join("in.ppm");
    std::fs::write(&path, [b"P6\n96 64\n255\n".as_slice(), &picture].concat()).unwrap();
    (path, image::DynamicImage::from(picture).to_rgba8())
}

/// The pixels of a PPM file of `width` x `height`.
fn ppm(path: &Path, width: u32, height: u32) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    let header = format!("P6\n{width} {height}\n255\n");
    let pixels = bytes.strip_prefix(header.as_bytes()).unwrap_or_else(|| panic!("{}: not {header:?}", path.display()));
    assert_eq!(pixels.len(), (width * height * 3) as usize);
    pixels.to_vec()
}

/// The picture that an engine makes of `frame` at the `calls`th call, as RGB.
fn rgb(engine: &mut Engine, frame: &image::RgbaImage, calls: usize) -> Vec<u8> {
    let view = FrameView::packed(PixelFormat::Rgba8, frame.width(), frame.height(), frame).unwrap();
    (1..calls).for_each(|_| drop(engine.process(&view).unwrap()));
    let picture = engine.process(&view).unwrap();
    picture.frame.pixels().chunks_exact(4).flat_map(|pixel| &pixel[..3]).copied().collect()
}

#[test]
fn the_examples_write_the_pictures_of_rust() {
    let all = folder("examples");
    let (frame_path, frame) = input(&all);
    let mut engine = Engine::builder().build().unwrap();
    let plain = rgb(&mut engine, &frame, 1);
    let mut engine = Engine::builder().build().unwrap();
    let patches = [
        r#"{"prompt": "moonlit night"}"#,
        r#"{"prompt": [["golden sunset", 0.5], ["blueprint", 0.5]]}"#,
        r#"{"t_index_list": [36, 41, 46], "seed": 5}"#,
    ];
    let mut swapped = |patch| {
        engine.update(&ParamsPatch::from_json(patch).unwrap()).unwrap();
        let calls = engine.delay() + 1;
        rgb(&mut engine, &frame, calls)
    };
    let swapped: Vec<_> = patches.into_iter().filter(|_| is_full()).map(&mut swapped).collect();
    for (language, [short, other]) in [("c", LINKS), ("cpp", [LINKS[1], LINKS[0]])] {
        // Each language is linked in one way, the second example is compiled only, and of C++ the first one runs; `--full`
        // runs all of them.
        for (link, name) in [Some(short), is_full().then_some(other)].into_iter().flatten() {
            let folder = all.join(language).join(name);
            std::fs::create_dir_all(&folder).unwrap();
            let build = |example: &str| {
                let flags: &[&str] = if language == "cpp" { &["-O1"] } else { &[] };
                compile(&format!("examples/{language}/{example}.{language}"), link, flags, folder.join(example))
            };
            let picture = folder.join("picture.ppm");
            run(program(build("hello")).arg(&frame_path).arg(&picture));
            assert!(ppm(&picture, 512, 512) == plain, "hello, {language}, {name}");
            if language == "cpp" && !is_full() {
                continue;
            }
            let hot_swap = build("hot_swap");
            if is_full() {
                run(program(hot_swap).arg(&frame_path).arg(&folder));
            }
            for (index, swapped) in swapped.iter().enumerate() {
                let picture = ppm(&folder.join(format!("{index}.ppm")), 512, 512);
                assert!(picture == *swapped, "hot_swap {index}, {language}, {name}");
            }
            let sheet = folder.join("sheet.ppm");
            run(program(build("session")).arg(&sheet).arg("3"));
            four_pictures_that_differ(&sheet);
        }
    }
}

/// The sheet of the session example has another picture in each column, below its frame.
fn four_pictures_that_differ(sheet: &Path) {
    let sheet = image::RgbImage::from_raw(1024, 512, ppm(sheet, 1024, 512)).unwrap();
    let picture = |column: u32| image::imageops::crop_imm(&sheet, column * 256, 256, 256, 256).to_image();
    assert!((1..4).all(|column| picture(column) != picture(0)), "each prompt counts");
}

#[test]
fn pictures_through_c_and_cpp_are_those_of_rust() {
    const FRAMES: usize = 6;
    let folder = folder("pictures");
    let frames: Vec<_> = (0..FRAMES).map(|index| moving_disc(index, SIDE, SIDE)).collect();
    let frames_path = folder.join("frames.rgba");
    std::fs::write(&frames_path, frames.concat()).unwrap();
    let mut engine = demo_engine(SIDE, |_, _| ());
    let mut expected = Vec::new();
    for (index, pixels) in frames.iter().enumerate() {
        if index == 3 {
            engine.update(&ParamsPatch::from_json(r#"{"prompt": "moonlit night"}"#).unwrap()).unwrap();
        }
        let frame = FrameView::packed(PixelFormat::Rgba8, SIDE, SIDE, pixels).unwrap();
        expected.extend_from_slice(engine.process(&frame).unwrap().frame.pixels());
    }
    for language in ["c", "cpp"] {
        let pictures =
            compile(&format!("tests/{language}/pictures.{language}"), Link::Shared, &[], folder.join(language));
        for way in ["engine", "session"] {
            let written = folder.join(format!("{language}-{way}.rgba"));
            run(program(&pictures).arg(way).arg(SIDE.to_string()).arg(&frames_path).arg(&written));
            assert!(std::fs::read(&written).unwrap() == expected, "{way}, {language}");
        }
    }
}

/// The programs whose calls are many, wrong, or go back to the host, with their arguments for a tool that makes them slow.
const HARSH: [(&str, &[&str]); 7] = [
    ("tests/c/refusals.c", &[]),
    ("tests/c/hooks.c", &[]),
    ("tests/c/network.c", &[]),
    ("tests/cpp/network.cpp", &[]),
    ("tests/c/threads.c", &[]),
    ("tests/c/cycles.c", &["5", "50"]),
    ("tests/cpp/classes.cpp", &[]),
];

/// Those that are linked with the static library without `--full`.
const LINKED_STATICALLY: [&str; 3] = ["tests/c/refusals.c", "tests/c/threads.c", "tests/cpp/classes.cpp"];

#[test]
fn wrong_calls_and_calls_on_many_threads_return_errors_and_nothing_crashes() {
    let folder = folder("harsh");
    // With AddressSanitizer all of these programs are linked with the shared library.
    let links = if is_full() { &LINKS[..] } else { &LINKS[1..] };
    for (link, name) in links.iter().copied() {
        for (source, arguments) in
            HARSH.into_iter().filter(|(source, _)| is_full() || LINKED_STATICALLY.contains(source))
        {
            let stem = source.replace(['/', '.'], "-");
            let harsh = compile(source, link, &[], folder.join(stem).with_extension(name));
            run(program(harsh).args(arguments));
        }
    }
}

#[test]
fn frames_on_a_device_give_the_pictures_of_frames_in_host_memory() {
    let Some(library) = onnx_library() else { return };
    let built = compile("tests/c/device_frames.c", Link::Shared, &[], folder("device-frames").join("device_frames"));
    run(program(built).arg(library));
}

/// Many engines, which share the demo model, and as many sessions of one.
#[test]
fn memory_stays_flat_over_many_cycles() {
    let cycles = compile("tests/c/cycles.c", Link::Shared, &["-O1"], folder("cycles").join("cycles"));
    let (count, most_kib) = if is_full() { ("10000", "512") } else { ("120", "64") };
    run(program(cycles).args([count, count, most_kib]));
}

/// A hundred times slower than the program itself, so with `--full` only.
#[test]
fn valgrind_finds_no_error_and_no_leak() {
    if !is_full() {
        eprintln!("skipped: valgrind runs with `cargo xtask test --full`");
        return;
    }
    if !has_tool("valgrind") {
        return;
    }
    let folder = folder("valgrind");
    let valgrind = |built: &Path, arguments: &[&str]| {
        let mut valgrind = program("valgrind");
        // Rust's hash tables are pointed to in their middle, which valgrind calls possibly lost; AddressSanitizer knows better.
        valgrind.args(["--quiet", "--leak-check=full", "--show-leak-kinds=definite,indirect"]);
        valgrind.args(["--errors-for-leak-kinds=definite,indirect", "--error-exitcode=99", "--fair-sched=try"]);
        // Optimised Rust looks at values before it knows that they count; what is never set, its compiler refuses.
        valgrind.arg("--undef-value-errors=no");
        valgrind.arg(built).args(arguments);
        valgrind
    };
    let leak = Compiler::c().arg(root().join("tests/c/leak.c")).output(folder.join("leak"));
    assert_eq!(valgrind(&leak, &[]).output().unwrap().status.code(), Some(99), "valgrind finds leaks here");
    // A hundred times slower than without, and one thread at a time: many threads are AddressSanitizer's.
    for (source, arguments) in [("tests/c/refusals.c", &[][..]), ("tests/c/cycles.c", &["1", "3"])] {
        let built = compile(source, Link::Shared, &[], folder.join(Path::new(source).file_stem().unwrap()));
        run(&mut valgrind(&built, arguments));
    }
}

#[test]
fn address_sanitizer_finds_no_error_and_no_leak() {
    let folder = folder("asan");
    let flags = ["-fsanitize=address", "-fno-omit-frame-pointer"];
    let leak = Compiler::c().args(flags).arg(root().join("tests/c/leak.c")).output(folder.join("leak"));
    let found = Command::new(leak).output().unwrap();
    assert!(!found.status.success(), "AddressSanitizer finds leaks here");
    let links = if is_full() { &LINKS[..] } else { &LINKS[..1] };
    for (link, name) in links.iter().copied() {
        for (source, arguments) in HARSH {
            let stem = source.replace(['/', '.'], "-");
            let built = compile(source, link, &flags, folder.join(stem).with_extension(name));
            run(program(built).args(arguments));
        }
    }
}

/// The smaller library reports that this is unsupported; this one supports it.
#[test]
fn models_are_downloaded_from_a_hub_with_progress_until_the_host_cancels() {
    let folder = folder("models");
    let out = folder.join("models");
    let built =
        Compiler::cpp().arg(root().join("tests/cpp/models.cpp")).link_from(with_network(), Link::Shared).output(out);
    let mut models = program_with(with_network(), built);
    models.env_remove("HF_HUB_OFFLINE").env_remove("HF_TOKEN");
    run(models.arg(hub::serve()).arg(folder.join("cache")).arg(hub::REPOSITORY));
}

/// The smaller library reports that this is unsupported; this one supports it.
#[test]
fn frames_go_from_a_publisher_through_a_server_to_a_player() {
    let folder = folder("network");
    let compile = |source: &str, link| {
        let compiler = if source.ends_with(".cpp") { Compiler::cpp() } else { Compiler::c().arg("-pthread") };
        let out = folder.join(format!("{}-{link:?}", source.replace(['/', '.'], "-")));
        compiler.arg(root().join(source)).link_from(with_network(), link).output(out)
    };
    for (link, _) in LINKS {
        for source in ["tests/c/network.c", "tests/cpp/network.cpp"] {
            run(&mut program_with(with_network(), compile(source, link)));
        }
    }
    let mut serve = program_with(with_network(), compile("examples/c/serve.c", Link::Shared));
    let mut serve = serve.arg("127.0.0.1:0").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(serve.stdout.take().unwrap()).lines();
    for (what, path) in [("publish to", "/whip"), ("watch", "/whep")] {
        let line = lines.next().unwrap().unwrap();
        assert!(line.starts_with(&format!("{what} http://127.0.0.1:")) && line.ends_with(path), "{line}");
    }
    // Its input ends, and so does it.
    drop(serve.stdin.take());
    assert!(serve.wait().unwrap().success());
}
