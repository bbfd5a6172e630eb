//! The creates per second that a journal acknowledges, compared with a loop that only syncs.

use std::error::Error;
use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use clawdb_session_durable::DurableHost;

use super::request::request;

/// The numbers of concurrent callers.
const CALLER_COUNTS: [u32; 3] = [1, 8, 64];

/// Measures the syncs per second in `folder` and the creates per second by each number of callers,
/// each for `time`. Writes a table.
pub async fn run(
    out: &mut impl Write,
    folder: &Path,
    host: &DurableHost,
    time: Duration,
) -> Result<(), Box<dyn Error>> {
    let syncs = sync_rate(&folder.join("sync-only"), time)?;
    writeln!(out, "   callers    creates/s  of the syncs")?;
    writeln!(out, "sync only {syncs:>12.0}          1.00")?;
    for callers in CALLER_COUNTS {
        let creates = create_rate(host, callers, time).await?;
        writeln!(
            out,
            "{callers:>10} {creates:>11.0} {:>13.2}",
            creates / syncs
        )?;
    }
    Ok(())
}

/// Returns the number of times per second that 4 KiB are written and synced.
fn sync_rate(path: &Path, time: Duration) -> Result<f64, Box<dyn Error>> {
    let mut file = File::create(path)?;
    let (begun, mut count) = (Instant::now(), 0_u32);
    while begun.elapsed() < time {
        file.rewind()?;
        file.write_all(&[count.to_le_bytes()[0]; 4_096])?;
        file.sync_data()?;
        count += 1;
    }
    Ok(f64::from(count) / begun.elapsed().as_secs_f64())
}

/// Returns the number of creates per second that are acknowledged, with this many concurrent
/// callers.
async fn create_rate(
    host: &DurableHost,
    callers: u32,
    time: Duration,
) -> Result<f64, Box<dyn Error>> {
    let begun = Instant::now();
    let callers = (0..callers).map(|caller| {
        let host = host.clone();
        tokio::spawn(async move {
            let mut count = 0_u32;
            while begun.elapsed() < time {
                // Each caller has its own agents, so that no agent reaches its limit of sessions.
                host.create(request((caller << 20) | count)).await?;
                count += 1;
            }
            Ok::<_, clawdb_session_durable::DurableError>(count)
        })
    });
    let mut count = 0;
    for caller in callers.collect::<Vec<_>>() {
        count += caller.await??;
    }
    Ok(f64::from(count) / begun.elapsed().as_secs_f64())
}
