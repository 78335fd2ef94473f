//! Reads connection options from Python.

use std::net::IpAddr;

use dreamframe::transport::peer::{IceServer, PeerOptions};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::errors::invalid_call;
use crate::options::type_error;

/// Reads the options of peer connections.
pub(crate) fn options(
    ice_servers: Option<&Bound<'_, PyAny>>,
    public_ip: Option<&Bound<'_, PyAny>>,
    ports: Option<&Bound<'_, PyAny>>,
) -> PyResult<PeerOptions> {
    let mut options = PeerOptions::default();
    if let Some(servers) = ice_servers {
        options.ice_servers = all_ice_servers(servers)?;
    }
    if let Some(ip) = public_ip {
        let read = ip.extract::<String>().ok().and_then(|ip| ip.parse::<IpAddr>().ok());
        let wrong = || invalid_call(ip.py(), format!("public_ip: got {ip:?}, expected an IP address, or None"));
        options.public_ip = Some(read.ok_or_else(wrong)?);
    }
    if let Some(ports) = ports {
        let read = ports.extract::<(u16, u16)>().ok().filter(|(first, last)| (1..=*last).contains(first));
        let wrong = || {
            let text = format!("ports: got {ports:?}, expected the first and the last port, from 1 to 65535");
            invalid_call(ports.py(), text)
        };
        let (first, last) = read.ok_or_else(wrong)?;
        options.ports = Some(first..=last);
    }
    Ok(options)
}

fn all_ice_servers(servers: &Bound<'_, PyAny>) -> PyResult<Vec<IceServer>> {
    const EXPECTED: &str = "a list of addresses such as \"stun:host\", or of dicts with urls, username and credential";

    if servers.is_instance_of::<PyString>() || servers.is_instance_of::<PyDict>() {
        return Err(type_error("ice_servers", servers, EXPECTED));
    }
    let all = servers.try_iter().map_err(|_| type_error("ice_servers", servers, EXPECTED))?;
    all.map(|server| ice_server(&server?)).collect()
}

fn ice_server(server: &Bound<'_, PyAny>) -> PyResult<IceServer> {
    read_ice_server(server).ok_or_else(|| {
        // The value may contain a password: it is not shown.
        let text = "ice_servers: expected addresses such as \"stun:host\" or dicts with urls, for TURN also with username \
            and credential, or with secret";
        invalid_call(server.py(), text)
    })
}

fn read_ice_server(server: &Bound<'_, PyAny>) -> Option<IceServer> {
    if let Ok(url) = server.extract::<String>() {
        return Some(IceServer::default().with_urls(vec![url]));
    }
    let fields = server.cast::<PyDict>().ok()?;
    let field = |name: &str| fields.get_item(name).ok().flatten().filter(|value| !value.is_none());
    let text = |name: &str| field(name).map(|value| value.extract::<String>().ok());
    let known = |name: Bound<'_, PyAny>| name.extract::<String>().is_ok_and(|name| NAMES.contains(&name.as_str()));
    if !fields.keys().iter().all(known) {
        return None;
    }
    let urls = field("urls")?;
    let urls = urls.extract::<String>().map_or_else(|_| urls.extract::<Vec<String>>(), |url| Ok(vec![url])).ok()?;
    let (username, credential, secret) = (text("username"), text("credential"), text("secret"));
    // A value that is present must be text.
    let is_wrong = [&username, &credential, &secret].into_iter().any(|text| matches!(text, Some(None)));
    (!is_wrong).then(|| {
        let server = IceServer::default().with_urls(urls).with_username(username.flatten());
        server.with_credential(credential.flatten()).with_secret(secret.flatten())
    })
}

/// The keys of such a dict; the same as in browsers' `RTCIceServer`, except for the secret.
const NAMES: [&str; 4] = ["urls", "username", "credential", "secret"];
