//! The program `dreamframe`.

use std::process::ExitCode;

fn main() -> ExitCode {
    one_arena();
    dreamframe_server::cli::main()
}

/// Has GNU's allocator keep free memory in one place. Else it keeps some in each of many, which threads fill that come and go
/// with connections: a server that runs for long would take ever more, though nothing in it grows.
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
