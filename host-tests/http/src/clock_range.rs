//! The answer while the machine's clock shows a time that hyper cannot format.
//!
//! hyper formats its `Date` header whenever it polls a connection, even if the header is disabled,
//! and panics at a time before 1970 or after 9999.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::connection_state::ConnectionState;
use crate::service::ShutdownSignal;
use crate::socket::Socket;

/// 9999-12-31T23:59:59Z, in seconds since 1970.
const LAST_SECOND: u64 = 253_402_300_799;

/// Returns whether the machine's clock shows a time that hyper can format.
pub fn is_clock_in_range() -> bool {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.is_ok_and(|since| since.as_secs() <= LAST_SECOND)
}

/// Answers the first request on a connection with 503, whatever it is. Returns without an answer if
/// the shutdown begins, or `header_timeout` passes, before the client sends anything.
pub async fn refuse(
    mut socket: Socket,
    state: &ConnectionState,
    header_timeout: Duration,
    closing: ShutdownSignal,
) {
    let mut some = [0; 1_024];
    let read = tokio::select! {
        biased;
        read = timeout(header_timeout, socket.read(&mut some)) => read,
        () = closing.started() => return,
    };
    // A client that has sent nothing does not expect an answer.
    if !matches!(read, Ok(Ok(read)) if read > 0) {
        return;
    }
    let body = r#"{"error":"unavailable","message":"the clock of this machine is not set"}"#;
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nCache-Control: no-store\r\nRetry-After: 1\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    if socket.write_all(answer.as_bytes()).await.is_ok() {
        state.set_unread();
        let _ = socket.shutdown().await;
    }
}
