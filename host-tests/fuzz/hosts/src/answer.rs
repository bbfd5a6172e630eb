//! The answers of the HTTP service.

use httparse::{EMPTY_HEADER, Response, Status};

/// The maximum number of header fields of an answer.
const MAX_FIELDS: usize = 32;

/// An answer.
pub struct Answer {
    pub status: u16,
    /// The names, in lower case, and the values of the header fields.
    fields: Vec<(String, String)>,
    /// The body; that of a stream of events as far as it was read.
    pub body: Vec<u8>,
}

impl Answer {
    /// Reads the first answer, and returns it with what comes after it. Returns `None` if it is not
    /// complete. `is_head` says that it has no body, whatever its head says.
    ///
    /// # Panics
    /// If the bytes are not those of an answer.
    pub fn read(bytes: &[u8], is_head: bool) -> Option<(Self, &[u8])> {
        let mut fields = [EMPTY_HEADER; MAX_FIELDS];
        let mut response = Response::new(&mut fields);
        let Status::Complete(end) = response.parse(bytes).expect("an answer has a head") else {
            return None;
        };
        let fields = response.headers.iter().map(|field| {
            let value = String::from_utf8_lossy(field.value).into_owned();
            (field.name.to_ascii_lowercase(), value)
        });
        let mut answer = Self {
            status: response.code.expect("a head has a status"),
            fields: fields.collect(),
            body: Vec::new(),
        };
        let rest = &bytes[end..];
        if answer.is_stream() {
            answer.body = rest.to_vec();
            return Some((answer, &[]));
        }
        let length = match answer.field("content-length") {
            Some(length) if !is_head => length.parse().expect("a length is a number"),
            _ => 0,
        };
        let body = rest.get(..length)?;
        answer.body = body.to_vec();
        Some((answer, &rest[length..]))
    }

    /// Returns the value of a header field.
    pub fn field(&self, name: &str) -> Option<&str> {
        let field = self.fields.iter().find(|(field, _)| field == name);
        field.map(|(_, value)| value.as_str())
    }

    /// Returns whether this is a stream of events, which ends with the connection.
    pub fn is_stream(&self) -> bool {
        self.field("content-type") == Some("text/event-stream")
    }
}
