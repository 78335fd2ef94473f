//! Which addresses need keys, and which a second switch.

use std::net::SocketAddr;

use dreamframe::Result;

use super::{KEYS_VARIABLE, invalid_setting};

/// Refuses an address that other machines reach, without keys.
pub(super) fn only_this_machine(name: &str, address: Option<SocketAddr>) -> Result<()> {
    match address {
        Some(address) if !address.ip().is_loopback() => {
            let text = format!(
                "got {address}, which other machines can reach, without API keys: set --keys FILE or {KEYS_VARIABLE}, or \
                 use a loopback address such as 127.0.0.1:{}",
                address.port()
            );
            Err(invalid_setting(name, &text))
        }
        _ => Ok(()),
    }
}

/// Refuses OSC where it would allow without a key what otherwise needs one.
pub(super) fn only_with_keys_elsewhere(osc: Option<SocketAddr>, is_open: bool) -> Result<()> {
    let reason = match osc {
        Some(address) if !address.ip().is_loopback() => "other machines can reach",
        Some(_) if !is_open => "needs no key, on a server with API keys",
        _ => return Ok(()),
    };
    let address = osc.map(|address| address.to_string()).unwrap_or_default();
    let text = format!(
        "got {address}, which {reason}: OSC has no keys; set osc_unauthenticated to let everyone who reaches it change all \
         streams"
    );
    Err(invalid_setting("osc", &text))
}

#[cfg(test)]
mod tests {
    use dreamframe::{EngineOptions, Result};

    use crate::config::{Config, Settings, SharedSettings};

    fn config(settings: Settings, keys: Option<&str>) -> Result<Config> {
        Config::new(settings, keys, EngineOptions::default())
    }

    #[test]
    fn beyond_this_machine_there_is_nothing_without_keys() {
        let at = |bind: &str| {
            let shared = SharedSettings { bind: Some(bind.parse().unwrap()), ..SharedSettings::default() };
            Settings { shared, ..Settings::default() }
        };
        let open = at("0.0.0.0:80");
        let error = config(open.clone(), None).unwrap_err();
        assert!(error.to_string().contains("--keys"), "{error}");
        assert!(config(open.clone(), Some("  , ")).is_err());
        assert!(!config(open, Some("long-enough-for-a-key")).unwrap().keys.is_open());
        assert!(config(at("[::1]:80"), None).is_ok());
    }

    #[test]
    fn rtmp_beyond_this_machine_needs_keys_as_well() {
        let open = |rtmp: &str| Settings { rtmp: Some(rtmp.into()), ..Settings::default() };
        for rtmp in ["0.0.0.0:1935", "[::]:1935", "192.0.2.1:1935"] {
            let error = config(open(rtmp), None).unwrap_err();
            assert!(error.to_string().starts_with("rtmp: got ") && error.to_string().contains("--keys"), "{error}");
            assert!(config(open(rtmp), Some("long-enough-for-a-key")).is_ok());
        }
        assert!(config(open("127.0.0.1:1935"), None).is_ok() && config(open("off"), None).is_ok());
    }

    #[test]
    fn osc_needs_a_second_switch_where_keys_would_be_needed() {
        let with = |osc: &str, unauthenticated| Settings {
            osc: Some(osc.parse().unwrap()),
            osc_unauthenticated: unauthenticated,
            ..Settings::default()
        };
        let key = Some("long-enough-for-a-key");
        for (osc, keys) in [("0.0.0.0:9000", None), ("192.0.2.1:9000", key), ("127.0.0.1:9000", key)] {
            let error = config(with(osc, false), keys).unwrap_err().to_string();
            assert!(error.starts_with("osc: got ") && error.contains("osc_unauthenticated"), "{error}");
            assert_eq!(config(with(osc, true), keys).unwrap().osc, Some(osc.parse().unwrap()));
        }
        assert!(config(with("[::1]:9000", false), None).is_ok());
        assert_eq!(config(Settings::default(), None).unwrap().osc, None);
    }
}
