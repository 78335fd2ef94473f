//! ICE servers in headers: `Link: <turn:host>; rel="ice-server"; username="…"; credential="…";
//! credential-type="password"`.

use http::header::{HeaderMap, HeaderValue, LINK};

use crate::transport::peer::IceServer;

/// Adds one header for each address of `servers`. Values that are invalid in a header are skipped.
pub(super) fn write_ice_links(servers: &[IceServer], headers: &mut HeaderMap) {
    for server in servers {
        for url in &server.urls {
            let mut link = format!("<{url}>; rel=\"ice-server\"");
            if let (Some(username), Some(credential)) = (&server.username, &server.credential) {
                let (username, credential) = (quoted(username), quoted(credential));
                link += &format!("; username={username}; credential={credential}; credential-type=\"password\"");
            }
            if let Ok(mut value) = HeaderValue::try_from(link) {
                value.set_sensitive(server.credential.is_some());
                headers.append(LINK, value);
            }
        }
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The maximum number of servers that are read.
const MOST: usize = 16;

/// Parses the ICE servers of a response; other and malformed links are skipped.
pub(in crate::transport) fn read_ice_links(headers: &HeaderMap) -> Vec<IceServer> {
    let values = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    let mut servers = Vec::new();
    for value in values {
        let mut rest = value;
        while let Some((server, after)) = read_link(rest) {
            servers.extend(server);
            rest = after;
        }
    }
    servers.truncate(MOST);
    servers
}

/// Parses one link, and returns the rest; no server for a link of another kind.
fn read_link(text: &str) -> Option<(Option<IceServer>, &str)> {
    let (url, mut rest) = text.trim_start_matches([' ', ',']).strip_prefix('<')?.split_once('>')?;
    let mut server = IceServer { urls: vec![url.trim().to_owned()], ..IceServer::default() };
    let mut is_server = false;
    while let Some(after) = rest.trim_start().strip_prefix(';') {
        let end = after.find(['=', ';', ',']).unwrap_or(after.len());
        let (name, after) = after.split_at_checked(end)?;
        let (value, after) = match after.strip_prefix('=') {
            Some(after) => read_value(after.trim_start())?,
            None => (String::new(), after),
        };
        match name.trim().to_ascii_lowercase().as_str() {
            "rel" => is_server = value.split_ascii_whitespace().any(|rel| rel.eq_ignore_ascii_case("ice-server")),
            "username" => server.username = Some(value),
            "credential" => server.credential = Some(value),
            _ => {}
        }
        rest = after;
    }
    let known = ["stun:", "stuns:", "turn:", "turns:"].iter().any(|scheme| url.trim().starts_with(scheme));
    Some(((is_server && known).then_some(server), rest))
}

/// Parses a value, quoted or not, and returns the rest.
fn read_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, after) = text.split_at_checked(text.find([';', ',']).unwrap_or(text.len()))?;
        return Some((value.trim().to_owned(), after));
    };
    let (mut value, mut escaped) = (String::new(), false);
    for (at, char) in quoted.char_indices() {
        match char {
            _ if escaped => {
                value.push(char);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return Some((value, quoted.get(at + 1..)?)),
            _ => value.push(char),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn() -> IceServer {
        IceServer {
            urls: vec!["turn:turn.example:3478?transport=udp".into()],
            username: Some("a \"b\", c; d".into()),
            credential: Some("\\secret".into()),
            ..IceServer::default()
        }
    }

    #[test]
    fn links_round_trip() {
        let stun = IceServer { urls: vec!["stun:stun.example".into()], ..IceServer::default() };
        let mut headers = HeaderMap::new();
        write_ice_links(&[stun.clone(), turn()], &mut headers);
        assert_eq!(headers.get_all(LINK).iter().count(), 2);
        assert_eq!(read_ice_links(&headers), [stun, turn()]);
    }

    #[test]
    fn one_header_may_have_several_links() {
        let mut headers = HeaderMap::new();
        let value = "<stun:a>; rel=ice-server, </style>;rel=\"preload\";crossorigin, <stun:b>;rel=\"ice-server\"";
        headers.insert(LINK, HeaderValue::from_static(value));
        let servers = read_ice_links(&headers);
        assert_eq!(servers.iter().map(|server| server.urls.join(" ")).collect::<Vec<_>>(), ["stun:a", "stun:b"]);
    }

    proptest::proptest! {
        #[test]
        fn any_link_header_of_a_server_is_bounded(value in "[ -~]{0,200}|(<stun:a>; ?rel=\"?ice-server\"?[,; \"]?){0,40}") {
            let mut headers = HeaderMap::new();
            headers.insert(LINK, HeaderValue::try_from(value).unwrap());
            proptest::prop_assert!(read_ice_links(&headers).len() <= MOST);
        }
    }
}
