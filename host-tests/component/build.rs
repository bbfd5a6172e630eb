//! Compiles the guest to a core module for each world, and encodes these as components. With the
//! feature `composed` it also compiles the JWT guard, and composes it with one of them. Each
//! component gets metadata: name, version, description, licence and source.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio, exit};
use std::{env, fs};

use wasm_encoder::{ComponentNameSection, ComponentSection, CustomSection};
use wasmparser::{Parser, Payload};

const TARGET: &str = "wasm32-unknown-unknown";
const INSTALL: &str = "rustup target add wasm32-unknown-unknown";
const INPUTS: &str = "src wit Cargo.toml Cargo.lock .cargo/config.toml rust-toolchain.toml \
                      host-tests/component/async/Cargo.toml host-tests/component/sync/Cargo.toml";
/// Packages, and the environment variables with the paths of their components.
const WORLDS: &str = "clawdb-session-async=COMPONENT clawdb-session-sync=SYNC_COMPONENT";
/// The packages of a feature, and the folders of what they are built from.
const BASELINE: [&str; 2] = [
    "clawdb-session-baseline=BASELINE",
    "host-tests/bench/baseline",
];
const COMPOSED: [&str; 2] = [
    "clawdb-session-jwt-guard=JWT_GUARD",
    "host-tests/hosts/composed/guard host-tests/guard-jwt/core host-tests/hosts/composed/compose",
];
/// The program that composes two components. It is a workspace of its own.
const COMPOSE: &str = "host-tests/hosts/composed/compose/Cargo.toml";
const NEXT: &str = "clawdb-session-async=NEXT clawdb-session-sync=SYNC_NEXT";
/// Packages, with the names and descriptions of their components. The last component is composed of
/// two others.
const METADATA: [[&str; 3]; 5] = [
    [
        "clawdb-session-async",
        "clawdb-session",
        "Session management for AI agents, with a guard that may wait",
    ],
    [
        "clawdb-session-sync",
        "clawdb-session-sync",
        "Session management for AI agents, with a guard that answers at once",
    ],
    [
        "clawdb-session-jwt-guard",
        "clawdb-jwt-guard",
        "The guard of clawdb:session-sync that issues JSON Web Tokens",
    ],
    [
        "clawdb-session-baseline",
        "clawdb-session-baseline",
        "A component whose functions do almost nothing",
    ],
    [
        "clawdb-session-composed",
        "clawdb-session-composed",
        "Session management for AI agents, with a guard inside that issues JSON Web Tokens",
    ],
];
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
    let features = [
        (cfg!(feature = "baseline"), BASELINE),
        (cfg!(feature = "composed"), COMPOSED),
    ];
    let features = features.iter().filter(|it| it.0);
    let (packages, folders): (Vec<&str>, Vec<&str>) = features.map(|it| it.1.into()).unzip();
    let folders = folders.iter().flat_map(|it| it.split(' '));
    for input in INPUTS.split_whitespace().chain(folders) {
        println!("cargo::rerun-if-changed={}", root.join(input).display());
    }
    install_target()?;
    // `OUT_DIR` is `<target>/<profile>/build/<package>/out`. All profiles share `<target>/guest`.
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let dir = out.ancestors().nth(4).unwrap_or(&out).join("guest");
    // The lock allows one build at a time, because all builds of the guest write the same file.
    let lock = fs::File::create(dir.with_extension("lock"))?;
    lock.lock()?;
    let packages = [&[WORLDS], &packages[..]].concat();
    compile(&root, &dir, &packages.join(" "), None)?;
    if cfg!(feature = "composed") {
        compose(&root, &dir)?;
    }
    if cfg!(feature = "next") {
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
    let mut cargo = cargo()?;
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
    let failed = "the components cannot be built; cargo's messages are above";
    (cargo.status()?.success().then_some(())).ok_or(failed)?;
    packages.try_for_each(|(package, name)| encode(dir, package, name))
}

/// Composes the component of the world `session-sync` with the JWT guard.
fn compose(root: &Path, dir: &Path) -> Result {
    let mut cargo = cargo()?;
    cargo.args(["run", "--quiet", "--locked", "--target-dir"]);
    cargo
        .arg(dir)
        .arg("--manifest-path")
        .arg(root.join(COMPOSE));
    let files = ["SYNC_COMPONENT", "JWT_GUARD", "COMPOSED"];
    cargo.arg("--").args(out(files)?);
    let failed = "the components cannot be composed; the messages are above";
    (cargo.status()?.success().then_some(())).ok_or(failed)?;
    let [file] = out(["COMPOSED"])?;
    write("clawdb-session-composed", "COMPOSED", fs::read(file)?)
}

/// Returns a command of cargo without the variables of the host's build.
fn cargo() -> Result<Command> {
    let mut cargo = Command::new(env::var("CARGO")?);
    for (name, _) in env::vars_os() {
        let mut removed = REMOVED.split_whitespace();
        if removed.any(|it| name.as_encoded_bytes().starts_with(it.as_bytes())) {
            cargo.env_remove(name);
        }
    }
    Ok(cargo)
}

/// Encodes a module without its names as a component, and writes it.
fn encode(dir: &Path, package: &str, name: &str) -> Result {
    let module = format!("{TARGET}/component/{}.wasm", package.replace('-', "_"));
    let mut encoder = wit_component::ComponentEncoder::default();
    let mut component = encoder.module(&fs::read(dir.join(module))?)?.encode()?;
    let sections = Parser::new(0).parse_all(&component).flatten();
    let kept = sections
        .take_while(|s| !matches!(s, Payload::CustomSection(s) if s.name() == "component-name"));
    let ends = kept.filter_map(|it| it.as_section()).map(|it| it.1.end);
    let end = usize::try_from(ends.last().unwrap_or_default())?;
    component.truncate(end);
    write(package, name, component)
}

/// Writes a component with its metadata, and sets the variable of the crate that has the path.
fn write(package: &str, name: &str, mut component: Vec<u8>) -> Result {
    add_metadata(package, &mut component)?;
    let [file] = out([name])?;
    fs::write(&file, component)?;
    println!("cargo::rustc-env={name}={}", file.display());
    Ok(())
}

/// Adds the sections that <https://github.com/WebAssembly/tool-conventions> describes. The crate
/// `wasm-metadata` would add the same, with 38 more crates in each build.
fn add_metadata(package: &str, component: &mut Vec<u8>) -> Result {
    let entry = METADATA.iter().find(|it| it[0] == package);
    let [_, name, description] = entry.ok_or_else(|| format!("{package} has no metadata"))?;
    let mut names = ComponentNameSection::new();
    names.component(name);
    names.append_to_component(component);
    for (name, text) in [
        ("description", *description),
        ("licenses", env!("CARGO_PKG_LICENSE")),
        ("source", env!("CARGO_PKG_REPOSITORY")),
        ("version", env!("CARGO_PKG_VERSION")),
    ] {
        let (name, data) = (name.into(), text.as_bytes().into());
        CustomSection { name, data }.append_to_component(component);
    }
    Ok(())
}

/// Returns the paths of files in the folder for what this script writes.
fn out<const N: usize>(names: [&str; N]) -> Result<[PathBuf; N]> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    Ok(names.map(|name| out.join(name)))
}

fn rustc(args: &str) -> Result<String> {
    let mut rustc = Command::new(env::var("RUSTC")?);
    let output = rustc.args(args.split(' ')).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().into())
}
