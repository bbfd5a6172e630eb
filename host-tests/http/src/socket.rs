//! The socket of a connection: it waits for the client to take an answer only so long, and closes so that
//! an answer that came early is not lost.

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

/// For how long, and for how many bytes, a request is read that was answered before its end. To close
/// a socket with unread bytes makes the kernel drop what the client has not read of the answer.
const LINGER: Duration = Duration::from_secs(1);
const MAX_LINGERED: usize = 4 << 20;

/// How many bytes of an answer the kernel holds that it has not sent. By default it reports a
/// socket as writable only when a third of the send buffer is free, which can be megabytes: a slow
/// client would seem to take nothing meanwhile.
const MAX_UNSENT: u32 = 16 << 10;

/// A socket with limits.
pub struct Socket {
    stream: Arc<TcpStream>,
    state: Arc<ConnectionState>,
    write_timeout: Duration,
    /// Until when the client has to take something, where it does not.
    write_deadline: Option<Pin<Box<Sleep>>>,
    closing: Option<Lingering>,
}

/// The end of a connection on which the client may still be sending.
struct Lingering {
    deadline: Pin<Box<Sleep>>,
    read: usize,
}

impl Socket {
    /// Ends with [`io::ErrorKind::TimedOut`] when the client takes nothing for `write_timeout`.
    pub fn new(
        stream: Arc<TcpStream>,
        state: Arc<ConnectionState>,
        write_timeout: Duration,
    ) -> Self {
        // Without it, a slow client is cut off sooner, and all else works.
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
        // Without this, the kernel would keep what was not taken, and go on trying to deliver it.
        let _ = self.stream.set_zero_linger();
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Reads what still comes, and forgets it, until the client has read the answer and closes.
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

/// Where the kernel has no such limit, the whole send buffer gets one.
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
            // Until then the client may not have its answer.
            self.state.set_writing(true);
            ready!(self.poll_linger(context));
            self.state.set_writing(false);
        }
        Poll::Ready(Ok(()))
    }
}
