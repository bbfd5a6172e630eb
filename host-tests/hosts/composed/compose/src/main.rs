//! Composes the component of the world `session-sync` with a guard that is a component, too:
//! `clawdb-session-compose SESSION GUARD COMPOSED`, three files.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};

use wac_graph::types::Package;
use wac_graph::{CompositionGraph, EncodeOptions, NodeId};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// The interface that the session component imports and the guard component exports.
const GUARD: &str = "clawdb:session-sync/guard@0.1.0";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result {
    let files: Vec<_> = env::args_os().skip(1).collect();
    let [session, guard, composed] = &files[..] else {
        return Err("the arguments are three files: SESSION GUARD COMPOSED".into());
    };
    let composed = Path::new(composed);
    let bytes = compose(Path::new(session), Path::new(guard))?;
    fs::write(composed, bytes).map_err(|error| of(composed, &error))
}

/// Returns an error about a file, with the text of its sources.
fn of(file: &Path, error: &dyn Error) -> Box<dyn Error> {
    let mut texts = vec![file.display().to_string(), error.to_string()];
    let mut source = error.source();
    while let Some(error) = source {
        texts.push(error.to_string());
        source = error.source();
    }
    texts.join(": ").into()
}

/// Returns the session component with the guard component inside. It imports what both import, and
/// exports what both export, except the guard.
fn compose(session_file: &Path, guard_file: &Path) -> Result<Vec<u8>> {
    let mut graph = CompositionGraph::new();
    let (session, session_exports) = instantiate(&mut graph, "session", session_file)?;
    let (guard, guard_exports) = instantiate(&mut graph, "guard", guard_file)?;
    let provided = graph.alias_instance_export(guard, GUARD);
    let provided = provided.map_err(|error| of(guard_file, &error))?;
    graph
        .set_instantiation_argument(session, GUARD, provided)
        .map_err(|error| of(session_file, &error))?;
    export(&mut graph, session, session_exports)?;
    let others = guard_exports.into_iter().filter(|name| name != GUARD);
    export(&mut graph, guard, others)?;
    Ok(graph.encode(EncodeOptions::default())?)
}

/// Adds an instance of the component in a file to the graph. Returns it with the names of its
/// exports.
fn instantiate(
    graph: &mut CompositionGraph,
    name: &str,
    file: &Path,
) -> Result<(NodeId, Vec<String>)> {
    let package = Package::from_file(name, None, file, graph.types_mut())
        .map_err(|error| format!("{}: {error:#}", file.display()))?;
    let package = graph.register_package(package)?;
    let exports = &graph.types()[graph[package].ty()].exports;
    let exports = exports.keys().cloned().collect();
    Ok((graph.instantiate(package), exports))
}

/// Exports these exports of an instance under their names.
fn export(
    graph: &mut CompositionGraph,
    instance: NodeId,
    names: impl IntoIterator<Item = String>,
) -> Result {
    for name in names {
        let exported = graph.alias_instance_export(instance, &name)?;
        graph.export(exported, name)?;
    }
    Ok(())
}
