//! A NATS server for tests, whose answers the test chooses. It understands only what the client of
//! the journal sends.

use async_nats::jetstream::{self, Context, ErrorCode};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Returns the answer to a request with this subject, as JSON.
pub(crate) type Answer = fn(subject: &str) -> String;

/// What the server tells a client that connects.
const INFO: &str = concat!(
    r#"INFO {"server_id":"scripted","version":"2.10.0","host":"127.0.0.1","port":1,"#,
    r#""headers":true,"max_payload":1048576,"proto":1}"#,
);

/// Returns an answer with this error.
pub(crate) fn error(code: ErrorCode) -> String {
    json!({ "error": { "code": 503, "err_code": code.0, "description": "refused" } }).to_string()
}

/// Starts a server with these answers, for one client. Returns its URL.
pub(crate) async fn start(answer: Answer) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        serve(stream, answer).await
    });
    format!("nats://{address}")
}

/// Starts a server with these answers. Returns a client of it.
pub(crate) async fn context(answer: Answer) -> Context {
    let client = async_nats::connect(start(answer).await);
    jetstream::new(client.await.unwrap())
}

/// Serves a client until it closes the connection.
async fn serve(stream: TcpStream, answer: Answer) -> Option<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    // The subject and the id of each subscription.
    let mut subscriptions: Vec<(String, String)> = Vec::new();
    send(&mut writer, &[INFO]).await?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["PING"] => send(&mut writer, &["PONG"]).await?,
            ["SUB", subject, id] => {
                let subject = subject.trim_end_matches('*');
                subscriptions.push((subject.into(), id.into()));
            }
            ["PUB", subject, reply, size] | ["HPUB", subject, reply, _, size] => {
                // The message ends with the end of a line.
                let mut message = vec![0; size.parse::<usize>().ok()? + 2];
                reader.read_exact(&mut message).await.ok()?;
                let mut found = subscriptions.iter();
                let (_, id) = found.find(|(inbox, _)| reply.starts_with(inbox))?;
                let text = answer(subject);
                let head = format!("MSG {reply} {id} {}", text.len());
                send(&mut writer, &[&head, &text]).await?;
            }
            _ => {}
        }
    }
}

/// Sends these lines.
async fn send(writer: &mut (impl AsyncWriteExt + Unpin), lines: &[&str]) -> Option<()> {
    for line in lines {
        writer.write_all(line.as_bytes()).await.ok()?;
        writer.write_all(b"\r\n").await.ok()?;
    }
    Some(())
}
