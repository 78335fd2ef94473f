//! Parses settings that are structured text.

use std::net::{IpAddr, SocketAddr};

use super::{IceServer, Ports, Rtmp};
use crate::urls::Urls;

/// The usual port of RTMP.
const RTMP_PORT: u16 = 1935;

/// Reads `50000-50100`.
pub(super) fn ports(text: &str) -> Result<Ports, String> {
    let invalid = || format!("got {text:?}, expected a range such as 50000-50100");
    let (from, to) = text.split_once('-').ok_or_else(invalid)?;
    let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(invalid);
    let (from, to) = (port(from)?, port(to)?);
    if from <= to { Ok(from..=to) } else { Err(invalid()) }
}

/// Reads `stun:host:port`, `turn:host:port,user,password` or, where TURN servers share `secret`, `turn:host:port`.
pub(super) fn ice_server(text: &str, secret: Option<&str>) -> Result<IceServer, String> {
    let mut parts = text.splitn(3, ',').map(str::trim);
    let url = parts.next().unwrap_or_default();
    let (username, credential) = (parts.next().map(str::to_owned), parts.next().map(str::to_owned));
    let is_stun = ["stun:", "stuns:"].iter().any(|scheme| url.starts_with(scheme));
    let is_turn = ["turn:", "turns:"].iter().any(|scheme| url.starts_with(scheme));
    let rest = url.split_once(':').map_or("", |(_, rest)| rest);
    // A TURN server needs a name, and the error must not repeat the password.
    let secret = secret.filter(|_| is_turn && username.is_none()).map(str::to_owned);
    if rest.is_empty() || !(is_stun || is_turn) || is_turn != (credential.is_some() || secret.is_some()) {
        return Err(format!(
            "got {url:?}, expected stun:host:3478, turn:host:3478,user,password or, with turn_secret, turn:host:3478"
        ));
    }
    let server = IceServer::default().with_urls(vec![url.to_owned()]).with_username(username);
    Ok(server.with_credential(credential).with_secret(secret))
}

/// Reads `http://host:port` or `https://host:port`, where gateways reach a worker.
pub(crate) fn worker_url(text: &str) -> Result<String, String> {
    let invalid =
        || format!("got {text:?}, expected a URL such as http://10.0.0.5:8889 or https://worker.example:8889");
    let urls: Urls = text.parse().map_err(|_| invalid())?;
    // Without a path.
    if urls.base() == urls.origin() { Ok(urls.base().to_owned()) } else { Err(invalid()) }
}

/// Reads a number of bytes: `1024`, `512M`, `8G`, `8GiB`, in powers of 1024.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let invalid = || format!("got {text:?}, expected bytes such as 8589934592, 8192M or 8G");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim().to_ascii_uppercase();
    let power = match unit.strip_suffix("IB").or_else(|| unit.strip_suffix('B')).unwrap_or(&unit) {
        "" => 0,
        "K" => 1,
        "M" => 2,
        "G" => 3,
        "T" => 4,
        _ => return Err(invalid()),
    };
    let number: u64 = number.parse().map_err(|_| invalid())?;
    number.checked_mul(1 << (10 * power)).filter(|bytes| *bytes > 0).ok_or_else(invalid)
}

/// Reads `off` or an address; without one, the default port at `host`.
pub(super) fn rtmp(text: Option<&str>, host: IpAddr) -> Result<Rtmp, String> {
    match text {
        None => Ok(Rtmp::Try(SocketAddr::new(host, RTMP_PORT))),
        Some("off") => Ok(Rtmp::Off),
        Some(text) => match text.parse() {
            Ok(address) => Ok(Rtmp::At(address)),
            Err(_) => Err(format!("got {text:?}, expected off or an address such as 127.0.0.1:{RTMP_PORT}")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_a_range_that_does_not_fall() {
        assert_eq!(ports("50000-50100"), Ok(50000..=50100));
        assert_eq!(ports("7-7"), Ok(7..=7));
        for wrong in ["", "7", "8-7", "0-7", "a-b", "1-70000"] {
            assert!(ports(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn bytes_have_units_of_powers_of_1024() {
        for (text, number) in
            [("1024", 1024), ("1k", 1024), ("3M", 3 << 20), ("8G", 8 << 30), ("8 GiB", 8 << 30), ("2TB", 2 << 40)]
        {
            assert_eq!(bytes(text), Ok(number), "{text}");
        }
        for wrong in ["", "0", "G", "-1", "8X", "1.5G", "99999999999999999999", "99999999999T"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn turn_needs_a_name_and_a_password_that_no_error_repeats() {
        assert_eq!(ice_server("stun:a:3478", None).unwrap().urls, ["stun:a:3478"]);
        let turn = ice_server("turn:a:3478,user,pass,word", Some("shared")).unwrap();
        assert_eq!(turn.secret, None);
        assert_eq!((turn.username.as_deref(), turn.credential.as_deref()), (Some("user"), Some("pass,word")));
        for wrong in ["", "stun:", "a:3478", "turn:a", "turn:a,user", "tern:a,user,hidden"] {
            let error = ice_server(wrong, None).unwrap_err();
            assert!(!error.contains("hidden"), "{error}");
        }
        let shared = |text| ice_server(text, Some("shared"));
        assert_eq!(shared("turn:a:3478").unwrap().secret.as_deref(), Some("shared"));
        assert_eq!(shared("stun:a:3478").unwrap().secret, None);
        assert!(shared("turn:a:3478,user").is_err());
    }
}
