//! A hub of models on this machine, with one LoRA.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

/// The commit of the only revision.
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// The repository that [`serve`] has.
pub const REPOSITORY: &str = "some/lora";

/// The only file of the repository, and what it contains: weights without a tensor.
const FILE: (&str, &str) = ("pytorch_lora_weights.safetensors", "\u{2}\0\0\0\0\0\0\0{}");

/// The id that `git hash-object` gives the file.
const FILE_ID: &str = "7b19cc601c0e9f2f80f83c1b0b2d9586d018ae2b";

/// Starts a hub, which answers until the process ends; returns its address.
///
/// # Panics
///
/// If this machine has no free port.
pub fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| drop(answer(stream))));
    format!("http://{address}")
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let path = request_path(&mut stream)?;
    let body = if path == format!("/api/models/{REPOSITORY}/revision/main") {
        Some((format!(r#"{{"sha": "{COMMIT}", "siblings": [{{"rfilename": "{}"}}]}}"#, FILE.0), "listing"))
    } else if path == format!("/{REPOSITORY}/resolve/{COMMIT}/{}", FILE.0) {
        Some((FILE.1.to_owned(), FILE_ID))
    } else {
        None
    };
    let (status, (body, id)) =
        if let Some(body) = body { ("200 OK", body) } else { ("404 Not Found", Default::default()) };
    let length = body.len();
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nETag: \"{id}\"\r\nConnection: close\r\n\r\n{body}")
}

/// Reads a request without a body; returns its path.
fn request_path(stream: &mut TcpStream) -> std::io::Result<String> {
    const LONGEST: usize = 16 * 1024;
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && request.len() < LONGEST && stream.read(&mut byte)? == 1 {
        request.extend(byte);
    }
    Ok(String::from_utf8_lossy(&request).split_whitespace().nth(1).unwrap_or_default().to_owned())
}
