//! `rekey`: reseals all records of a journal with the state key.

use std::error::Error;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use clap::{ArgGroup, Args};
use clawdb_session_host::clock::{Clock, Instant};
use clawdb_session_host::engine::SessionEngine;
use clawdb_session_host::guard::{
    Claims, Guard, GuardError, GuardFailure, GuardResult, IssueRequest, IssuedToken,
};
use clawdb_session_host::host::HostOptions;
use clawdb_session_host::journal::JournalError;
use clawdb_session_host::tenants::{KeyReport, TenantLimits, Tenants};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::sleep;

use super::serve::shutdown;
use super::storage::{Kept, NotOpened, Storage};

/// How often the progress bar is drawn.
const DRAWN_EVERY: Duration = Duration::from_millis(100);

#[derive(Args)]
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
        let kept = args.storage.open_existing(SessionEngine::new()?, host);
        kept.await.map_err(|error| match error.downcast_ref() {
            Some(NotOpened {
                error: JournalError::Fenced(reason),
                ..
            }) => Box::from(format!(
                "{reason}; a service that is started with the previous key reseals by itself: let it do \
                 so, or end it and run this again"
            )),
            _ => error,
        })
    };
    let Kept {
        journal,
        mut options,
    } = tokio::select! {
        opened = opened => opened?,
        () = &mut interrupted => return Err("interrupted".into()),
    };
    let bar = bar();
    // What there is to be said is in the reports, and a bar that is seen says it better.
    (options.report, options.progress) = (None, None);
    if !bar.is_hidden() {
        options.key_progress = None;
    }
    let tenants = Tenants::new(options, journal, TenantLimits::default())?;
    let finished = tokio::select! {
        () = watch(&tenants, &bar, args.storage.lease_of_the_dead()) => true,
        () = &mut interrupted => false,
    };
    let report = tenants.keys();
    tenants.shutdown().await;
    bar.finish_and_clear();
    if !finished {
        return Err(format!("interrupted; run it again to go on: {report}").into());
    }
    if report.previous_keys_may_go() {
        println!("{report}");
        return Ok(());
    }
    Err(report.to_string().into())
}

/// Shows how far it is, until there is nothing left to be tried.
///
/// A host that died has its lease for a while yet: what another host has is tried again for so long.
async fn watch(tenants: &Tenants, bar: &ProgressBar, lease_of_the_dead: Duration) {
    let begun = tokio::time::Instant::now();
    loop {
        let keys = tenants.keys();
        draw(bar, &keys);
        let waits = keys.held_workspaces > 0 && begun.elapsed() < lease_of_the_dead;
        if keys.rounds > 0 && !waits {
            return;
        }
        sleep(DRAWN_EVERY).await;
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

fn not_here<T>() -> GuardResult<T> {
    let reason = "there is no guard while records are resealed";
    Err(GuardFailure::Error(GuardError::Unavailable(reason.into())))
}

#[async_trait]
impl Guard for NoGuard {
    async fn issue_session_token(&self, _: IssueRequest) -> GuardResult<IssuedToken> {
        not_here()
    }

    async fn validate_token(&self, _: String) -> GuardResult<Claims> {
        not_here()
    }

    async fn revoke_session(&self, _: String) -> GuardResult<()> {
        not_here()
    }
}
