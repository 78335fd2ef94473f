//! Removes the server's folders from error texts that clients get.

use std::borrow::Cow;

/// The replacement for the folders of a path.
const FOLDERS: &str = "…/";

/// Replaces every absolute path in `text` by its last component. URLs and ids of models stay.
///
/// A path ends at punctuation that paths rarely have; a space belongs to it if a separator follows, so that no part of a
/// folder's name stays.
pub(crate) fn without_folders(text: &str) -> Cow<'_, str> {
    let mut rest = text;
    let mut out = String::new();
    let mut before = None;
    while let Some((at, c)) = rest.char_indices().find(|&(at, _)| {
        let before = rest.get(..at).and_then(|head| head.chars().next_back()).or(before);
        before.is_none_or(opens) && begins_path(rest.get(at..).unwrap_or_default())
    }) {
        let (head, path) = rest.split_at(at);
        let end = path_end(path);
        let (path, tail) = path.split_at(end);
        let name = path.rsplit(is_separator).next().unwrap_or_default();
        out.push_str(head);
        out.push_str(FOLDERS);
        out.push_str(name);
        before = path.chars().next_back().or(Some(c));
        rest = tail;
    }
    if out.is_empty() {
        return Cow::Borrowed(text);
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Whether a path may begin after `c`.
fn opens(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '(' | '[' | '{' | '<' | '=' | ',' | ';')
}

fn is_separator(c: char) -> bool {
    matches!(c, '/' | '\\')
}

/// Whether `text` begins with an absolute path: of Unix, of a user's home, of Windows, of a share.
fn begins_path(text: &str) -> bool {
    let named = |rest: &str| rest.chars().next().is_some_and(|c| !c.is_whitespace() && !is_separator(c));
    let mut chars = text.chars();
    match (chars.next(), chars.next(), chars.next()) {
        (Some('\\'), Some('\\'), Some(_)) => true,
        (Some('/'), ..) => text.strip_prefix('/').is_some_and(named),
        (Some('~'), Some(c), _) => is_separator(c),
        (Some(drive), Some(':'), Some(c)) => drive.is_ascii_alphabetic() && is_separator(c),
        _ => false,
    }
}

/// Where the path ends that `text` begins with.
fn path_end(text: &str) -> usize {
    let ends =
        |(at, c): (usize, char)| matches!(c, '"' | '\'' | '`' | ',' | ';' | ')' | '(' | '\n') || (c == ':' && at > 1);
    let run = text.char_indices().find(|&place| ends(place)).map_or(text.len(), |(at, _)| at);
    let run = text.get(..run).unwrap_or(text);
    let last = run.rfind(is_separator).unwrap_or(0);
    // The name after the last separator ends at the next space.
    let name = run.get(last..).unwrap_or_default();
    last + name.find(char::is_whitespace).unwrap_or(name.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_absolute_paths_the_last_part_stays() {
        for (text, shown) in [
            ("cannot open /srv/models/x.safetensors", "cannot open …/x.safetensors"),
            ("model a/b not found: tried /m/a/b, /m/a--b", "model a/b not found: tried …/b, …/a--b"),
            ("/home/Ann Lee/my models/unet/config.json: not JSON", "…/config.json: not JSON"),
            ("unet: \"/a/b c\" (at ~/x/y): C:\\Users\\ann\\z.bin", "unet: \"…/b c\" (at …/y): …/z.bin"),
            ("read \\\\host\\share\\x; D:/y", "read …/x; …/y"),
            ("/root", "…/root"),
        ] {
            assert_eq!(without_folders(text), shown);
        }
    }

    #[test]
    fn relative_paths_and_urls_are_kept() {
        for text in [
            "",
            "model org/name: https://hub.example/org/name answers 404",
            "size is 3/4, or and/or 1 / 2",
            "tensor \"down_blocks.0.weight\" has shape [1, 2]",
            "t_index_list[0]: got 3, expected less than 3: see the docs",
        ] {
            assert_eq!(without_folders(text), text);
        }
    }
}
