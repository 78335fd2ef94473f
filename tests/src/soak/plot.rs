//! Drawings and tables of recorded intervals.

use std::fmt::Write as _;

use super::record::{Interval, Latency, Usage};

/// The size of the drawing, and its parts, in pixels.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 580.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 740.0;
const PANEL: f64 = 180.0;
const TOPS: [f64; 2] = [60.0, 340.0];
/// Ticks of an axis that divides evenly.
const TICKS: f64 = 5.0;

/// Classes of lines, which the style gives a colour and dashes of its own each.
const PROCESSES: [(&str, &str); 4] = [("server", "a"), ("gateway", "d"), ("worker 1", "a"), ("worker 2", "b")];
type Percentile = (&'static str, &'static str, fn(&Latency) -> f64);
const PERCENTILES: [Percentile; 4] = [
    ("50 %", "a", |latency| latency.p50),
    ("90 %", "b", |latency| latency.p90),
    ("99 %", "d", |latency| latency.p99),
    ("longest", "e", |latency| latency.max),
];

/// It has a background of its own, since the page around it may be light or dark, whatever the reader's system prefers.
const STYLE: &str = "
  text { font: 13px sans-serif; fill: #1f2328 }
  .title { font-weight: bold }
  .page { fill: #ffffff }
  .grid { stroke: #d1d9e0; stroke-width: 1 }
  .piece { stroke: #59636e; stroke-dasharray: 2 3 }
  .line { fill: none; stroke-width: 2 }
  .a { stroke: #0969da } .b { stroke: #1a7f37; stroke-dasharray: 8 3 }
  .d { stroke: #8250df; stroke-dasharray: 2 2 } .e { stroke: #cf222e; stroke-dasharray: 10 3 2 3 }
  .failed { fill: #cf222e }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc } .page { fill: #0d1117 } .grid { stroke: #3d444d } .piece { stroke: #9198a1 }
    .a { stroke: #58a6ff } .b { stroke: #3fb950 } .d { stroke: #bc8cff } .e { stroke: #ff7b72 } .failed { fill: #ff7b72 }
  }
";

/// The scale of the vertical axis of a panel.
struct Axis {
    top: f64,
    /// The values at the bottom and at the top.
    range: (f64, f64),
    is_logarithmic: bool,
}

impl Axis {
    fn y(&self, value: f64) -> f64 {
        let scale = |value: f64| if self.is_logarithmic { value.max(self.range.0).ln() } else { value };
        let (low, high) = (scale(self.range.0), scale(self.range.1));
        self.top + PANEL * (1.0 - (scale(value) - low) / (high - low))
    }
}

/// Draws the memory of each process and the percentiles of latencies, over the hours of all pieces.
pub fn svg(intervals: &[Interval]) -> String {
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
         height=\"{HEIGHT}\" role=\"img\">\n<title>Memory and latency over the hours of the soak test</title>\n\
         <style>{STYLE}</style>\n<rect class=\"page\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n"
    );
    let hours = ends(intervals);
    let total = hours.last().copied().unwrap_or(0.0).max(0.1);
    let x = |hour: f64| LEFT + (RIGHT - LEFT) * hour / total;
    let memory = |interval: &Interval, name: &str| {
        interval.processes.get(name).map(|usage| usage.memory_kib.max as f64 / 1024.0)
    };
    let most = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max);
    let used = most(&mut intervals.iter().flat_map(|i| PROCESSES.iter().filter_map(|(name, _)| memory(i, name))));
    let late = most(&mut intervals.iter().map(|interval| interval.latency.max));
    let step = nice(used.max(1.0) / TICKS);
    let axis = Axis { top: TOPS[0], range: (0.0, (used.max(1.0) / step).ceil() * step), is_logarithmic: false };
    let shown: Vec<_> =
        PROCESSES.iter().filter(|(name, _)| intervals.iter().any(|i| memory(i, name).is_some())).collect();
    panel(&mut out, &axis, "Memory, most of an interval, MiB", &shown.iter().map(|p| (p.0, p.1)).collect::<Vec<_>>());
    grid(&mut out, &axis, &steps(axis.range.1, step));
    for (name, class) in shown {
        let points =
            intervals.iter().zip(&hours).map(|(i, hour)| (i.piece, x(*hour), memory(i, name).map(|v| axis.y(v))));
        lines(&mut out, class, points);
    }
    failures(&mut out, &axis, intervals, &hours, x);
    hour_axis(&mut out, &axis, intervals, &hours, x);
    let top = [100.0, 1000.0, 10_000.0, 100_000.0].into_iter().find(|top| *top >= late).unwrap_or(100_000.0);
    let axis = Axis { top: TOPS[1], range: (10.0, top), is_logarithmic: true };
    let legend: Vec<_> = PERCENTILES.iter().map(|(name, class, _)| (*name, *class)).collect();
    panel(&mut out, &axis, "Latency of pictures, ms", &legend);
    let decades = [10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0, 100_000.0];
    grid(&mut out, &axis, &decades.into_iter().filter(|value| *value <= top).collect::<Vec<_>>());
    for (_, class, percentile) in PERCENTILES {
        let points =
            intervals.iter().zip(&hours).map(|(i, hour)| (i.piece, x(*hour), Some(axis.y(percentile(&i.latency)))));
        lines(&mut out, class, points);
    }
    hour_axis(&mut out, &axis, intervals, &hours, x);
    out.push_str("</svg>\n");
    out
}

/// Returns the hour of the end of each interval, without the time between pieces.
fn ends(intervals: &[Interval]) -> Vec<f64> {
    let mut sum = 0.0;
    let add = |interval: &Interval| {
        sum += interval.seconds / 3600.0;
        sum
    };
    intervals.iter().map(add).collect()
}

/// Returns the next of 1, 2, 5, 10, 20 and so on that is not less.
fn nice(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0].map(|factor| factor * power).into_iter().find(|step| *step >= value).unwrap_or(10.0 * power)
}

fn steps(most: f64, step: f64) -> Vec<f64> {
    (0..=(most / step).round() as u32).map(|count| f64::from(count) * step).collect()
}

/// Writes the title of a panel and its legend.
fn panel(out: &mut String, axis: &Axis, title: &str, legend: &[(&str, &str)]) {
    text(out, (LEFT, axis.top - 30.0), "start", title);
    for (number, (name, class)) in legend.iter().enumerate() {
        let (x, y) = (LEFT + 110.0 * number as f64, axis.top - 12.0);
        let _ = writeln!(out, "<path class=\"line {class}\" d=\"M{x} {y}h28\"/>");
        text(out, (x + 34.0, y + 4.0), "start", name);
    }
}

fn text(out: &mut String, (x, y): (f64, f64), anchor: &str, text: &str) {
    // Writing to a `String` cannot fail, here and below.
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>");
}

fn grid(out: &mut String, axis: &Axis, values: &[f64]) {
    for &value in values {
        let y = axis.y(value);
        let _ = writeln!(out, "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{RIGHT}\"/>");
        text(out, (LEFT - 8.0, y + 4.0), "end", &value.to_string());
    }
}

/// Draws a line for each piece; an interval by itself is a short line.
fn lines(out: &mut String, class: &str, points: impl Iterator<Item = (u32, f64, Option<f64>)>) {
    let mut path = String::new();
    let mut last = None;
    for (piece, x, y) in points {
        let Some(y) = y else { continue };
        let _ = if last == Some(piece) {
            write!(path, "L{x:.1} {y:.1}")
        } else {
            write!(path, "M{:.1} {y:.1}H{x:.1}", x - 3.0)
        };
        last = Some(piece);
    }
    let _ = writeln!(out, "<path class=\"line {class}\" d=\"{path}\"/>");
}

/// Marks intervals with failures above the panel.
fn failures(out: &mut String, axis: &Axis, intervals: &[Interval], hours: &[f64], x: impl Fn(f64) -> f64) {
    let failed = intervals.iter().zip(hours).filter(|(interval, _)| !interval.failures.is_empty());
    for (interval, hour) in failed {
        let _ = writeln!(
            out,
            "<path class=\"failed\" d=\"M{:.1} {:.1}h10l-5 8z\"><title>{} failures</title></path>",
            x(*hour) - 5.0,
            axis.top - 4.0,
            interval.failures.len()
        );
    }
}

/// Draws the axis of hours, and where a piece begins.
fn hour_axis(out: &mut String, axis: &Axis, intervals: &[Interval], hours: &[f64], x: impl Fn(f64) -> f64) {
    let (bottom, total) = (axis.top + PANEL, hours.last().copied().unwrap_or(0.0));
    let step = nice(total.max(0.1) / 8.0);
    for hour in steps(total, step).into_iter().filter(|hour| *hour <= total) {
        let _ = writeln!(out, "<path class=\"grid\" d=\"M{:.1} {bottom}v5\"/>", x(hour));
        text(out, (x(hour), bottom + 20.0), "middle", &((hour * 100.0).round() / 100.0).to_string());
    }
    text(out, ((LEFT + RIGHT) / 2.0, bottom + 38.0), "middle", "hours");
    for (pair, hour) in intervals.windows(2).zip(hours) {
        if pair[0].piece != pair[1].piece {
            let _ = writeln!(out, "<path class=\"piece\" d=\"M{:.1} {}V{bottom}\"/>", x(*hour), axis.top);
        }
    }
}

/// Writes a table of the pieces, and one of their intervals.
pub fn table(intervals: &[Interval]) -> String {
    let mut out = String::from(
        "| piece | end | commit | minutes | pictures | guests, with pictures | changes, of the structure | publishers \
         replaced | streams created again, longest time to the first picture | restarts of Redis, requests refused, \
         longest recovery, longest pause | failures |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for piece in intervals.chunk_by(|a, b| a.piece == b.piece) {
        let Some(last) = piece.last() else { continue };
        let sum = |figure: fn(&Interval) -> u64| piece.iter().map(figure).sum::<u64>();
        let most = |figure: fn(&Interval) -> u64| piece.iter().map(figure).max().unwrap_or(0);
        let _ = writeln!(
            out,
            "| {} | {} | {} | {:.0} | {} | {}, {} | {}, {} | {} | {}, {} ms | {}, {}, {} ms, {} ms | {} |",
            last.piece,
            last.end,
            last.commit,
            piece.iter().map(|interval| interval.seconds).sum::<f64>() / 60.0,
            sum(pictures),
            sum(|i| i.events.guests),
            sum(|i| i.events.guests_with_pictures),
            sum(|i| i.events.changes),
            sum(|i| i.events.structural_changes),
            sum(|i| i.events.reconnects),
            sum(|i| i.events.recreations),
            most(|i| i.events.first_picture_ms),
            sum(|i| i.events.redis_restarts),
            sum(|i| i.events.refused),
            most(|i| i.events.redis_recovery_ms),
            most(|i| i.events.redis_pause_ms),
            sum(|i| i.failures.len() as u64),
        );
    }
    let names: Vec<&String> = intervals.first().map_or_else(Vec::new, |first| first.processes.keys().collect());
    let list: Vec<_> = names.iter().map(|name| name.as_str()).collect();
    let _ = writeln!(
        out,
        "\n| piece, interval | pictures | latency: 50 %, 90 %, 99 %, longest, ms | longest pause of each stream, ms | of {}: \
         memory, MiB | threads | descriptors |\n|---|---|---|---|---|---|---|",
        list.join(", ")
    );
    for interval in intervals {
        let of = |figure: &dyn Fn(&Usage) -> String| {
            let values: Vec<_> = names.iter().filter_map(|name| interval.processes.get(*name)).map(figure).collect();
            values.join(", ")
        };
        let range = |range: super::Range| format!("{}–{}", range.min, range.max);
        let pauses: Vec<_> = interval.streams.iter().map(|stream| stream.longest_pause_ms.to_string()).collect();
        let latency = &interval.latency;
        let _ = writeln!(
            out,
            "| {}, {} | {} | {:.0}, {:.0}, {:.0}, {:.0} | {} | {} | {} | {} |",
            interval.piece,
            interval.interval,
            pictures(interval),
            latency.p50,
            latency.p90,
            latency.p99,
            latency.max,
            pauses.join(", "),
            of(&|usage| format!("{:.1}", usage.memory_kib.max as f64 / 1024.0)),
            of(&|usage| range(usage.threads)),
            of(&|usage| range(usage.descriptors)),
        );
    }
    out
}

fn pictures(interval: &Interval) -> u64 {
    interval.streams.iter().map(|stream| stream.pictures as u64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::soak::tests::interval;

    #[test]
    fn a_drawing_has_a_line_for_each_process_and_percentile_and_a_piece_begins_a_new_one() {
        let mut intervals = vec![interval(1, 1), interval(1, 2), interval(2, 1), interval(2, 2)];
        intervals[1].failures.push("a failure".into());
        let drawing = svg(&intervals);
        let lines: Vec<_> = drawing.lines().filter(|line| line.contains("\"line ") && line.contains('L')).collect();
        assert_eq!(lines.len(), 3 + PERCENTILES.len());
        assert!(lines.iter().all(|line| line.matches('M').count() == 2), "{lines:?}");
        assert_eq!(drawing.matches("class=\"piece\"").count(), 2);
        assert_eq!(drawing.matches("class=\"failed\"").count(), 1);
        for name in ["gateway", "worker 1", "worker 2", "hours", "MiB", "ms"] {
            assert!(drawing.contains(name), "{name}");
        }
        assert!(!drawing.contains("NaN") && !drawing.contains("inf"));
    }

    #[test]
    fn a_day_is_a_small_file_and_nothing_is_a_drawing_too() {
        let day: Vec<_> = (0..144).map(|number| interval(1 + number / 6, 1 + number % 6)).collect();
        assert!(svg(&day).len() < 30_000);
        let nothing = svg(&[]);
        assert!(nothing.ends_with("</svg>\n") && !nothing.contains("NaN"));
    }

    #[test]
    fn tables_have_a_row_for_each_piece_and_each_interval() {
        let text = table(&[interval(1, 1), interval(1, 2), interval(2, 1)]);
        assert!(text.contains("| 1 | 2026-11-26T12:00:00Z | 0123abc | 20 | 11800 |"), "{text}");
        assert!(text.contains("| 2, 1 | 5900 | 61, 90, 180, 900 | 700 | 12.0, 80.0, 70.0 |"), "{text}");
        let columns: Vec<_> = text.lines().map(|line| line.matches('|').count()).collect();
        assert_eq!(columns, [12, 12, 12, 12, 0, 8, 8, 8, 8, 8]);
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!([0.3, 1.0, 1.1, 24.0, 51.0].map(nice), [0.5, 1.0, 2.0, 50.0, 100.0]);
    }
}
