//! What frames over the network cost and how long they take: a publisher, a server and its viewers in this process, over
//! loopback, at 512x512 and 30 pictures per second that say their number, without a network that takes time.
//!
//! `cargo bench -p dreamframe-tests --features transport --bench network -- [--seconds N] [--seed N] [PART]...`
//!
//! Without parts, all of them:
//! - `glass`: from a picture that is handed to the publisher to the same picture decoded at a viewer, and the server's
//!   processor time for it, as the system counts it for threads: `decode and encode` are the two threads that do this, with
//!   what converts between them; `all of the server` has its network threads, too;
//! - `viewers`: the same processor time with ten viewers against one, in turn, as a ratio of medians;
//! - `join`: from the call that posts an offer to the first picture;
//! - `changes`: from a change that is said on a data channel to the picture that shows it, in frames after the one that was
//!   the newest when the change was accepted, and in time since it was said;
//! - `loss`: with 5 % of packets lost and 10 ms of delay, each way, on the link of the publisher, of the viewer, or of both;
//! - `dark`: those links lose everything for three seconds.

#![allow(clippy::print_stdout, reason = "a bench prints its table")]

mod stage;

use std::io::Write as _;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use dreamframe::transport::peer::PeerState;
use dreamframe::transport::{play, publish};
use dreamframe::{Error, ErrorKind, Result};
use dreamframe_tests::network::{Screen, Talk, client_options, longest_gap};
use serde_json::json;

use self::stage::{LIMIT, Stage, Watched, come};

/// Packets of a thousand that a bad link loses, and how long it holds the others.
const LOSS: u32 = 50;
const DELAY: Duration = Duration::from_millis(10);
/// How long a link is dark, and how often.
const DARK: Duration = Duration::from_secs(3);
const DARK_TIMES: usize = 3;
/// Number of joining viewers and publishers.
const JOINS: usize = 10;
/// How often parameters change.
const CHANGES: usize = 40;
/// How many watch where many do, and how often they are compared with one, for half the time of other measurements each.
const VIEWERS: usize = 10;
const ROUNDS: usize = 5;

const PARTS: [&str; 6] = ["glass", "viewers", "join", "changes", "loss", "dark"];

/// What is asked for on the command line.
struct Options {
    seconds: u64,
    seed: u64,
    parts: Vec<String>,
}

fn main() -> Result<ExitCode> {
    let Some(options) = Options::parse(std::env::args().skip(1)) else {
        say("usage: network [--seconds N] [--seed N] [glass|viewers|join|changes|loss|dark]...");
        return Ok(ExitCode::from(2));
    };
    let wants = |part: &str| options.parts.is_empty() || options.parts.iter().any(|wanted| wanted == part);
    println!("seed {}, {} s for each measurement", options.seed, options.seconds);
    println!("{:<72} {:>12} {:>12}", "what", "figure", "asked");
    if wants("glass") || wants("viewers") {
        glass(&options, wants("viewers"))?;
    }
    if wants("join") {
        join()?;
    }
    if wants("changes") {
        changes()?;
    }
    if wants("loss") || wants("dark") {
        bad_links(&options, wants("loss"), wants("dark"))?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let mut options = Self { seconds: 20, seed: 1, parts: Vec::new() };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                // Cargo passes this to every benchmark.
                "--bench" => {}
                "--seconds" => options.seconds = arguments.next()?.parse().ok()?,
                "--seed" => options.seed = arguments.next()?.parse().ok()?,
                part if PARTS.contains(&part) => options.parts.push(argument),
                _ => return None,
            }
        }
        Some(options)
    }

    fn time(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

/// Writes a line to standard error.
fn say(what: &str) {
    // Nothing depends on this output.
    let _ = writeln!(std::io::stderr(), "{what}");
}

fn row(what: &str, figure: &str, asked: &str) {
    println!("{what:<72} {figure:>12} {asked:>12}");
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

fn latencies(what: &str, watched: &Watched, asked: [&str; 2]) {
    row(&format!("{what}: glass to glass, p50"), &ms(watched.late(0.5)), asked[0]);
    row(&format!("{what}: glass to glass, p95"), &ms(watched.late(0.95)), asked[1]);
    row(&format!("{what}: pictures a second"), &format!("{:.1}", watched.rate()), "");
}

fn glass(options: &Options, many: bool) -> Result<()> {
    say("through a session whose networks do nothing");
    let stage = Stage::session()?;
    latencies("through a session", &stage.watch(options.time()), ["50 ms", "100 ms"]);
    drop(stage);
    say("pictures are the frames");
    let stage = Stage::echo(None)?;
    let one = stage.watch(options.time());
    latencies("frames as pictures", &one, ["50 ms", "100 ms"]);
    row("frames as pictures: decode and encode, processor time a picture", &ms(one.work), "4 ms");
    row("frames as pictures: all of the server, processor time a picture", &ms(one.server), "");
    if many { viewers(options, &stage) } else { Ok(()) }
}

/// What the server takes with one viewer and with many, in turn.
fn viewers(options: &Options, stage: &Stage) -> Result<()> {
    let (mut one, mut ten) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        say(&format!("one viewer and ten, {round} of {ROUNDS}"));
        one.push(stage.watch(options.time() / 2));
        let mut others = Vec::new();
        for _ in 1..VIEWERS {
            let screen = Screen::new(&stage.drawn);
            let player = play(&stage.whep_url(), client_options(), screen.clone())?;
            come(&screen, 30)?;
            others.push(player);
        }
        ten.push(stage.watch(options.time() / 2));
        drop(others);
        come(&stage.screen, 30)?;
    }
    let cost = |watched: &[Watched]| median(watched.iter().map(|watched| watched.server).collect());
    let late = |part| ms(median(ten.iter().map(|watched| watched.late(part)).collect()));
    row("ten viewers: glass to glass, p50", &late(0.5), "");
    row("ten viewers: glass to glass, p95", &late(0.95), "");
    row("one viewer: all of the server, processor time a picture", &ms(cost(&one)), "");
    row("ten viewers: all of the server, processor time a picture", &ms(cost(&ten)), "");
    let ratio = cost(&ten).as_secs_f64() / cost(&one).as_secs_f64();
    row("ten viewers against one, all of the server", &format!("{ratio:.2}"), "1.3");
    Ok(())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn join() -> Result<()> {
    say("viewers and publishers join");
    let mut stage = Stage::echo(None)?;
    let (mut firsts, mut after) = (Vec::new(), Vec::new());
    for _ in 0..JOINS {
        let (start, screen) = (Instant::now(), Screen::new(&stage.drawn));
        let player = play(&stage.whep_url(), client_options(), screen.clone())?;
        player.wait_for(PeerState::Connected, LIMIT)?;
        let connected = Instant::now();
        let first = screen.next_new(LIMIT).ok_or_else(nothing)?;
        firsts.push(first - start);
        after.push(first.saturating_duration_since(connected));
    }
    let longest = |times: Vec<Duration>| ms(times.into_iter().max().unwrap_or_default());
    row("a viewer's first picture after POST, longest of ten", &longest(firsts), "2000 ms");
    row("a viewer's first picture after it is connected, longest of ten", &longest(after), "500 ms");
    let mut firsts = Vec::new();
    for _ in 0..JOINS {
        stage.publisher = None;
        let start = Instant::now();
        stage.publisher = Some(publish(&stage.whip_url(), client_options(), stage.egress.clone())?);
        firsts.push(stage.screen.next_new(LIMIT).ok_or_else(nothing)? - start);
    }
    row("a publisher's first picture after POST, longest of ten", &longest(firsts), "2000 ms");
    Ok(())
}

/// Pictures are frames, which say their number, or the demo model's, which do not.
fn changes() -> Result<()> {
    say("parameters change");
    let stage = Stage::demo()?;
    let (talk, screen) = (Talk::new(), Screen::new(&stage.drawn));
    let options = client_options().with_channel(Some(talk.clone()));
    let _player = play(&stage.whep_url(), options, screen.clone())?;
    come(&screen, 30)?;
    let (mut frames, mut times) = (Vec::new(), Vec::new());
    for is_frame in [false, true].into_iter().cycle().take(CHANGES) {
        drop(screen.take());
        let said = Instant::now();
        talk.say(&json!({"skip_diffusion": is_frame}));
        let answer = talk.next_of(&["parameters_applied", "error"], LIMIT);
        if answer["type"] != "parameters_applied" {
            return Err(Error::new(ErrorKind::Internal, answer.to_string()));
        }
        let newest = stage.drawn.count();
        let (mut number, mut shown) = (0, None);
        screen.wait_until(LIMIT, |seen| {
            shown = seen.iter().find(|shown| shown.number.is_some() == is_frame).map(|shown| shown.at);
            let mut numbers = seen.iter().filter_map(|shown| shown.number).map(u64::from);
            // The first frame that shows, or the last one that still did.
            number = if is_frame { numbers.next() } else { numbers.max().map(|last| last + 1) }.unwrap_or(newest);
            shown.is_some()
        });
        frames.push((number + 1).saturating_sub(newest));
        times.push(shown.ok_or_else(nothing)? - said);
        come(&screen, 10)?;
    }
    let longest = frames.into_iter().max().unwrap_or_default();
    row(&format!("a change shows, frames, most of {CHANGES}"), &longest.to_string(), "3");
    row(&format!("a change shows, longest of {CHANGES}"), &ms(times.iter().copied().max().unwrap_or_default()), "");
    row("a change shows, median", &ms(median(times)), "");
    Ok(())
}

fn bad_links(options: &Options, loss: bool, dark: bool) -> Result<()> {
    for (what, bad) in [("publisher", [true, false]), ("viewer", [false, true]), ("both", [true, true])] {
        say(&format!("bad link: {what}"));
        let stage = Stage::echo(Some(options.seed))?;
        let proxies =
            || stage.proxies.iter().zip(bad).filter(|(_, is_bad)| *is_bad).map(|(proxy, _)| proxy.conditions());
        proxies().for_each(|conditions| {
            conditions.set_loss(LOSS);
            conditions.set_delay(DELAY);
        });
        if loss {
            let watched = stage.watch(options.time());
            latencies(&format!("5 % loss, {what}"), &watched, ["", ""]);
            let gap = longest_gap(&watched.seen, watched.start, watched.end);
            row(&format!("5 % loss, {what}: longest gap"), &ms(gap), "500 ms");
            let (passed, lost) = proxies().map(|c| c.counts()).fold((0, 0), |sum, c| (sum.0 + c.0, sum.1 + c.1));
            say(&format!("{lost} of {} packets were lost", passed + lost));
        }
        if dark {
            let mut back = Duration::ZERO;
            for _ in 0..DARK_TIMES {
                proxies().for_each(|conditions| conditions.set_dark(true));
                thread::sleep(DARK);
                proxies().for_each(|conditions| conditions.set_dark(false));
                let light = Instant::now();
                back = back.max(stage.screen.next_new(LIMIT).ok_or_else(nothing)? - light);
                come(&stage.screen, 60)?;
            }
            row(&format!("dark for 3 s, {what}: picture back, longest of {DARK_TIMES}"), &ms(back), "2000 ms");
        }
    }
    Ok(())
}

fn nothing() -> Error {
    Error::new(ErrorKind::Timeout, format!("no picture came within {} s", LIMIT.as_secs()))
}
