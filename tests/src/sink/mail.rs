//! A mail server that takes every mail, as much of RFC 5321 as a client without TLS and password needs, and remembers it.
//!
//! It is no proof that a real server would take the mail; that is what the suites are for.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Bytes of one conversation; more than any mail of the collector has.
const MAX_BYTES: u64 = 16 << 20;

/// A mail as it arrived.
#[derive(Clone, Debug)]
pub struct Mail {
    /// When its last line had come.
    pub at: Instant,
    /// The recipients as the client named them: `<a@example.org>`.
    pub to: Vec<String>,
    /// The message as it was sent, without the dots of RFC 5321 (section 4.5.2).
    pub data: String,
}

impl Mail {
    /// Whether the message, as it was sent, holds all of these texts.
    #[must_use]
    pub fn holds(&self, texts: &[&str]) -> bool {
        texts.iter().all(|text| self.data.contains(text))
    }
}

/// The server; it listens on a free loopback port until it is dropped.
pub struct MailSink {
    pub address: SocketAddr,
    mails: Arc<Mutex<Vec<Mail>>>,
    task: tokio::task::JoinHandle<()>,
}

impl MailSink {
    /// Starts to listen.
    ///
    /// # Errors
    /// If loopback has no free port.
    pub async fn start() -> std::io::Result<Self> {
        Self::serve(TcpListener::bind(("127.0.0.1", 0)).await?)
    }

    /// Serves where somebody listens already.
    ///
    /// # Errors
    /// If the listener has no address.
    pub fn serve(listener: TcpListener) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let mails = Arc::new(Mutex::new(Vec::new()));
        let taken = mails.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let taken = taken.clone();
                tokio::spawn(async move { converse(stream, &taken).await.unwrap_or_default() });
            }
        });
        Ok(Self { address, mails, task })
    }

    /// Every mail that was taken so far.
    #[must_use]
    pub fn mails(&self) -> Vec<Mail> {
        self.mails.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets what was taken so far.
    pub fn clear(&self) {
        self.mails.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Drop for MailSink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn converse(mut stream: TcpStream, mails: &Mutex<Vec<Mail>>) -> std::io::Result<()> {
    let (read, mut write) = stream.split();
    let mut lines = BufReader::new(read.take(MAX_BYTES)).lines();
    let mut to = Vec::new();
    write.write_all(b"220 sink ESMTP\r\n").await?;
    while let Some(line) = lines.next_line().await? {
        let answer = match line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase().as_str() {
            "EHLO" | "HELO" => "250 sink",
            "RCPT" => {
                to.extend(line.split_once(':').map(|(_, address)| address.trim().to_owned()));
                "250 ok"
            }
            "DATA" => {
                write.write_all(b"354 go on\r\n").await?;
                let mut data = String::new();
                while let Some(line) = lines.next_line().await?.filter(|line| line != ".") {
                    data.push_str(line.strip_prefix('.').unwrap_or(&line));
                    data.push_str("\r\n");
                }
                let mail = Mail { at: Instant::now(), to: std::mem::take(&mut to), data };
                mails.lock().unwrap_or_else(PoisonError::into_inner).push(mail);
                "250 taken"
            }
            "QUIT" => {
                return write.write_all(b"221 bye\r\n").await;
            }
            "MAIL" | "RSET" | "NOOP" => "250 ok",
            _ => "502 not known here",
        };
        write.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
    Ok(())
}
