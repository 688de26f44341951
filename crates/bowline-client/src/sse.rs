//! Reads server-sent events from bytes, however they are cut. See the HTML standard, "Server-sent
//! events", for the format.

/// Longest line taken, in bytes. A longer one is an error: no event of ours comes near.
const LINE_BYTES_MAX: usize = 1 << 20;

/// One message of the stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Message {
    /// The newest id said so far, here or before.
    pub(crate) id: Option<String>,
    /// The kind; empty where not said.
    pub(crate) event: String,
    /// The data lines, joined. Empty: the message only moves the id.
    pub(crate) data: String,
}

/// A line that is too long.
#[derive(Debug, thiserror::Error)]
#[error("a line of the event stream is longer than {LINE_BYTES_MAX} bytes")]
pub(crate) struct LineTooLong;

/// The reader's state between two pieces.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    message: Message,
    said: bool,
    after_cr: bool,
}

impl Parser {
    /// Takes a piece of the stream and gives the messages that it completes.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Message>, LineTooLong> {
        let mut messages = Vec::new();
        for &byte in bytes {
            let second_half = std::mem::replace(&mut self.after_cr, byte == b'\r') && byte == b'\n';
            match byte {
                _ if second_half => {}
                b'\n' | b'\r' => messages.extend(self.end_line()),
                byte if self.line.len() < LINE_BYTES_MAX => self.line.push(byte),
                _ => return Err(LineTooLong),
            }
        }
        Ok(messages)
    }

    fn end_line(&mut self) -> Option<Message> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            return self.end_message();
        }
        let text = String::from_utf8_lossy(&line);
        let (field, value) = text.split_once(':').unwrap_or((&text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" if !value.contains('\0') => {
                self.message.id = Some(value.to_owned());
                self.said = true;
            }
            "event" => value.clone_into(&mut self.message.event),
            "data" => {
                if !self.message.data.is_empty() {
                    self.message.data.push('\n');
                }
                self.message.data.push_str(value);
                self.said = true;
            }
            // Comments, `retry`, and what a later version may say.
            _ => {}
        }
        None
    }

    fn end_message(&mut self) -> Option<Message> {
        let id = self.message.id.clone();
        let message = std::mem::replace(&mut self.message, Message { id, ..Message::default() });
        std::mem::take(&mut self.said).then_some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = b": hello\n\nid: 4-0\n\nevent: task\nid: 4-1\ndata: {\"a\":1}\n\nevent: run\r\ndata: x\r\ndata: y\r\n\r\n: keep\n\ndata: cut";

    fn expected() -> Vec<Message> {
        let message = |id: &str, event: &str, data: &str| Message {
            id: Some(id.to_owned()),
            event: event.to_owned(),
            data: data.to_owned(),
        };
        vec![message("4-0", "", ""), message("4-1", "task", "{\"a\":1}"), message("4-1", "run", "x\ny")]
    }

    #[test]
    fn messages_come_out_however_the_bytes_are_cut() {
        for size in 1..STREAM.len() {
            let mut parser = Parser::default();
            let messages: Vec<Message> = STREAM.chunks(size).flat_map(|piece| parser.push(piece).unwrap()).collect();
            assert_eq!(messages, expected(), "in pieces of {size}");
        }
    }

    #[test]
    fn a_line_has_a_bound() {
        let mut parser = Parser::default();
        assert!(parser.push(&vec![b'x'; LINE_BYTES_MAX]).is_ok());
        assert!(parser.push(b"x").is_err());
    }
}
