//! The command `measure`: the cost of a journal in a file, and the time of a restore.

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clawdb_session_durable::{
    DurableHost, DurableOptions, Journal, JournalError, ProgressCallback, TenantId,
};
use clawdb_session_guard_jwt::JwtGuard;
use clawdb_session_host::{Config, InstanceOptions, LocalEngine};
use clawdb_session_journal_redb::RedbJournal;
use futures::stream::{self, StreamExt, TryStreamExt};
use indicatif::{ProgressBar, ProgressStyle};

mod request;
mod throughput;

use request::request;

/// The number of concurrent creates while filling.
const CONCURRENT_CREATES: usize = 1_000;

/// Measures the creates per second that a journal acknowledges, and the time to restore each number
/// of sessions. Writes the tables to `out`. The files are in a new folder below `folder`, which is
/// removed afterwards. Each restore reports to `progress`.
///
/// # Errors
/// An error of a file or of a host.
pub async fn run(
    out: &mut impl Write,
    folder: &Path,
    counts: &[u32],
    time: Duration,
    progress: &ProgressCallback,
) -> Result<(), Box<dyn Error>> {
    let engine = LocalEngine::new()?;
    let folder = folder.join(format!("clawdb-session-measure-{}", std::process::id()));
    std::fs::create_dir(&folder)
        .map_err(|error| format!("--folder: {}: {error}", folder.display()))?;
    let measured = measure_in(out, &engine, &folder, counts, time, progress).await;
    std::fs::remove_dir_all(&folder)?;
    measured
}

async fn measure_in(
    out: &mut impl Write,
    engine: &LocalEngine,
    folder: &Path,
    counts: &[u32],
    time: Duration,
    progress: &ProgressCallback,
) -> Result<(), Box<dyn Error>> {
    let journal = RedbJournal::open(folder.join("throughput")).await?;
    let host = start(&options(engine, 1_000_000)?, &journal).await?;
    throughput::run(out, folder, &host, time).await?;
    host.shutdown().await;
    writeln!(
        out,
        "\n  sessions    creates/s     file MiB   open s  restore s  sessions/s"
    )?;
    for &count in counts {
        let file = folder.join(format!("restore-{count}"));
        let row = measure_restore(engine, &file, count, progress).await?;
        std::fs::remove_file(&file)?;
        writeln!(out, "{row}")?;
    }
    Ok(())
}

fn options(engine: &LocalEngine, max_sessions: u32) -> Result<DurableOptions, Box<dyn Error>> {
    let guard = JwtGuard::new(&[7; 32])?;
    let config = Config {
        max_sessions: Some(max_sessions.max(1)),
        ..Config::with_state_key([7; 32])
    };
    let instances = InstanceOptions::new(engine.clone(), guard);
    Ok(DurableOptions::new(instances, config))
}

/// Creates sessions in a new journal, opens it again and returns a row of the table.
async fn measure_restore(
    engine: &LocalEngine,
    file: &Path,
    count: u32,
    progress: &ProgressCallback,
) -> Result<String, Box<dyn Error>> {
    let mut options = options(engine, count)?;
    let journal = RedbJournal::open(file).await?;
    let first = start(&options, &journal).await?;
    let filled = fill(&first, count).await?;
    first.shutdown().await;
    drop((first, journal));

    let size = std::fs::metadata(file)?.len();
    let begun = Instant::now();
    let journal = reopen(file).await?;
    let opened = begun.elapsed();
    options.progress = Some(Arc::clone(progress));
    let begun = Instant::now();
    let host = start(&options, &journal).await?;
    let restored = begun.elapsed();
    let live = host.active_count().await?;
    if live != count {
        return Err(format!("{count} sessions were created, but {live} were restored").into());
    }
    host.shutdown().await;
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let size = size as f64 / f64::from(1 << 20);
    let rate = |time: Duration| f64::from(count) / time.as_secs_f64();
    Ok(format!(
        "{count:>10} {:>12.0} {size:>12.1} {:>8.2} {:>10.2} {:>11.0}",
        rate(filled),
        opened.as_secs_f64(),
        restored.as_secs_f64(),
        rate(restored),
    ))
}

/// Opens the file as soon as its previous owner has closed it.
async fn reopen(file: &Path) -> Result<RedbJournal, Box<dyn Error>> {
    loop {
        match RedbJournal::open(file).await {
            Err(JournalError::Fenced(_)) => {
                tokio::task::yield_now().await;
            }
            opened => return Ok(opened?),
        }
    }
}

async fn start(
    options: &DurableOptions,
    journal: &RedbJournal,
) -> Result<DurableHost, Box<dyn Error>> {
    let journal: Arc<dyn Journal> = Arc::new(journal.clone());
    Ok(DurableHost::start(options.clone(), journal, TenantId::default()).await?)
}

async fn fill(host: &DurableHost, count: u32) -> Result<Duration, Box<dyn Error>> {
    let style = ProgressStyle::with_template("creating  {wide_bar} {pos}/{len} {per_sec}")?;
    let bar = ProgressBar::new(count.into()).with_style(style);
    let begun = Instant::now();
    let creates = stream::iter(0..count).map(|number| {
        let (host, bar) = (host.clone(), bar.clone());
        async move {
            host.create(request(number)).await?;
            bar.inc(1);
            Ok::<_, Box<dyn Error>>(())
        }
    });
    creates
        .buffer_unordered(CONCURRENT_CREATES)
        .try_collect::<()>()
        .await?;
    bar.finish_and_clear();
    Ok(begun.elapsed())
}
