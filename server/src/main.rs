//! The program `dreamframe`.

fn main() {
    one_arena();
    exact_timers();
    no_telemetry();
    dreamframe_server::cli::main()
}

/// Limits glibc's allocator to one arena. With many, each keeps free memory of its own, and the threads
/// of connections use ever more of them: the memory of a long-running server would grow.
fn one_arena() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        #[allow(unsafe_code, reason = "the C library's function")]
        // SAFETY: it takes two numbers, and no other thread runs yet.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, 1);
        }
    }
}

/// Makes timers of this process exact to a millisecond. On Windows they are exact to 15.6 otherwise, which is half the
/// time of a frame. The system ends this with the process.
fn exact_timers() {
    #[cfg(windows)]
    {
        #[allow(unsafe_code, reason = "a function of the system")]
        // SAFETY: it takes a number. A failure leaves timers as they are.
        unsafe {
            windows_sys::Win32::Media::timeBeginPeriod(1);
        }
    }
}

/// Switches off the telemetry of ONNX Runtime, whose builds send events to their vendor unless this variable is set before
/// the library is loaded.
fn no_telemetry() {
    const VARIABLE: &str = "ORT_DISABLE_TELEMETRY";

    if std::env::var_os(VARIABLE).is_none() {
        #[allow(unsafe_code, reason = "the environment of the process")]
        // SAFETY: no other thread runs yet, so that none reads the environment.
        unsafe {
            std::env::set_var(VARIABLE, "1");
        }
    }
}
