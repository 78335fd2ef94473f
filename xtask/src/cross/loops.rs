//! Counts the instructions of the kernels' inner loops in the assembly that the compiler writes.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The levels of the kernels, by the parts of the mangled names of their tiles before the shapes.
const LEVELS: [(&str, &str); 4] = [
    ("4neon7KERNELS", "neon"),
    ("10neon_bytes5BYTES", "neon-dot"),
    ("11neon_blocks7KERNELS", "neon-bf16"),
    ("11neon_blocks5BYTES", "neon-i8mm"),
];

/// The instructions that multiply and add, with the products of each.
const ARITHMETIC: [(&str, usize); 4] = [("fmla", 4), ("sdot", 16), ("bfmmla", 16), ("usmmla", 32)];

/// The instructions of one run of an inner loop.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Loop {
    arithmetic: usize,
    products: usize,
    /// Registers of vectors that are loaded.
    loads: usize,
    /// All others: addresses, and the end of the loop.
    others: usize,
    /// Of all instructions those that access the stack: none, if all sums are in registers.
    stack: usize,
}

impl Loop {
    fn of(body: &[&str]) -> Self {
        let mut counts = Self::default();
        for line in body {
            let name = line.split_whitespace().next().unwrap_or_default();
            counts.stack += usize::from(line.contains("[sp") || line.contains("[x29"));
            if let Some((_, products)) = ARITHMETIC.iter().find(|(arithmetic, _)| *arithmetic == name) {
                counts.arithmetic += 1;
                counts.products += products;
            } else if is_vector_load(line) {
                counts.loads += if name == "ldp" { 2 } else { 1 };
            } else {
                counts.others += 1;
            }
        }
        counts
    }
}

fn is_vector_load(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let name = words.next().unwrap_or_default();
    let is_load = name.starts_with("ld");
    is_load && words.next().is_some_and(|register| register.starts_with(['q', 'd', 's', 'v', '{']))
}

/// A tile kernel: its level, and its rows and vectors.
type Kernel = (&'static str, [usize; 2]);

/// Returns a table of the loops with the most arithmetic of each tile kernel, by level and shape.
///
/// # Errors
///
/// If there are none, or one accesses the stack.
pub(super) fn table(assembly: &str) -> Result<String, String> {
    let mut found: BTreeMap<Kernel, Loop> = BTreeMap::new();
    let mut function: Option<Kernel> = None;
    let mut lines: Vec<&str> = Vec::new();
    for line in assembly.lines().chain(std::iter::once("end:")) {
        if line.ends_with(':') && !line.starts_with([' ', '\t', '.']) {
            if let (Some(name), Some(counts)) = (function.take(), inner_loop(&lines)) {
                found.insert(name, counts);
            }
            function = kernel(line);
            lines.clear();
        } else if function.is_some() {
            lines.push(line.trim());
        }
    }
    if found.is_empty() {
        return Err("assembly: got no loops of kernels, expected those of tiles".into());
    }
    let mut text = String::from("| level | rows x vectors | multiplications | products | loads | others |\n");
    text.push_str("|---|---|---|---|---|---|\n");
    for ((level, [rows, vectors]), counts) in &found {
        let Loop { arithmetic, products, loads, others, .. } = counts;
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "| {level} | {rows}x{vectors} | {arithmetic} | {products} | {loads} | {others} |");
    }
    match found.iter().find(|(_, counts)| counts.stack > 0) {
        Some(((level, [rows, vectors]), counts)) => {
            let Loop { stack, .. } = counts;
            Err(format!("{text}{level}, {rows}x{vectors}: got {stack} accesses of the stack, expected none"))
        }
        None => Ok(text),
    }
}

/// Returns the level and the shape of a tile kernel by its mangled name, as in `..4neon7KERNELS4tileKj6_Kj4_E..`.
fn kernel(label: &str) -> Option<Kernel> {
    let (path, shape) = label.split_once("4tileKj")?;
    let (_, level) = LEVELS.into_iter().find(|(part, _)| path.ends_with(part))?;
    let (rows, rest) = shape.split_once("_Kj")?;
    let number = |digits: &str| usize::from_str_radix(digits, 16).ok();
    Some((level, [number(rows)?, number(rest.split('_').next()?)?]))
}

/// Returns the loop with the most arithmetic of those that contain no other.
fn inner_loop(lines: &[&str]) -> Option<Loop> {
    let mut starts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut code: Vec<&str> = Vec::new();
    let mut best: Option<Loop> = None;
    let mut last = 0;
    for line in lines {
        if let Some(label) = line.strip_suffix(':') {
            starts.insert(label, code.len());
        } else if !line.is_empty() && !line.starts_with(['.', '/']) {
            code.push(line);
            let goal = line.split([' ', '\t', ',']).next_back().unwrap_or_default();
            if let Some(&start) = starts.get(goal).filter(|&&start| start >= last) {
                let counts = Loop::of(&code[start..]);
                last = code.len();
                best = Some(best.filter(|best| best.arithmetic >= counts.arithmetic).unwrap_or(counts));
            }
        }
    }
    best.filter(|best| best.arithmetic > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASSEMBLY: &str = "\
_RINvNvNtC1a4neon7KERNELS4tileKj6_Kj4_EB4_:
\tmov x1, x2
.LBB0_1:
\tldr q1, [x1, x2]
\tldp q2, q3, [x1]
\tfmla v0.4s, v1.4s, v2.s[0]
\tfmla v4.4s, v1.4s, v3.s[0]
\tcmp x1, x2
\tb.ls .LBB0_1
\tldr q1, [sp, #16]
\tcbnz x1, .LBB0_1
\tret
other:
\tfmla v0.4s, v1.4s, v2.4s
";

    #[test]
    fn the_innermost_loop_of_a_tile_is_counted() {
        let text = table(ASSEMBLY).unwrap();
        assert!(text.contains("| neon | 6x4 | 2 | 8 | 3 | 2 |"), "{text}");
    }

    #[test]
    fn sums_on_the_stack_are_an_error() {
        let spilled = ASSEMBLY.replace("\tcmp x1, x2", "\tstr q7, [sp, #32]");
        assert!(table(&spilled).unwrap_err().contains("neon, 6x4: got 1 accesses"));
        assert!(table("main:\n").is_err());
    }
}
