//! Compares the dependencies between the modules of the core with the table in `ARCHITECTURE.md`, and finds files and folders
//! that use each other in a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::report::Outcome;
use crate::tools;

/// The page, and the line before the table in it.
const PAGE: &str = "ARCHITECTURE.md";
const MARK: &str = "<!-- modules of the core -->";

/// The source folder of the core.
const SOURCES: &str = "core/src";

/// What every module may use, and the table does not list.
const FOR_ALL: &str = "error";

/// Modules, and the modules that each uses.
type Uses = BTreeMap<String, BTreeSet<String>>;

/// Fails where a module uses another that the table does not list, where the table lists one that is not used, and where
/// files and folders of one folder use each other in a circle.
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
    Ok(compare(&table, &modules).into_iter().chain(circles(&folders)).collect())
}

/// The rows `| module | used, used |` after [`MARK`].
fn table(page: &str) -> Result<Uses, String> {
    let (_, after) = page.split_once(MARK).ok_or_else(|| format!("{PAGE}: got no line {MARK}, expected one"))?;
    let rows = after.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let row = |line: &str| {
        let mut cells = line.split('|').map(|cell| cell.replace('`', "").trim().to_owned()).skip(1);
        let (module, used) = (cells.next().unwrap_or_default(), cells.next().unwrap_or_default());
        (module, used.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect())
    };
    // The heading, and the line below it.
    Ok(rows.skip(2).map(row).collect())
}

/// Whether a file has tests alone, which may use anything.
fn is_test(path: &Path) -> bool {
    const FILES: [&str; 3] = ["laws", "refusals", "testing"];
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let folder = path.components().any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "model")));
    folder || stem == "tests" || stem.ends_with("_tests") || FILES.contains(&stem)
}

/// The path of a file's module from the root of the crate; that of the folder for `mod.rs`, and empty for `lib.rs`.
fn module(path: &Path) -> Vec<String> {
    let file = path.strip_prefix(SOURCES).unwrap_or(path).with_extension("");
    let mut names: Vec<String> = file.iter().map(|name| name.to_string_lossy().into_owned()).collect();
    names.pop_if(|last| last == "mod" || last == "lib");
    names
}

/// For each folder, given by the path of its module, which of its files and folders name which others of them, outside of
/// tests and comments. What a `mod.rs` names does not count, nor what is named through it.
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
        let code = text.split("\nmod tests {").next().unwrap_or_default();
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

/// The modules that the paths in the code of `module` lead to, as far as they are `modules`.
fn named(code: &str, module: &[String], modules: &BTreeSet<Vec<String>>) -> Vec<Vec<String>> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(start) {
            // The rest of a longer name or path begins no path.
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

/// Adds the paths at the beginning of `code` to `found`, each after the names in `before`; with braces, there are several.
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

/// The files and folders, of each folder, that use each other in a circle.
fn circles(folders: &BTreeMap<Vec<String>, Uses>) -> Vec<String> {
    let found = folders.iter().filter_map(|(folder, uses)| Some((folder, circle(uses)?)));
    let text = |(folder, modules): (&Vec<String>, Vec<String>)| {
        let folder = Path::new(SOURCES).join(folder.iter().collect::<PathBuf>());
        format!("{}: files or folders that use each other in a circle: {}", folder.display(), modules.join(", "))
    };
    found.map(text).collect()
}

/// The modules that cannot be put in an order in which each uses earlier ones alone.
fn circle(uses: &Uses) -> Option<Vec<String>> {
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
    fn paths_lead_to_files_through_super_self_and_braces() {
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
    fn what_the_table_lacks_and_what_it_has_too_much_is_found() {
        let sources = [source("a.rs", "use crate::b::X;"), source("b.rs", ""), source("c.rs", "")];
        let found = |rows: &str| compare(&table(&page(rows)).unwrap(), &of_root(&sources));
        assert_eq!(found("| `a` | b |\n| `b` | |\n| `c` | |"), Vec::<String>::new());
        assert_eq!(found("| `a` | |\n| `b` | a |\n| `c` | |").len(), 2);
        assert_eq!(found("| `a` | b |\n| `b` | |").len(), 1);
    }

    #[test]
    fn a_circle_is_found() {
        let sources =
            [source("a.rs", "use crate::b;"), source("b.rs", "use crate::c;"), source("c.rs", "use crate::a;")];
        assert_eq!(circle(&of_root(&sources)).unwrap(), ["a", "b", "c"]);
        let sources = [
            source("m/mod.rs", ""),
            source("m/a.rs", "use super::b::X;"),
            source("m/b.rs", "use crate::m::a;"),
            source("m/c.rs", ""),
        ];
        let found = circles(&uses(&sources));
        assert_eq!(found, ["core/src/m: files or folders that use each other in a circle: a, b"]);
    }
}
