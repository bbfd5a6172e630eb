//! The socket of a connection. It limits the time for which the client accepts no data, and closes
//! in a way that does not lose an answer that was written before the request had ended.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use crate::connection_state::ConnectionState;

/// How long the rest of an answered request is read before the socket is closed. If a socket is
/// closed with unread bytes, the kernel discards the part of the answer that the client has not
/// read.
const LINGER: Duration = Duration::from_secs(1);
/// The maximum number of bytes that are read meanwhile.
const MAX_LINGERED: usize = 4 << 20;

/// The number of unsent bytes below which the kernel reports the socket as writable. By default the
/// kernel waits until a third of the send buffer is free, which can be megabytes. While it waits, a
/// slow client seems to accept no data.
const MAX_UNSENT: u32 = 16 << 10;

/// A socket with a limit for the time of a write.
pub struct Socket {
    stream: Arc<TcpStream>,
    state: Arc<ConnectionState>,
    write_timeout: Duration,
    /// The time by which a waiting write must make progress.
    write_deadline: Option<Pin<Box<Sleep>>>,
    closing: Option<Lingering>,
}

/// The state of a connection that is being closed while the client may still be sending.
struct Lingering {
    deadline: Pin<Box<Sleep>>,
    read: usize,
}

impl Socket {
    /// Returns a socket whose writes fail with [`io::ErrorKind::TimedOut`] if the client accepts no
    /// data for `write_timeout`.
    pub fn new(
        stream: Arc<TcpStream>,
        state: Arc<ConnectionState>,
        write_timeout: Duration,
    ) -> Self {
        // If this fails, a slow client is cut off sooner.
        let _ = limit_unsent(&stream);
        Self {
            stream,
            state,
            write_timeout,
            write_deadline: None,
            closing: None,
        }
    }

    fn poll_write_with(
        &mut self,
        context: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        while self.stream.poll_write_ready(context)?.is_ready() {
            match write(&self.stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => {
                    self.write_deadline = None;
                    self.state.set_writing(false);
                    return Poll::Ready(written);
                }
            }
        }
        self.state.set_writing(true);
        let limit = self.write_timeout;
        let deadline = self
            .write_deadline
            .get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(deadline.as_mut().poll(context));
        // Without this, the kernel would keep the unsent data and continue to send it.
        let _ = self.stream.set_zero_linger();
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Reads and discards the rest of the request until the client closes the connection, within
    /// the limits.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut lingering = self.closing.take().unwrap_or_else(|| Lingering {
            deadline: Box::pin(sleep(LINGER)),
            read: 0,
        });
        let mut scratch = [0; 8 << 10];
        while lingering.read < MAX_LINGERED {
            if lingering.deadline.as_mut().poll(context).is_ready() {
                break;
            }
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut *self).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    lingering.read += buffer.filled().len();
                }
                Poll::Ready(_) => break,
                Poll::Pending => {
                    self.closing = Some(lingering);
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(())
    }
}

#[cfg(any(target_os = "android", target_os = "linux"))]
fn limit_unsent(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_tcp_notsent_lowat(MAX_UNSENT)
}

/// Limits the whole send buffer, on systems without a limit for unsent bytes.
#[cfg(not(any(target_os = "android", target_os = "linux")))]
fn limit_unsent(stream: &TcpStream) -> io::Result<()> {
    let max = usize::try_from(MAX_UNSENT).unwrap_or(usize::MAX);
    SockRef::from(stream).set_send_buffer_size(max.saturating_mul(4))
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.stream.poll_read_ready(context))?;
            match self.stream.try_read_buf(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read.map(drop)),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(context, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(context, |stream| stream.try_write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closing.is_none() {
            SockRef::from(&*self.stream).shutdown(Shutdown::Write)?;
        }
        if self.state.has_unread() {
            // Until the client closes, it may not have read the answer. So the connection counts as
            // writing, and the shutdown waits for it.
            self.state.set_writing(true);
            ready!(self.poll_linger(context));
            self.state.set_writing(false);
        }
        Poll::Ready(Ok(()))
    }
}
