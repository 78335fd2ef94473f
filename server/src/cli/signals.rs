//! Requests to end this process: SIGINT and SIGTERM on Unix; Ctrl-C, Ctrl-Break, a closed console and a shutdown of the
//! machine on Windows.

use std::io;

use dreamframe::{Error, ErrorKind};

use super::exit::{Failure, Result};

/// Calls `asked` for each request from now on, on a thread of its own.
///
/// # Errors
///
/// `Internal` if the system cannot report requests.
pub(super) fn on_request_to_end(asked: impl FnMut() + Send + 'static) -> Result {
    listen(asked).map_err(failed)
}

/// Returns the failure for a system that cannot report requests.
pub(super) fn failed(error: io::Error) -> Failure {
    Error::new(ErrorKind::Internal, "failed to listen for signals").with_source(error).into()
}

fn listen(mut asked: impl FnMut() + Send + 'static) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let mut requests = {
        let _runtime = runtime.enter();
        Requests::listen()?
    };
    let wait = move || {
        runtime.block_on(async move {
            loop {
                requests.next().await;
                asked();
            }
        });
    };
    std::thread::Builder::new().name("dreamframe-signals".to_owned()).spawn(wait).map(drop)
}

#[cfg(unix)]
struct Requests {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Requests {
    fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// After `close` and `shutdown`, the system ends the process within about five seconds.
#[cfg(windows)]
struct Requests {
    interrupt: tokio::signal::windows::CtrlC,
    stop: tokio::signal::windows::CtrlBreak,
    close: tokio::signal::windows::CtrlClose,
    shutdown: tokio::signal::windows::CtrlShutdown,
}

#[cfg(windows)]
impl Requests {
    fn listen() -> io::Result<Self> {
        use tokio::signal::windows;

        Ok(Self {
            interrupt: windows::ctrl_c()?,
            stop: windows::ctrl_break()?,
            close: windows::ctrl_close()?,
            shutdown: windows::ctrl_shutdown()?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.stop.recv() => {}
            _ = self.close.recv() => {}
            _ = self.shutdown.recv() => {}
        }
    }
}
