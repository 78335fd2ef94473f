//! Compares the dependencies between the modules of the core with the table in `ARCHITECTURE.md`.

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
/// modules use each other in a circle.
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
    Ok(compare(&table, &uses(&sources)))
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

/// The module of a file: the first folder below the sources, or the file itself; `None` for the root of the crate.
fn module(path: &Path) -> Option<String> {
    let first = path.strip_prefix(SOURCES).ok()?.components().next()?;
    let name = Path::new(first.as_os_str()).file_stem()?.to_str()?;
    (name != "lib").then(|| name.to_owned())
}

/// The modules that each module names after `crate::`, outside of its tests and comments.
fn uses(sources: &[(PathBuf, String)]) -> Uses {
    let modules: BTreeSet<String> = sources.iter().filter_map(|(path, _)| module(path)).collect();
    let mut uses: Uses = modules.iter().map(|module| (module.clone(), BTreeSet::new())).collect();
    for (path, text) in sources {
        let Some(used) = module(path).and_then(|module| uses.get_mut(&module)) else { continue };
        let code = text.split("\nmod tests {").next().unwrap_or_default();
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            used.extend(named(line).filter(|name| modules.contains(name)));
        }
    }
    for (module, used) in &mut uses {
        used.remove(module);
        used.remove(FOR_ALL);
    }
    uses
}

/// The names right after each `crate::` of a line, also those in braces.
fn named(line: &str) -> impl Iterator<Item = String> {
    let after = line.match_indices("crate::").filter_map(|(at, mark)| line.get(at + mark.len()..));
    let names = after.flat_map(|rest| match rest.strip_prefix('{') {
        Some(inside) => inside.split(',').map(str::trim).collect(),
        None => vec![rest],
    });
    names.map(|name| name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
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
        .extend(circle(uses).map(|modules| format!("modules that use each other in a circle: {}", modules.join(", "))));
    found
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

    #[test]
    fn names_after_crate_count_and_those_in_comments_and_tests_do_not() {
        let text = "use crate::b::X;\nuse crate::{c, Error};\n/// [`crate::d`]\n#[cfg(test)]\nmod tests {\n    use crate::d;\n}\n";
        let sources = [source("a/one.rs", text), source("b.rs", ""), source("c/mod.rs", ""), source("d.rs", "")];
        let found = uses(&sources);
        assert_eq!(found["a"], BTreeSet::from(["b".to_owned(), "c".to_owned()]));
        assert!(is_test(Path::new("core/src/a/tests/x.rs")) && is_test(Path::new("core/src/a/b_tests.rs")));
    }

    #[test]
    fn what_the_table_lacks_and_what_it_has_too_much_is_found() {
        let sources = [source("a.rs", "use crate::b::X;"), source("b.rs", ""), source("c.rs", "")];
        let found = |rows: &str| compare(&table(&page(rows)).unwrap(), &uses(&sources));
        assert_eq!(found("| `a` | b |\n| `b` | |\n| `c` | |"), Vec::<String>::new());
        assert_eq!(found("| `a` | |\n| `b` | a |\n| `c` | |").len(), 2);
        assert_eq!(found("| `a` | b |\n| `b` | |").len(), 1);
    }

    #[test]
    fn a_circle_is_found() {
        let sources =
            [source("a.rs", "use crate::b;"), source("b.rs", "use crate::c;"), source("c.rs", "use crate::a;")];
        assert_eq!(circle(&uses(&sources)).unwrap(), ["a", "b", "c"]);
    }
}
