//! Compares the dependencies between the modules of the core with the table in `ARCHITECTURE.md`, and detects
//! dependency cycles between files and folders.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::report::Outcome;
use crate::tools;

/// The page, and the line before its table.
const PAGE: &str = "ARCHITECTURE.md";
const MARK: &str = "<!-- modules of the core -->";

/// The source folder of the core.
const SOURCES: &str = "core/src";

/// The module that every module may use, and that the table does not list.
const FOR_ALL: &str = "error";

/// Modules, and the modules that each uses.
type Uses = BTreeMap<String, BTreeSet<String>>;

/// Fails if a module uses another that the table does not list, if the table lists one that is not used, and if there
/// is a dependency cycle between the files and folders of a folder.
pub(crate) fn check() -> Outcome {
    differences().and_then(|found| if found.is_empty() { Ok(()) } else { Err(found.join("\n   ")) }).into()
}

fn differences() -> Result<Vec<String>, String> {
    let page = fs::read_to_string(tools::root().join(PAGE)).map_err(|error| format!("{PAGE}: {error}"))?;
    let table = table(&page)?;
    let files = tools::files()?.into_iter().filter(|path| path.starts_with(SOURCES) && !is_test(path));
    let mut sources = Vec::new();
    for path in files.filter(|path| path.extension().is_some_and(|extension| extension == "rs")) {
        let text =
            fs::read_to_string(tools::root().join(&path)).map_err(|error| format!("{}: {error}", path.display()))?;
        sources.push((path, text));
    }
    let folders = uses(&sources);
    let modules = folders.get([].as_slice()).cloned().unwrap_or_default();
    Ok(compare(&table, &modules).into_iter().chain(cycles(&folders)).collect())
}

/// Reads the rows `| module | used, used |` after [`MARK`].
fn table(page: &str) -> Result<Uses, String> {
    let (_, after) = page.split_once(MARK).ok_or_else(|| format!("{PAGE}: got no line {MARK}, expected one"))?;
    let rows = after.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let row = |line: &str| {
        let mut cells = line.split('|').map(|cell| cell.replace('`', "").trim().to_owned()).skip(1);
        let (module, used) = (cells.next().unwrap_or_default(), cells.next().unwrap_or_default());
        (module, used.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect())
    };
    // The header row, and the separator below it.
    Ok(rows.skip(2).map(row).collect())
}

/// Returns whether a file contains only tests, which may use anything.
fn is_test(path: &Path) -> bool {
    const FILES: [&str; 2] = ["proptests", "testing"];
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let folder = path.components().any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "model")));
    folder || stem == "tests" || stem.ends_with("_tests") || FILES.contains(&stem)
}

/// Returns the path of a file's module from the root of the crate; that of the folder for `mod.rs`, and empty for
/// `lib.rs`.
fn module(path: &Path) -> Vec<String> {
    let file = path.strip_prefix(SOURCES).unwrap_or(path).with_extension("");
    let mut names: Vec<String> = file.iter().map(|name| name.to_string_lossy().into_owned()).collect();
    names.pop_if(|last| last == "mod" || last == "lib");
    names
}

/// Returns, for each folder (by the path of its module), which of its files and folders use which others of them,
/// outside of tests and comments. Uses in `mod.rs`, and through its re-exports, are ignored.
fn uses(sources: &[(PathBuf, String)]) -> BTreeMap<Vec<String>, Uses> {
    let modules: BTreeSet<Vec<String>> = sources.iter().map(|(path, _)| module(path)).collect();
    let mut folders: BTreeMap<Vec<String>, Uses> = BTreeMap::new();
    for module in &modules {
        if let Some((name, folder)) = module.split_last() {
            folders.entry(folder.to_vec()).or_default().entry(name.clone()).or_default();
        }
    }
    for (path, text) in sources {
        let from = module(path);
        let code = tools::without_unit_tests(text);
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        for to in named(&lines.collect::<Vec<_>>().join("\n"), &from, &modules) {
            let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
            if let (Some(a), Some(b)) = (from.get(shared), to.get(shared)) {
                let folder = folders.entry(from[..shared].to_vec()).or_default();
                folder.entry(a.clone()).or_default().insert(b.clone());
            }
        }
    }
    for used in folders.get_mut([].as_slice()).into_iter().flat_map(BTreeMap::values_mut) {
        used.remove(FOR_ALL);
    }
    folders
}

/// Returns the modules that paths in the code of `module` resolve to, if they are in `modules`.
fn named(code: &str, module: &[String], modules: &BTreeSet<Vec<String>>) -> Vec<Vec<String>> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(start) {
            // The remainder of a longer name or path does not start a path.
            if !code[..at].ends_with(|c: char| is_name(c) || c == ':') {
                follow(&code[at..], Vec::new(), &mut found);
            }
        }
    }
    let mut reached = Vec::new();
    for path in found {
        let mut names = path.into_iter().peekable();
        let mut to = module.to_vec();
        match names.next().as_deref() {
            Some("crate") => to.clear(),
            Some("super") => drop(to.pop()),
            _ => {}
        }
        while names.next_if(|name| name == "super").is_some() {
            to.pop();
        }
        for name in names {
            to.push(name);
            if !modules.contains(&to) {
                to.pop();
                break;
            }
        }
        reached.push(to);
    }
    reached
}

/// Adds the paths at the start of `code` to `found`, each with the prefix `before`; with braces, there are several.
fn follow(code: &str, before: Vec<String>, found: &mut Vec<Vec<String>>) {
    let code = code.trim_start();
    if let Some(group) = code.strip_prefix('{') {
        let (mut depth, mut start) = (0_usize, 0);
        for (at, c) in group.char_indices() {
            if depth == 0 && matches!(c, ',' | '}') {
                follow(&group[start..at], before.clone(), found);
                start = at + 1;
            }
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => return,
                '}' => depth -= 1,
                _ => {}
            }
        }
        return;
    }
    let end = code.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(code.len());
    let (name, rest) = code.split_at(end);
    let mut path = before;
    if !name.is_empty() {
        path.push(name.to_owned());
    }
    match rest.strip_prefix("::") {
        Some(rest) if !name.is_empty() => follow(rest, path, found),
        _ => found.push(path),
    }
}

fn compare(table: &Uses, uses: &Uses) -> Vec<String> {
    let none = BTreeSet::new();
    let mut found = Vec::new();
    for module in table.keys().chain(uses.keys()).collect::<BTreeSet<_>>() {
        let (listed, used) = (table.get(module).unwrap_or(&none), uses.get(module).unwrap_or(&none));
        if !(table.contains_key(module) && uses.contains_key(module)) {
            found.push(format!("{PAGE}: module {module} is only in the table, or only in {SOURCES}"));
        }
        found.extend(used.difference(listed).map(|other| format!("{module} uses {other}, which {PAGE} does not list")));
        found.extend(listed.difference(used).map(|other| format!("{PAGE}: {module} uses {other}, but it does not")));
    }
    found
}

/// Returns the dependency cycles between the files and folders of each folder.
fn cycles(folders: &BTreeMap<Vec<String>, Uses>) -> Vec<String> {
    let found = folders.iter().filter_map(|(folder, uses)| Some((folder, cycle(uses)?)));
    let text = |(folder, modules): (&Vec<String>, Vec<String>)| {
        let folder = Path::new(SOURCES).join(folder.iter().collect::<PathBuf>());
        format!("{}: files or folders that use each other in a circle: {}", folder.display(), modules.join(", "))
    };
    found.map(text).collect()
}

/// Returns the modules that cannot be sorted topologically; `None` if there are none.
fn cycle(uses: &Uses) -> Option<Vec<String>> {
    let mut left = uses.clone();
    loop {
        let free: Vec<String> = left
            .iter()
            .filter(|(_, used)| used.iter().all(|other| !left.contains_key(other)))
            .map(|(module, _)| module.clone())
            .collect();
        if free.is_empty() {
            break;
        }
        left.retain(|module, _| !free.contains(module));
    }
    (!left.is_empty()).then(|| left.into_keys().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> (PathBuf, String) {
        (Path::new(SOURCES).join(path), text.to_owned())
    }

    fn page(rows: &str) -> String {
        format!("{MARK}\n\n| module | uses |\n|---|---|\n{rows}\nmore\n| not | this |\n")
    }

    fn of_root(sources: &[(PathBuf, String)]) -> Uses {
        uses(sources).remove([].as_slice()).unwrap()
    }

    #[test]
    fn uses_after_crate_are_found_except_in_comments_and_tests() {
        let text = "use crate::b::X;\nuse crate::{c, Error};\n/// [`crate::d`]\n#[cfg(test)]\nmod tests {\n    use crate::d;\n}\n";
        let sources = [source("a/one.rs", text), source("b.rs", ""), source("c/mod.rs", ""), source("d.rs", "")];
        assert_eq!(of_root(&sources)["a"], BTreeSet::from(["b".to_owned(), "c".to_owned()]));
        assert!(is_test(Path::new("core/src/a/tests/x.rs")) && is_test(Path::new("core/src/a/b_tests.rs")));
    }

    #[test]
    fn paths_with_super_self_and_braces_are_resolved() {
        let text = "use super::{\n    deep::{Y, Z},\n    three::X,\n};\nfn f() { super::super::b::g(); other::super::four() }\n";
        let sources = [
            source("a/mod.rs", "use self::two::X;"),
            source("a/one.rs", text),
            source("a/two.rs", "use crate::a::one;"),
            source("a/three.rs", "use super::Item;"),
            source("a/four.rs", ""),
            source("a/deep/mod.rs", ""),
            source("b.rs", ""),
        ];
        let found = uses(&sources);
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let a = &found[["a".to_owned()].as_slice()];
        assert_eq!((&a["one"], &a["two"], &a["three"]), (&set(&["deep", "three"]), &set(&["one"]), &set(&[])));
        assert_eq!(of_root(&sources)["a"], set(&["b"]));
    }

    #[test]
    fn missing_and_superfluous_rows_of_the_table_are_found() {
        let sources = [source("a.rs", "use crate::b::X;"), source("b.rs", ""), source("c.rs", "")];
        let found = |rows: &str| compare(&table(&page(rows)).unwrap(), &of_root(&sources));
        assert_eq!(found("| `a` | b |\n| `b` | |\n| `c` | |"), Vec::<String>::new());
        assert_eq!(found("| `a` | |\n| `b` | a |\n| `c` | |").len(), 2);
        assert_eq!(found("| `a` | b |\n| `b` | |").len(), 1);
    }

    #[test]
    fn a_cycle_is_found() {
        let sources =
            [source("a.rs", "use crate::b;"), source("b.rs", "use crate::c;"), source("c.rs", "use crate::a;")];
        assert_eq!(cycle(&of_root(&sources)).unwrap(), ["a", "b", "c"]);
        let sources = [
            source("m/mod.rs", ""),
            source("m/a.rs", "use super::b::X;"),
            source("m/b.rs", "use crate::m::a;"),
            source("m/c.rs", ""),
        ];
        let found = cycles(&uses(&sources));
        assert_eq!(found, ["core/src/m: files or folders that use each other in a circle: a, b"]);
    }
}
