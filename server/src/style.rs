//! Fetches style images from the network, for the engine, which does not use the network itself.

use std::io::Read as _;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::str::FromStr;
use std::time::{Duration, Instant};

use dreamframe::transport::is_public;
use dreamframe::{Error, ErrorKind, Result, StyleImages};
use ureq::http::{Response, Uri, header};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body};

/// The longest time of a download.
const TIME: Duration = Duration::from_secs(5);
/// The largest image, in bytes.
const MOST: u64 = 6 << 20;
/// The most redirects.
const REDIRECTS: usize = 3;
/// Suffixes of host names in local networks.
const INNER: [&str; 4] = [".localhost", ".local", ".internal", ".home.arpa"];

/// Fetches style images from public addresses only, so that clients do not reach the host's network.
///
/// The host of each URL, redirects included, is checked before a request. Without a proxy its resolved addresses are
/// checked too; a proxy resolves names itself, so it must do that.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fetch {
    proxy: Option<Proxy>,
}

/// A proxy for fetching images.
#[derive(Clone)]
pub(crate) struct Proxy(ureq::Proxy);

impl std::fmt::Debug for Proxy {
    /// Omits the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy").field("host", &self.0.host()).field("port", &self.0.port()).finish_non_exhaustive()
    }
}

impl FromStr for Proxy {
    type Err = String;

    /// Parses `http://host:port`, with optional `user:password@`.
    fn from_str(text: &str) -> Result<Self, String> {
        // The text may contain a password, which must not be in an error.
        let wrong = |_| "expected the URL of a proxy, such as http://proxy.example:3128".to_owned();
        ureq::Proxy::new(text).map(Self).map_err(wrong)
    }
}

impl Fetch {
    /// Uses `proxy`; without one no proxy, regardless of the environment.
    pub(crate) fn new(proxy: Option<Proxy>) -> Self {
        Self { proxy }
    }

    fn agent(&self) -> Agent {
        let config = Agent::config_builder().max_redirects(0);
        let connector = DefaultConnector::default();
        match &self.proxy {
            Some(Proxy(proxy)) => {
                let config = config.proxy(Some(proxy.clone())).build();
                Agent::with_parts(config, connector, DefaultResolver::default())
            }
            None => Agent::with_parts(config.proxy(None).build(), connector, PublicOnly),
        }
    }
}

impl StyleImages for Fetch {
    fn fetch(&self, url: &str) -> Result<Vec<u8>> {
        let (agent, deadline) = (self.agent(), Instant::now() + TIME);
        let mut uri: Uri =
            url.parse().map_err(|error| refused("the style image's URL is invalid").with_source(error))?;
        for _ in 0..=REDIRECTS {
            check(&uri)?;
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            let response = agent.get(uri.clone()).config().timeout_global(Some(left)).build().call();
            let response = response
                .map_err(|error| Error::new(ErrorKind::Io, "failed to fetch the style image").with_source(error))?;
            if !response.status().is_redirection() {
                return read(response);
            }
            uri = target(&uri, &response)
                .ok_or_else(|| Error::new(ErrorKind::Io, "redirect of the style image: expected a valid address"))?;
        }
        Err(Error::new(
            ErrorKind::Io,
            format!("redirects of the style image: got more than {REDIRECTS}, expected at most {REDIRECTS}"),
        ))
    }
}

fn read(response: Response<Body>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut body = response.into_body().into_reader().take(MOST + 1);
    body.read_to_end(&mut bytes).map_err(|error| Error::io("the style image", "read", error))?;
    if bytes.len() as u64 > MOST {
        return Err(refused(format!("style image: got more than {MOST} bytes, expected at most {MOST}")));
    }
    Ok(bytes)
}

/// The target of a redirect: another host, or another path on the same one.
fn target(from: &Uri, response: &Response<Body>) -> Option<Uri> {
    let to: Uri = response.headers().get(header::LOCATION)?.to_str().ok()?.parse().ok()?;
    if to.authority().is_some() {
        return to.scheme().is_some().then_some(to);
    }
    let mut parts = from.clone().into_parts();
    parts.path_and_query = Some(to.path_and_query()?.clone());
    Uri::from_parts(parts).ok()
}

/// Rejects a host of a local network by its name, before the name is resolved.
fn check(uri: &Uri) -> Result<()> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_ascii_lowercase();
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let is_inside = match host.parse::<IpAddr>() {
        Ok(ip) => !is_public(ip),
        // Resolvers also accept 2130706433, 127.1 and 0x7f.1 as addresses; no domain name ends like that.
        Err(_) => {
            let is_number = last.starts_with(|first: char| first.is_ascii_digit()) || host.contains(':');
            is_number || !host.trim_end_matches('.').contains('.') || INNER.iter().any(|end| host.ends_with(end))
        }
    };
    if is_inside {
        return Err(refused(format!(
            "host of the style image: got {host:.100}, expected a host of the public internet"
        )));
    }
    Ok(())
}

fn refused(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, text)
}

/// Resolves names when connecting, and rejects those of private networks.
#[derive(Debug)]
struct PublicOnly;

impl Resolver for PublicOnly {
    fn resolve(&self, uri: &Uri, _: &ureq::config::Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().ok_or(ureq::Error::HostNotFound)?.trim_matches(['[', ']']);
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
        let found = (host, port).to_socket_addrs().map_err(ureq::Error::Io)?;
        let mut addresses = self.empty();
        let public = found.filter(|address: &SocketAddr| is_public(address.ip()));
        // As many as fit into the list.
        public.take(8).for_each(|address| addresses.push(address));
        if addresses.is_empty() { Err(ureq::Error::HostNotFound) } else { Ok(addresses) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, Write as _};

    use super::*;

    #[test]
    fn an_address_of_this_machine_is_refused_before_a_connection() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/image.png", listener.local_addr().unwrap());
        assert!(Fetch::default().fetch(&url).is_err());
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err());
    }

    /// Runs this test in a separate process, whose environment has a proxy. The resolver for public addresses would not
    /// reach a proxy on this machine, so the agent is inspected and nothing is fetched.
    #[test]
    fn a_proxy_of_the_environment_is_not_taken() {
        const CHILD: &str = "DREAMFRAME_TEST_STYLE_PROXY";
        if std::env::var_os(CHILD).is_some() {
            assert!(ureq::Proxy::try_from_env().is_some());
            assert!(Fetch::default().agent().config().proxy().is_none());
            return;
        }
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        for variable in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
            command.env(variable, "http://proxy.example:3128");
        }
        let name = "style::tests::a_proxy_of_the_environment_is_not_taken";
        let child = command.env(CHILD, "1").args(["--exact", name]).output().unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && said.contains("1 passed"), "{said}");
    }

    #[test]
    fn hosts_that_are_inside_by_their_name_are_refused_and_others_are_not() {
        let check = |url: &str| check(&url.parse().unwrap());
        for url in [
            "http://127.0.0.1/",
            "http://127.0.0.1./",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0x7f.1/",
            "http://192.88.99.1/",
            "http://[::1]:8080/",
            "http://[::ffff:169.254.169.254]/",
            "http://[2002:a9fe:a9fe::1]/",
            "http://localhost/",
            "http://LOCALHOST./",
            "http://a.localhost/",
            "http://metadata.google.internal/",
            "http://printer.local/",
            "http://intranet/",
        ] {
            let error = check(url).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{url}");
        }
        for url in ["http://images.example/a.png", "https://8.8.8.8/", "http://[2606:2800:220:1::1]/", "http://a.b./"] {
            assert!(check(url).is_ok(), "{url}");
        }
    }

    /// A proxy that responds with `answers`, in order, and returns the requests.
    fn proxy(answers: &'static [&'static str]) -> (Proxy, std::thread::JoinHandle<Vec<String>>) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let thread = std::thread::spawn(move || {
            let (mut asked, mut line) = (Vec::new(), String::new());
            let (socket, _) = listener.accept().unwrap();
            socket.set_read_timeout(Some(TIME)).unwrap();
            let mut reader = std::io::BufReader::new(socket.try_clone().unwrap());
            for answer in answers {
                while reader.read_line(&mut line).unwrap() > 2 {
                    asked.push(std::mem::take(&mut line));
                }
                line.clear();
                (&socket).write_all(answer.as_bytes()).unwrap();
            }
            listener.set_nonblocking(true).unwrap();
            assert!(listener.accept().is_err(), "asked again after {asked:?}");
            asked
        });
        (url.parse().unwrap(), thread)
    }

    #[test]
    fn a_proxy_is_asked_for_public_names_and_never_for_what_they_point_to_inside() {
        let (proxy, asked) = proxy(&[
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/latest\r\ncontent-length: 0\r\n\r\n",
        ]);
        let fetch = Fetch::new(Some(proxy));
        let error = fetch.fetch("http://images.example/a.png").unwrap_err();
        assert!(error.to_string().contains("169.254.169.254"), "{error:#}");
        let asked = asked.join().unwrap();
        assert!(asked[0].starts_with("CONNECT images.example:80 "), "{asked:?}");
        assert!(asked.iter().any(|line| line.starts_with("GET /a.png ")), "{asked:?}");
        assert!(fetch.fetch("http://10.0.0.1/").unwrap_err().kind() == ErrorKind::InvalidArgument);
    }

    #[test]
    fn a_proxy_s_password_is_in_no_error_and_no_debug_output() {
        let proxy: Proxy = "http://user:secret@proxy.example:3128".parse().unwrap();
        assert!(!format!("{:?}", Fetch::new(Some(proxy))).contains("secret"));
        for wrong in ["", "secret@", "ftp://user:secret@a:1", "http://"] {
            assert!(!wrong.parse::<Proxy>().unwrap_err().contains("secret"), "{wrong}");
        }
    }
}
