//! `rekey`: reseals all records of a journal with the state key.

use std::error::Error;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use clap::{ArgGroup, Args};
use clawdb_session_durable::{JournalError, KeyProgressCallback, KeyReport, TenantLimits, Tenants};
use clawdb_session_host::{
    Claims, Clock, Guard, GuardError, GuardFailure, GuardResult, HostOptions, Instant,
    IssueRequest, IssuedToken, SessionEngine,
};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::sleep;

use super::serve::shutdown;
use super::storage::{OpenError, OpenedStorage, Storage};

/// How often the progress bar is drawn.
const DRAW_INTERVAL: Duration = Duration::from_millis(100);

/// Shown for `--journal`.
const JOURNAL: &str = "Reseals the records in this file, which no other process may have open

The new key is CLAWDB_SESSION_STATE_KEY, or else the one in FILE.state-key (hexadecimal);
CLAWDB_SESSION_PREVIOUS_STATE_KEYS has those before it, with commas.";
/// Shown for `--nats`.
const NATS: &str = "Reseals the records on NATS `JetStream`

nats://HOST:PORT, several of a cluster with commas. The new key is CLAWDB_SESSION_STATE_KEY, and
CLAWDB_SESSION_PREVIOUS_STATE_KEYS has those before it, with commas.";
/// Shown for `--lease`.
const LEASE: &str =
    "For how many seconds the machines have the sessions after each renewal, 0.1 to 3600

What another machine has is tried again until it was that machine's for 3/2 of this: the lease of a
machine that died has run out by then.";

/// The help of an argument: its first line, and all of it.
fn help(arg: clap::Arg, text: &'static str) -> clap::Arg {
    let first = text.lines().next().unwrap_or(text);
    arg.help(first).long_help(text)
}

#[derive(Args)]
#[command(mut_arg("journal", |arg| help(arg, JOURNAL)))]
#[command(mut_arg("nats", |arg| help(arg, NATS)))]
#[command(mut_arg("lease", |arg| help(arg, LEASE)))]
#[command(group(ArgGroup::new("which journal").required(true).args(["journal", "nats"])))]
pub struct RekeyArgs {
    #[command(flatten)]
    storage: Storage,
}

/// Reseals until nothing is left to be done, and says so; an error says what is left.
pub async fn run(args: RekeyArgs) -> Result<(), Box<dyn Error>> {
    let mut interrupted = pin!(shutdown()?);
    let opened = async {
        let host = HostOptions {
            clock: Arc::new(NoClock),
            ..HostOptions::new(NoGuard)
        };
        let opened = args.storage.open_existing(SessionEngine::new()?, host);
        opened.await.map_err(|error| match error.downcast_ref() {
            Some(OpenError {
                error: JournalError::Fenced(reason),
                ..
            }) => Box::from(format!(
                "{reason}; a service that is started with the previous key reseals by itself: let it do \
                 so, or end it and run this again"
            )),
            _ => error,
        })
    };
    let OpenedStorage {
        journal,
        mut options,
    } = tokio::select! {
        opened = opened => opened?,
        () = &mut interrupted => return Err("interrupted".into()),
    };
    let bar = bar();
    // What there is to be said is in the reports, and a bar that is seen says it better.
    (options.report, options.progress) = (None, None);
    let crashed_host_lease = args.storage.crashed_host_lease();
    options.key_progress = bar
        .is_hidden()
        .then(|| progress_callback(crashed_host_lease));
    let tenants = Tenants::new(options, journal, TenantLimits::default())?;
    let finished = tokio::select! {
        () = wait_until_finished(&tenants, &bar, crashed_host_lease) => true,
        () = &mut interrupted => false,
    };
    let report = tenants.keys();
    tenants.shutdown().await;
    bar.finish_and_clear();
    if !finished {
        return Err(format!("interrupted; run it again to go on: {report}").into());
    }
    if report.can_drop_previous_keys() {
        println!("{report}");
        return Ok(());
    }
    Err(report.to_string().into())
}

/// Writes to standard error how far it is. The result is not written here.
fn progress_callback(crashed_host_lease: Duration) -> KeyProgressCallback {
    Arc::new(move |keys| {
        if keys.previous_records > 0 && !is_finished(keys, crashed_host_lease) {
            eprintln!("state keys: {keys}");
        }
    })
}

/// Returns whether there is nothing left to be tried.
///
/// A host that died keeps its lease for a while: what another host has is tried again that long.
fn is_finished(keys: &KeyReport, crashed_host_lease: Duration) -> bool {
    keys.rounds > 0 && (keys.held_workspaces == 0 || keys.held_for >= crashed_host_lease)
}

/// Shows how far it is, until there is nothing left to be tried.
async fn wait_until_finished(tenants: &Tenants, bar: &ProgressBar, crashed_host_lease: Duration) {
    loop {
        let keys = tenants.keys();
        draw(bar, &keys);
        if is_finished(&keys, crashed_host_lease) {
            return;
        }
        sleep(DRAW_INTERVAL).await;
    }
}

fn bar() -> ProgressBar {
    let template = "{msg} {wide_bar} {pos}/{len} records, {eta} left";
    let style = ProgressStyle::with_template(template);
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style)
}

fn draw(bar: &ProgressBar, keys: &KeyReport) {
    if keys.complete {
        bar.set_message("resealing");
        bar.set_length(keys.resealed_records.saturating_add(keys.previous_records));
        bar.set_position(keys.resealed_records);
    } else {
        bar.set_message("checking");
        bar.set_length(keys.records);
        bar.set_position(keys.records);
    }
}

/// Shows no time, which the component takes for a failed reading: its time is that of the records, and
/// no wrong clock of this machine gets into them.
struct NoClock;

impl Clock for NoClock {
    fn now(&self) -> Instant {
        Instant {
            seconds: -1,
            nanoseconds: 0,
        }
    }
}

/// Nobody is asked to issue, check or revoke a token.
struct NoGuard;

fn no_guard<T>() -> GuardResult<T> {
    let reason = "there is no guard while records are resealed";
    Err(GuardFailure::Error(GuardError::Unavailable(reason.into())))
}

#[async_trait]
impl Guard for NoGuard {
    async fn issue_session_token(&self, _: IssueRequest) -> GuardResult<IssuedToken> {
        no_guard()
    }

    async fn validate_token(&self, _: String) -> GuardResult<Claims> {
        no_guard()
    }

    async fn revoke_token(&self, _: String) -> GuardResult<()> {
        no_guard()
    }
}
