//! Compiles the guest to a core module for each world, and encodes these as components.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio, exit};
use std::{env, fs};

use wasmparser::{Parser, Payload::CustomSection};

const TARGET: &str = "wasm32-unknown-unknown";
const INSTALL: &str = "rustup target add wasm32-unknown-unknown";
const INPUTS: &str = "src wit Cargo.toml Cargo.lock .cargo/config.toml rust-toolchain.toml \
                      host-tests/component/async/Cargo.toml host-tests/component/sync/Cargo.toml";
/// Packages, and the environment variables with the paths of their components.
const WORLDS: &str = "clawdb-session-async=COMPONENT clawdb-session-sync=SYNC_COMPONENT";
const BASELINE: &str = "clawdb-session-baseline=BASELINE";
const NEXT: &str = "clawdb-session-async=NEXT clawdb-session-sync=SYNC_NEXT";
/// Prefixes of variables of the host's build, which would change that of the guest.
const REMOVED: &str = "CARGO_PROFILE_ CARGO_BUILD_ CARGO_TARGET_ CARGO_ENCODED_RUSTFLAGS \
                       CARGO_INCREMENTAL RUSTC_WORKSPACE_WRAPPER RUSTFLAGS";

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() {
    if let Err(error) = build() {
        eprintln!("\n{error}\n");
        exit(1);
    }
}

fn build() -> Result {
    let root = Path::new("../..").canonicalize()?;
    let baseline = env::var_os("CARGO_FEATURE_BASELINE").map(|_| "host-tests/bench/baseline");
    for input in INPUTS.split_whitespace().chain(baseline) {
        println!("cargo::rerun-if-changed={}", root.join(input).display());
    }
    install_target()?;
    // `OUT_DIR` is `<target>/<profile>/build/<package>/out`. All profiles share `<target>/guest`.
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let dir = out.ancestors().nth(4).unwrap_or(&out).join("guest");
    // The lock allows one build at a time, because all builds of the guest write the same file.
    let lock = fs::File::create(dir.with_extension("lock"))?;
    lock.lock()?;
    let baseline = baseline.map_or("", |_| BASELINE);
    compile(&root, &dir, &[WORLDS, baseline].join(" "), None)?;
    if env::var_os("CARGO_FEATURE_NEXT").is_some() {
        compile(&root, &dir, NEXT, Some("--features=next"))?;
    }
    Ok(())
}

/// Runs `rustup target add` if the target is missing, unless `CLAWDB_SESSION_NO_INSTALL` is 1.
fn install_target() -> Result {
    let libdir = rustc("--print=target-libdir --target wasm32-unknown-unknown")?;
    let is_missing = || !Path::new(&libdir).is_dir();
    if is_missing() && env::var("CLAWDB_SESSION_NO_INSTALL").as_deref() != Ok("1") {
        println!("cargo::warning=running `{INSTALL}`, which the component needs");
        let mut rustup = Command::new("rustup");
        rustup.args(INSTALL.split(' ').skip(1));
        // Cargo reads instructions from the standard output of this program.
        rustup.stdout(Stdio::null()).status().ok();
    }
    if is_missing() {
        return Err(format!("{TARGET} is not installed; run `{INSTALL}`").into());
    }
    Ok(())
}

/// Compiles packages in one call of cargo, and encodes their modules as components.
fn compile(root: &Path, dir: &Path, packages: &str, features: Option<&str>) -> Result {
    let mut cargo = Command::new(env::var("CARGO")?);
    let options = "build --locked --profile=component --target=wasm32-unknown-unknown --target-dir";
    cargo.args(options.split(' ')).arg(dir).args(features);
    let mut packages = packages.split(' ').filter_map(|it| it.split_once('='));
    cargo.args(packages.clone().flat_map(|it| ["-p", it.0]));
    // Remaps the paths of this machine, so that other machines build the same bytes.
    let sources = Path::new(&rustc("--print=sysroot")?).join("lib/rustlib/src/rust");
    let version = rustc("-vV")?;
    let (_, commit) = version.split_once("commit-hash: ").unwrap_or_default();
    let commit = commit.lines().next().unwrap_or_default();
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.unwrap_or_else(|| env::home_dir().unwrap_or_default().join(".cargo"));
    let flags = [
        (root, "/clawdb-session"),
        (&home.join("registry/src"), "/registry"),
        (&sources, &format!("/rustc/{commit}")),
    ];
    let flags = flags.map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
    cargo.arg(format!("--config=target.{TARGET}.rustflags={flags:?}"));
    for (name, _) in env::vars_os() {
        let mut removed = REMOVED.split_whitespace();
        if removed.any(|it| name.as_encoded_bytes().starts_with(it.as_bytes())) {
            cargo.env_remove(name);
        }
    }
    let failed = "the components cannot be built; cargo's messages are above";
    (cargo.status()?.success().then_some(())).ok_or(failed)?;
    packages.try_for_each(|(package, name)| encode(dir, package, name))
}

/// Encodes a module without its names as a component, and sets a variable of the crate to its path.
fn encode(dir: &Path, package: &str, name: &str) -> Result {
    let module = format!("{TARGET}/component/{}.wasm", package.replace('-', "_"));
    let mut encoder = wit_component::ComponentEncoder::default();
    let component = encoder.module(&fs::read(dir.join(module))?)?.encode()?;
    let sections = Parser::new(0).parse_all(&component).flatten();
    let kept =
        sections.take_while(|s| !matches!(s, CustomSection(s) if s.name() == "component-name"));
    let ends = kept.filter_map(|it| it.as_section()).map(|it| it.1.end);
    let end = usize::try_from(ends.last().unwrap_or_default())?;
    let file = Path::new(&env::var("OUT_DIR")?).join(name);
    fs::write(&file, &component[..end])?;
    println!("cargo::rustc-env={name}={}", file.display());
    Ok(())
}

fn rustc(args: &str) -> Result<String> {
    let mut rustc = Command::new(env::var("RUSTC")?);
    let output = rustc.args(args.split(' ')).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().into())
}
