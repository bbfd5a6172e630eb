//! The command `rekey`: reseals all records of a journal with the state key.

use std::error::Error;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgGroup, Args};
use clawdb_session_durable::{JournalError, KeyProgressCallback, KeyReport, TenantLimits, Tenants};
use clawdb_session_host::{
    Claims, Clock, GuardError, GuardFailure, GuardResult, InstanceOptions, Instant, IssueRequest,
    IssuedToken, LocalEngine, LocalGuard, LocalOptions,
};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::sleep;

use super::core_dumps;
use super::log::log;
use super::serve::shutdown;
use super::storage::{OpenError, OpenedStorage, Storage};

/// The time between two updates of the progress bar.
const DRAW_INTERVAL: Duration = Duration::from_millis(100);

/// The help after the options.
pub const HELP: &str = "\
Example:
  export CLAWDB_SESSION_PREVIOUS_STATE_KEYS=$(cat sessions.redb.state-key)
  export CLAWDB_SESSION_STATE_KEY=$(openssl rand -hex 32)
  clawdb-session rekey --journal sessions.redb

Keys:
  CLAWDB_SESSION_STATE_KEY is the new key, and CLAWDB_SESSION_PREVIOUS_STATE_KEYS has the keys that
  records may still be sealed with, separated by commas. All are in hexadecimal. `serve` uses the
  same variables and reseals in the background.

Result:
  The exit code is 0 when all records are sealed with the new key. Otherwise the error lists what is
  left: a file that is open in another process, workspaces that another host owns, records that no
  key opens, and damaged records. The command can be interrupted and run again. It uses no guard
  and no clock.

Several hosts on NATS:
  To change the key, first give all of them the new key among the previous ones. Then swap the two
  keys on each host, and then run this command.";

/// The help of `--journal`.
const JOURNAL: &str = "Reseals the records in this file, which no other process may have open

If CLAWDB_SESSION_STATE_KEY is not set, the new key is the one in FILE.state-key.";
/// The help of `--nats`.
const NATS: &str = "Reseals the records on NATS `JetStream`

The URL is nats://HOST:PORT. Separate the servers of a cluster by commas.";
/// The help of `--lease`.
const LEASE: &str = "The lease of the hosts in seconds, 0.1 to 3600; as for `serve`

A workspace that another host owns is tried again for 3/2 of this time. By then the lease of a host
that crashed has ended.";

/// Sets the help of an argument: the first line as the short help, and all lines as the long help.
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

/// Reseals all records and prints the result.
///
/// # Errors
/// An error that lists what is left to reseal.
pub async fn run(args: RekeyArgs) -> Result<(), Box<dyn Error>> {
    core_dumps::refuse()?;
    let mut interrupted = pin!(shutdown()?);
    let opened = async {
        let options = LocalOptions {
            clock: Arc::new(NoClock),
            ..LocalOptions::new(NoGuard)
        };
        let instances = InstanceOptions::SessionSync(LocalEngine::new()?, options);
        let opened = args.storage.open_existing(instances);
        opened.await.map_err(|error| match error.downcast_ref() {
            Some(OpenError {
                error: JournalError::Fenced(reason),
                ..
            }) => Box::from(format!(
                "{reason}; a service that is started with both keys reseals in the background: \
                 start it with them, or end it and run this again"
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
    // The progress bar, or else the callback below, shows the progress.
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
        return Err(format!("interrupted; run it again to continue: {report}").into());
    }
    if report.can_drop_previous_keys() {
        println!("{report}");
        return Ok(());
    }
    Err(report.to_string().into())
}

/// Returns a callback that writes the progress to standard error, but not the result.
fn progress_callback(crashed_host_lease: Duration) -> KeyProgressCallback {
    Arc::new(move |keys| {
        if keys.previous_records > 0 && !is_finished(keys, crashed_host_lease) {
            log(format_args!("state keys: {keys}"));
        }
    })
}

/// Returns whether nothing is left to be tried.
///
/// A host that crashed keeps its lease until that ends. So workspaces that another host owns are
/// tried again for `crashed_host_lease`.
fn is_finished(keys: &KeyReport, crashed_host_lease: Duration) -> bool {
    keys.rounds > 0 && (keys.held_workspaces == 0 || keys.held_for >= crashed_host_lease)
}

/// Shows the progress until nothing is left to be tried.
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

/// A clock whose readings fail. The component then uses the time of the records, and a wrong clock
/// of this machine does not change them.
struct NoClock;

impl Clock for NoClock {
    fn now(&self) -> Instant {
        Instant {
            seconds: -1,
            nanoseconds: 0,
        }
    }
}

/// A guard that refuses all calls: resealing needs none.
struct NoGuard;

fn no_guard<T>() -> GuardResult<T> {
    let reason = "no guard is available while records are resealed";
    Err(GuardFailure::Error(GuardError::Unavailable(reason.into())))
}

impl LocalGuard for NoGuard {
    fn issue_session_token(&self, _: IssueRequest) -> GuardResult<IssuedToken> {
        no_guard()
    }

    fn validate_token(&self, _: String) -> GuardResult<Claims> {
        no_guard()
    }

    fn revoke_token(&self, _: String) -> GuardResult<()> {
        no_guard()
    }
}
