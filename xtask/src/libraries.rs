//! The files of the C library on each system that it is installed for.

use crate::install::VERSION;

/// The system's libraries that a static link needs on Linux.
const ON_LINUX: [&str; 7] = ["gcc_s", "util", "rt", "pthread", "m", "dl", "c"];

/// The same on Windows.
const ON_WINDOWS: [&str; 6] = ["kernel32", "advapi32", "bcrypt", "ntdll", "userenv", "ws2_32"];

/// The same on macOS.
const ON_MACOS: [&str; 2] = ["System", "iconv"];

/// A system that libraries are built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum System {
    Linux,
    MacOs,
    /// With the libraries and the linker of MinGW-w64.
    WindowsGnu,
    /// With Microsoft's.
    WindowsMsvc,
}

impl System {
    /// Returns the system of the target triple `target`, or else that of this program.
    ///
    /// # Errors
    ///
    /// If nothing is known of that system's libraries.
    pub(crate) fn of(target: Option<&str>) -> Result<Self, String> {
        let is_linux = |target: &str| target.contains("-linux-");
        match target {
            None if cfg!(target_os = "linux") => Ok(Self::Linux),
            None if cfg!(target_os = "macos") => Ok(Self::MacOs),
            None if cfg!(all(windows, target_env = "gnu")) => Ok(Self::WindowsGnu),
            None if cfg!(all(windows, target_env = "msvc")) => Ok(Self::WindowsMsvc),
            Some(target) if is_linux(target) => Ok(Self::Linux),
            Some(target) if target.ends_with("-apple-darwin") => Ok(Self::MacOs),
            Some(target) if target.ends_with("-windows-gnu") => Ok(Self::WindowsGnu),
            Some(target) if target.ends_with("-windows-msvc") => Ok(Self::WindowsMsvc),
            _ => {
                let got = target.unwrap_or(std::env::consts::OS);
                Err(format!("system of the libraries: got {got}, expected Linux, macOS or Windows"))
            }
        }
    }

    /// Returns the names of the built libraries, each with its path in an installation.
    pub(crate) fn files(self) -> Vec<(&'static str, String)> {
        let shared = self.shared();
        match self {
            Self::Linux => vec![("libdreamframe.so", shared), ("libdreamframe.a", self.archive().into())],
            Self::MacOs => vec![("libdreamframe.dylib", shared), ("libdreamframe.a", self.archive().into())],
            Self::WindowsGnu => vec![
                ("dreamframe.dll", shared),
                ("libdreamframe.dll.a", "lib/libdreamframe.dll.a".into()),
                ("libdreamframe.a", self.archive().into()),
            ],
            Self::WindowsMsvc => vec![
                ("dreamframe.dll", shared),
                ("dreamframe.dll.lib", "lib/dreamframe.dll.lib".into()),
                ("dreamframe.lib", self.archive().into()),
            ],
        }
    }

    /// Returns the path of the shared library in an installation.
    pub(crate) fn shared(self) -> String {
        match self {
            Self::Linux => format!("lib/libdreamframe.so.{VERSION}"),
            Self::MacOs => format!("lib/libdreamframe.{VERSION}.dylib"),
            Self::WindowsGnu | Self::WindowsMsvc => "bin/dreamframe.dll".into(),
        }
    }

    /// Returns the path of the static library in an installation.
    pub(crate) fn archive(self) -> &'static str {
        match self {
            Self::Linux | Self::MacOs | Self::WindowsGnu => "lib/libdreamframe.a",
            Self::WindowsMsvc => "lib/dreamframe.lib",
        }
    }

    /// Returns the other names of the shared library, by which linkers and programs find it.
    pub(crate) fn links(self) -> Vec<String> {
        match self {
            Self::Linux => vec![format!("lib/{}", self.binary_interface()), "lib/libdreamframe.so".into()],
            Self::MacOs => vec![format!("lib/{}", self.binary_interface()), "lib/libdreamframe.dylib".into()],
            Self::WindowsGnu | Self::WindowsMsvc => Vec::new(),
        }
    }

    /// Returns the property of CMake's imported target of the shared library that linkers need.
    pub(crate) fn cmake_link_property(self) -> String {
        let import = |name| format!("IMPORTED_IMPLIB \"${{_dreamframe_prefix}}/lib/{name}\"");
        match self {
            Self::Linux => format!("IMPORTED_SONAME \"{}\"", self.binary_interface()),
            Self::MacOs => format!("IMPORTED_SONAME \"@rpath/{}\"", self.binary_interface()),
            Self::WindowsGnu => import("libdreamframe.dll.a"),
            Self::WindowsMsvc => import("dreamframe.dll.lib"),
        }
    }

    /// Returns the system's libraries that a static link needs, with `features` of the C interface: first that of C++, in
    /// which the codec of the feature `transport` is written.
    pub(crate) fn system_libraries(self, features: &str) -> Vec<&'static str> {
        let libraries = match self {
            Self::Linux => ON_LINUX.as_slice(),
            Self::MacOs => &ON_MACOS,
            Self::WindowsGnu | Self::WindowsMsvc => &ON_WINDOWS,
        };
        let runtime = match self {
            Self::Linux | Self::WindowsGnu => Some("stdc++"),
            Self::MacOs => Some("c++"),
            Self::WindowsMsvc => None,
        };
        let codec = runtime.filter(|_| features.split(',').any(|feature| feature == "transport"));
        codec.into_iter().chain(libraries.iter().copied()).collect()
    }

    /// Returns the arguments of the linker for the shared library.
    pub(crate) fn link_arguments(self) -> Vec<String> {
        match self {
            Self::Linux => vec![format!("-Wl,-soname,{}", self.binary_interface())],
            Self::MacOs => vec![format!("-Wl,-install_name,@rpath/{}", self.binary_interface())],
            Self::WindowsGnu | Self::WindowsMsvc => Vec::new(),
        }
    }

    /// Returns the program that removes debug information from the static library. On Windows there is none:
    /// Microsoft's tools have no such program, and that of MinGW-w64 refuses files without sections, which Rust's libraries have.
    pub(crate) fn strip(self, target: Option<&str>) -> Option<String> {
        let arch = target.and_then(|target| target.split('-').next());
        match self {
            Self::WindowsGnu | Self::WindowsMsvc => None,
            Self::Linux => Some(arch.map_or_else(|| "strip".into(), |arch| format!("{arch}-linux-gnu-strip"))),
            // Other systems have no such program for its files.
            Self::MacOs => arch.is_none().then(|| "strip".into()),
        }
    }

    /// Returns the name by which programs load the shared library on Unix, which versions with the same binary interface
    /// share. Below 1.0, each minor version has its own.
    pub(crate) fn binary_interface(self) -> String {
        let (major, minor) = major_minor();
        let version = if major == "0" { format!("0.{minor}") } else { major.to_owned() };
        if self == Self::MacOs {
            format!("libdreamframe.{version}.dylib")
        } else {
            format!("libdreamframe.so.{version}")
        }
    }
}

/// Returns the first two parts of the version.
pub(crate) fn major_minor() -> (&'static str, &'static str) {
    let mut parts = VERSION.split('.');
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_is_that_of_the_triple() {
        assert_eq!(System::of(Some("x86_64-pc-windows-gnu")), Ok(System::WindowsGnu));
        assert_eq!(System::of(Some("x86_64-pc-windows-msvc")), Ok(System::WindowsMsvc));
        assert_eq!(System::of(Some("aarch64-unknown-linux-gnu")), Ok(System::Linux));
        assert_eq!(System::of(Some("aarch64-apple-darwin")), Ok(System::MacOs));
        let error = System::of(Some("x86_64-unknown-freebsd")).unwrap_err();
        assert_eq!(error, "system of the libraries: got x86_64-unknown-freebsd, expected Linux, macOS or Windows");
    }

    #[test]
    fn every_installation_has_a_shared_and_a_static_library_and_something_to_link_with() {
        for system in [System::Linux, System::MacOs, System::WindowsGnu, System::WindowsMsvc] {
            let files: Vec<String> = system.files().into_iter().map(|(_, path)| path).collect();
            assert!(files.contains(&system.shared()) && files.contains(&system.archive().to_owned()), "{files:?}");
            let import = system.cmake_link_property();
            let import = import.rsplit('/').next().unwrap().trim_end_matches('"');
            let linked = system.links().into_iter().chain(files).any(|path| path.ends_with(import));
            assert!(linked || import.contains(&system.binary_interface()), "{import}");
        }
    }

    #[test]
    fn a_codec_in_cpp_needs_its_library() {
        assert_eq!(System::Linux.system_libraries("hub,transport")[..2], ["stdc++", "gcc_s"]);
        assert_eq!(System::WindowsGnu.system_libraries("")[0], "kernel32");
    }
}
