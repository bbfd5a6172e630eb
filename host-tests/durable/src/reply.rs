//! The reply to a message for a task that can end.

use std::future::Future;

use tokio::sync::oneshot;

/// Waits for the reply to a message, or for the end of the task that was to reply.
///
/// If the task drops the channel's receiver while a message is being sent, that message and those
/// behind it are not dropped: they stay in the channel while a sender exists. So a caller that only
/// waited for the reply could wait for ever.
///
/// # Errors
/// The output of `end`, if the task has ended without a reply.
pub(super) async fn reply_or_end<R, E>(
    mut reply: oneshot::Receiver<R>,
    end: impl Future<Output = E>,
) -> Result<R, E> {
    let ended = tokio::select! {
        biased;
        Ok(reply) = &mut reply => return Ok(reply),
        ended = end => ended,
    };
    // The task may have replied before it ended.
    reply.try_recv().map_err(|_| ended)
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Poll;

    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_command_that_stays_in_the_channel_has_no_reply_when_the_supervisor_has_ended() {
        let (commands, received) = mpsc::channel::<()>(1);
        let (_unanswered, reply) = oneshot::channel::<()>();
        let mut waiting = pin!(reply_or_end(reply, commands.closed()));
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        drop(received);
        assert_eq!(futures::poll!(waiting.as_mut()), Poll::Ready(Err(())));
    }
}
