//! Server-sent events, cut out of the bytes of a connection.
//!
//! The format: <https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>.

/// One line of an event, bytes. A change of a member has some 2 KiB.
const MAX_LINE: usize = 1 << 20;

/// An event; one without data only moves the place where the next connection begins.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Event {
    pub(super) id: Option<String>,
    pub(super) name: String,
    pub(super) data: String,
}

/// Bytes that are no whole line yet, and lines that are no whole event.
#[derive(Default)]
pub(super) struct Parser {
    line: Vec<u8>,
    event: Event,
    data: Vec<String>,
}

impl Parser {
    /// Takes bytes and gives the events that they complete.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, String> {
        let mut events = Vec::new();
        for byte in bytes {
            match byte {
                b'\n' => {
                    let line = std::mem::take(&mut self.line);
                    events.extend(self.take(String::from_utf8_lossy(&line).trim_end_matches('\r')));
                }
                _ if self.line.len() >= MAX_LINE => {
                    return Err(format!("a line of the stream has more than {MAX_LINE} bytes"));
                }
                byte => self.line.push(*byte),
            }
        }
        Ok(events)
    }

    fn take(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let mut event = std::mem::take(&mut self.event);
            event.data = std::mem::take(&mut self.data).join("\n");
            return (event.id.is_some() || !event.data.is_empty()).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.event.id = Some(value.to_owned()),
            "event" => self.event.name = value.to_owned(),
            "data" => self.data.push(value.to_owned()),
            // A comment, or a field of a later time.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_wherever_the_bytes_are_cut() {
        let text = ": watchfire\r\nid: 7:1\r\n\r\nevent: member\nid: 7:2\ndata: {\"a\":\ndata: \"ü\"}\nretry: 5\n\n: keepalive\n\n\ndata:x\n";
        let event = |id: Option<&str>, name: &str, data: &str| Event {
            id: id.map(str::to_owned),
            name: name.to_owned(),
            data: data.to_owned(),
        };
        let expected = [event(Some("7:1"), "", ""), event(Some("7:2"), "member", "{\"a\":\n\"ü\"}")];
        for size in 1..text.len() {
            let mut parser = Parser::default();
            let events: Vec<Event> =
                text.as_bytes().chunks(size).flat_map(|bytes| parser.push(bytes).unwrap()).collect();
            assert_eq!(events, expected, "in pieces of {size} bytes");
        }
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut parser = Parser::default();
        assert!(parser.push(&vec![b'x'; MAX_LINE]).is_ok_and(|events| events.is_empty()));
        assert!(parser.push(b"x").is_err());
    }
}
