//! Builds the guest (the crate at the root) for `wasm32-unknown-unknown` and makes it a component; for
//! the package `next`, with the guest's feature of that name. For the host also the floor
//! (`host-tests/floor`), which takes some seconds.
//!
//! So `cargo run`, `cargo test` and `cargo bench` need nothing before them. The guest has a target
//! folder of its own inside the workspace's, shared by all profiles of the host: there is one
//! component, however the host is built.
//!
//! The guest's standard library is built with it, from its sources, so that a panic is a trap and no more:
//! its message could go nowhere, and takes 30 kB. The compiler comes from the first of these that can give
//! it with those sources: the active toolchain, after `rustup component add rust-src` if need be, or Debian's
//! `rustc-web` with `rust-web-src`. An active toolchain that has the target, but no sources, will do.

#[path = "build/machine.rs"]
mod machine;

use std::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use wasm_encoder::{Component, RawSection};
use wasmparser::{Parser, Payload};

const TARGET: &str = "wasm32-unknown-unknown";
const PROFILE: &str = "component";
const DEBIAN_INSTALL: &str =
    "apt-get update && apt-get install -y --no-install-recommends rustc-web rust-web-src";
/// What a panic does in the guest.
const TRAP_ON_PANIC: [&str; 2] = ["-Zunstable-options", "-Cpanic=immediate-abort"];
/// The oldest compiler for the guest, as in its manifest: 1 dot this.
const GUEST_RUST: u32 = 95;
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\n{error}\n");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), Box<dyn Error>> {
    let package = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let root = package
        .ancestors()
        .find(|folder| folder.join("wit").is_dir());
    let root = root.ok_or("the guest is not above")?.canonicalize()?;
    let is_next = env::var("CARGO_PKG_NAME")? == "clawdb-session-next";
    for input in [
        "src",
        "wit",
        "Cargo.toml",
        "Cargo.lock",
        ".cargo/config.toml",
        "host-tests/floor",
    ] {
        println!("cargo::rerun-if-changed={}", root.join(input).display());
    }
    println!(
        "cargo::rerun-if-changed={}",
        root.join("host-tests/build.rs").display()
    );
    if !is_next {
        machine::tell();
    }

    let out = PathBuf::from(env::var("OUT_DIR")?);
    let target_dir = guest_target_dir(&out);
    // One at a time: the two builds of the guest have the same name.
    fs::create_dir_all(&target_dir)?;
    let turn = fs::File::create(target_dir.join("one-at-a-time"))?;
    turn.lock()?;
    let toolchain = Toolchain::find()?;
    let features: &[&str] = if is_next {
        &["--features", "next"]
    } else {
        &[]
    };
    let guest = Guest {
        root: &root,
        target_dir: &target_dir,
        toolchain: &toolchain,
        out: &out,
    };
    guest.build("clawdb-session", features, "CLAWDB_SESSION_COMPONENT")?;
    if !is_next {
        guest.build("clawdb-session-floor", &[], "CLAWDB_SESSION_FLOOR")?;
    }
    Ok(())
}

/// What the guests are built with.
struct Guest<'a> {
    root: &'a Path,
    target_dir: &'a Path,
    toolchain: &'a Toolchain,
    out: &'a Path,
}

impl Guest<'_> {
    /// Builds a package of the workspace, makes it a component, and tells the crate where it is, in
    /// an environment variable.
    fn build(
        &self,
        package: &str,
        features: &[&str],
        variable: &str,
    ) -> Result<(), Box<dyn Error>> {
        let name = format!("{}.wasm", package.replace('-', "_"));
        self.build_module(package, features)?;
        let module = self.target_dir.join(TARGET).join(PROFILE).join(&name);
        let component = wit_component::ComponentEncoder::default()
            .validate(true)
            .module(&fs::read(module)?)?
            .encode()?;
        let file = self.out.join(name);
        fs::write(&file, without_names(&component)?)?;
        println!("cargo::rustc-env={variable}={}", file.display());
        Ok(())
    }

    fn build_module(&self, package: &str, features: &[&str]) -> Result<(), Box<dyn Error>> {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo
            .current_dir(self.root)
            .args([
                "build",
                "--locked",
                "--package",
                package,
                "--lib",
                "--target",
                TARGET,
                "--profile",
                PROFILE,
            ])
            .args(features)
            .arg("--target-dir")
            .arg(self.target_dir)
            .arg("--config")
            .arg(format!(
                "target.{TARGET}.rustflags={:?}",
                self.toolchain.rustflags(self.root)
            ));
        // What belongs to the host's build: its flags would replace those of `.cargo/config.toml`, and
        // clippy's wrapper would check the guest instead of building it.
        for (name, _) in env::vars_os() {
            let is_hosts = name.to_str().is_some_and(|name| {
                name.starts_with("CARGO_PROFILE_")
                    || name.starts_with("CARGO_BUILD_")
                    || name.starts_with("CARGO_TARGET_")
                    || matches!(
                        name,
                        "RUSTFLAGS"
                            | "CARGO_ENCODED_RUSTFLAGS"
                            | "CARGO_INCREMENTAL"
                            | "RUSTC_WORKSPACE_WRAPPER"
                            | "RUSTC"
                    )
            });
            if is_hosts {
                cargo.env_remove(name);
            }
        }
        self.toolchain.apply(&mut cargo);
        let status = cargo.status()?;
        if !status.success() {
            return Err(format!(
                "building {package} for {TARGET} failed ({status}); cargo's messages are above"
            )
            .into());
        }
        Ok(())
    }
}

/// The component without the names of its inner parts: they are for debuggers, and a fiftieth of
/// its size.
fn without_names(bytes: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut component = Component::new();
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload?;
        let is_names = matches!(&payload, Payload::CustomSection(section) if section.name() == "component-name");
        if depth == 0
            && !is_names
            && let Some((id, range)) = payload.as_section()
        {
            let data = &bytes[usize::try_from(range.start)?..usize::try_from(range.end)?];
            component.section(&RawSection { id, data });
        }
        match payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(component.finish())
}

/// `guest` beside the folders of the host's profiles: `OUT_DIR` is
/// `<target>/<profile>/build/<package>/out`.
fn guest_target_dir(out: &Path) -> PathBuf {
    out.ancestors().nth(4).unwrap_or(out).join("guest")
}

/// A compiler that can build for the target.
enum Toolchain {
    /// The active one. It has the sources of its library, or else the library for the target.
    Active { rustc: OsString, has_sources: bool },
    /// Debian's, with the sources of its library. The linker is the active toolchain's.
    Debian { linker: PathBuf },
}

impl Toolchain {
    fn find() -> Result<Self, Box<dyn Error>> {
        let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let active = |has_sources| Self::Active {
            rustc: rustc.clone(),
            has_sources,
        };
        if has_sources(&rustc) {
            return Ok(active(true));
        }
        let mut tried = Vec::new();
        say("the library's sources are missing; trying `rustup component add rust-src`");
        // With another way at hand there is no need to wait long for a server that is out of reach.
        let has_other = has_target(&rustc) || has_sources(&DEBIAN_RUSTC.into());
        let limit = Duration::from_secs(if has_other { 20 } else { 180 });
        match run_within(
            limit,
            Command::new("rustup")
                .args(["component", "add", "rust-src"])
                // It would print one of its own when the server cannot be reached.
                .env("RUST_BACKTRACE", "0"),
        ) {
            Ok(()) if has_sources(&rustc) => return Ok(active(true)),
            Ok(()) => tried.push(
                "`rustup component add` added it to another toolchain than the active one".into(),
            ),
            Err(error) => tried.push(format!("`rustup component add rust-src`: {error}")),
        }

        match debian(&rustc) {
            Ok(toolchain) => Ok(toolchain),
            Err(_) if has_target(&rustc) => {
                say("building the component on the target's own library: it is some 30 kB larger");
                Ok(active(false))
            }
            Err(error) => {
                tried.push(format!("Debian's compiler: {error}"));
                Err(format!(
                    "No Rust compiler for {TARGET} could be found or installed:\n  - {}\n\
                     Install one with a command of these, then build again:\n  \
                     rustup component add rust-src\n  {DEBIAN_INSTALL}      (Debian, as root)",
                    tried.join("\n  - ")
                )
                .into())
            }
        }
    }

    fn rustc(&self) -> OsString {
        match self {
            Self::Active { rustc, .. } => rustc.clone(),
            Self::Debian { .. } => DEBIAN_RUSTC.into(),
        }
    }

    fn builds_library(&self) -> bool {
        match self {
            Self::Active { has_sources, .. } => *has_sources,
            Self::Debian { .. } => true,
        }
    }

    fn apply(&self, cargo: &mut Command) {
        cargo.env("RUSTC", self.rustc());
        if self.builds_library() {
            cargo
                .arg("-Zbuild-std=std,panic_abort")
                // That is not stable yet, nor is what a panic does.
                .env("RUSTC_BOOTSTRAP", "1");
        }
        if let Self::Debian { linker } = self {
            cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
        }
    }

    /// Compiler flags: what a panic does, and what keeps this machine's paths out of the component, so
    /// that its bytes are the same elsewhere.
    fn rustflags(&self, root: &Path) -> Vec<String> {
        let mut paths = vec![(root.to_path_buf(), "/clawdb-session")];
        let home = env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
        if let Some(cargo_home) = env::var_os("CARGO_HOME").map(PathBuf::from).or(home) {
            paths.push((cargo_home.join("registry/src"), "/registry"));
        }
        if let Some(sources) =
            sysroot(&self.rustc()).and_then(|sysroot| library_sources(&sysroot).canonicalize().ok())
        {
            paths.push((sources, "/rust/library"));
        }
        let remapped = paths
            .into_iter()
            .map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
        let trap = TRAP_ON_PANIC.iter().filter(|_| self.builds_library());
        trap.map(ToString::to_string).chain(remapped).collect()
    }
}

/// Debian's compiler and the sources of its library, installed if need be and allowed.
fn debian(active_rustc: &OsString) -> Result<Toolchain, Box<dyn Error>> {
    if !Path::new("/etc/debian_version").exists() {
        return Err("this is not Debian".into());
    }
    let host = env::var("HOST")?;
    let linker = sysroot(active_rustc)
        .map(|sysroot| sysroot.join("lib/rustlib").join(host).join("bin/rust-lld"))
        .filter(|linker| linker.exists())
        .ok_or("the active toolchain has no rust-lld to link with")?;

    if !has_sources(&DEBIAN_RUSTC.into()) {
        let uid = Command::new("id").arg("-u").output()?.stdout;
        if uid.trim_ascii() != b"0" {
            return Err(format!("not installed, and only root may: {DEBIAN_INSTALL}").into());
        }
        say(&format!("installing Debian's compiler: {DEBIAN_INSTALL}"));
        // Without a time limit: a package manager that is ended halfway leaves locks behind.
        let installed = Command::new("sh")
            .args(["-c", DEBIAN_INSTALL])
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()?;
        if !installed.success() {
            return Err(format!("`{DEBIAN_INSTALL}` failed ({installed})").into());
        }
        if !has_sources(&DEBIAN_RUSTC.into()) {
            return Err(format!(
                "{DEBIAN_RUSTC} or its library sources are missing after the installation"
            )
            .into());
        }
    }
    let version = print(&DEBIAN_RUSTC.into(), &["--version"]).unwrap_or_default();
    let minor = version
        .split('.')
        .nth(1)
        .and_then(|minor| minor.parse().ok());
    if minor.is_none_or(|minor: u32| minor < GUEST_RUST) {
        return Err(
            format!("the component needs Rust 1.{GUEST_RUST}, and it is `{version}`").into(),
        );
    }
    say(
        "building the component with Debian's compiler and library sources (about 40 s the first time)",
    );
    Ok(Toolchain::Debian { linker })
}

/// Whether the compiler has the sources of its library.
fn has_sources(rustc: &OsString) -> bool {
    sysroot(rustc).is_some_and(|sysroot| library_sources(&sysroot).join("std/Cargo.toml").exists())
}

fn library_sources(sysroot: &Path) -> PathBuf {
    sysroot.join("lib/rustlib/src/rust/library")
}

fn has_target(rustc: &OsString) -> bool {
    print(rustc, &["--print", "target-libdir", "--target", TARGET])
        .is_some_and(|dir| Path::new(&dir).is_dir())
}

fn sysroot(rustc: &OsString) -> Option<PathBuf> {
    print(rustc, &["--print", "sysroot"]).map(PathBuf::from)
}

fn print(rustc: &OsString, args: &[&str]) -> Option<String> {
    let output = Command::new(rustc)
        .args(args)
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// Runs a command to its end, or ends it when the time is over: a server that cannot be reached
/// must not hang the build.
fn run_within(limit: Duration, command: &mut Command) -> Result<(), Box<dyn Error>> {
    // Cargo reads instructions from a build script's standard output, so nothing else may write
    // there.
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
    let begin = Instant::now();
    loop {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(format!("failed ({status})").into()),
            None if begin.elapsed() > limit => {
                child.kill()?;
                child.wait()?;
                return Err(format!("no end within {} s", limit.as_secs()).into());
            }
            None => thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// Tells the person who builds; cargo shows warnings of the workspace's own packages.
fn say(what: &str) {
    println!("cargo::warning={what}");
}
