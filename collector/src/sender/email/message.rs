//! A mail as a MIME message (RFC 5322, RFC 2045), and between whom it goes.

use std::time::SystemTime;

use lettre::Address;
use lettre::address::Envelope;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, Mailboxes, Message, MultiPart, SinglePart};
use watchfire_collector_core::notify::email::Mail;

/// A mail as it goes over the wire.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) from: Address,
    /// At least one.
    pub(super) to: Vec<Address>,
    /// The message, not yet with the dots of RFC 5321 in front of its lines.
    pub(super) bytes: Vec<u8>,
}

/// Writes a mail down. What its parts hold is encoded, so the message is ASCII whatever they say.
///
/// # Errors
/// Which address or header cannot be used.
pub(super) fn write(mail: &Mail, now: SystemTime) -> Result<Ready, String> {
    let from: Mailbox = mail.from.parse().map_err(|_| format!("`from` is no address, found {:?}", mail.from))?;
    let to: Mailboxes = mail.to.parse().map_err(|_| format!("`to` holds no list of addresses, found {:?}", mail.to))?;
    let to: Vec<Address> = to.into_iter().map(|mailbox| mailbox.email).collect();
    let envelope = Envelope::new(Some(from.email.clone()), to.clone()).map_err(|_| "`to` names nobody".to_owned())?;
    let mut builder = Message::builder().date(now).envelope(envelope);
    for (name, value) in &mail.headers {
        let header = HeaderName::new_from_ascii(name.clone()).map_err(|_| format!("{name:?} is no header"))?;
        builder = builder.raw_header(HeaderValue::new(header, value.clone()));
    }
    let (text, html) = (|| SinglePart::plain(mail.text.clone()), || SinglePart::html(mail.html.clone()));
    let message = match (mail.text.is_empty(), mail.html.is_empty()) {
        // The part that says more stands last (RFC 2046, section 5.1.4).
        (false, false) => builder.multipart(MultiPart::alternative().singlepart(text()).singlepart(html())),
        (true, false) => builder.singlepart(html()),
        (_, true) => builder.singlepart(text()),
    };
    let message = message.map_err(|error| format!("the mail cannot be written: {error}"))?;
    Ok(Ready { from: from.email, to, bytes: message.formatted() })
}

#[cfg(test)]
mod tests;
