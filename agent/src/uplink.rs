//! Connections to collectors: bytes out, whole frames in. Two tasks per connection, so that a peer that does not read
//! cannot keep us from hearing what it says. Where certificate files are configured, the bytes travel in TLS 1.3.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use watchfire_agent_core::agent::Input;
use watchfire_shared::frame::FrameReader;
use watchfire_shell::tls;

mod secrecy;

pub(crate) use secrecy::Secrecy;

/// How long a connection, names resolved and certificates shown, may take to come about.
const MAX_CONNECT_TIME: Duration = Duration::from_secs(5);
/// How long a peer may take to read one frame.
const MAX_WRITE_TIME: Duration = Duration::from_secs(15);
/// How long the last frames may take before a connection is closed.
const MAX_FLUSH_TIME: Duration = Duration::from_millis(500);
/// Frames that wait to be written: both lanes' windows and the parts of a large dictionary.
const MAX_FRAMES: usize = 256;
/// Bytes read at a time. Collectors say little.
const READ_BYTES: usize = 4 << 10;
/// What the other side is called in messages.
const PEER: &str = "the collector";

type Reading = Box<dyn AsyncRead + Send + Unpin>;
type Writing = Box<dyn AsyncWrite + Send + Unpin>;

/// The connections, by the core's numbers.
#[derive(Debug)]
pub(crate) struct Connections {
    open: BTreeMap<u64, Connection>,
    inputs: mpsc::Sender<Input>,
    secrecy: Secrecy,
}

#[derive(Debug)]
struct Connection {
    frames: mpsc::Sender<Vec<u8>>,
    /// The core hung up.
    hung_up: CancellationToken,
    /// The peer does not read.
    choked: CancellationToken,
}

impl Connections {
    pub(crate) fn new(inputs: mpsc::Sender<Input>, secrecy: Secrecy) -> Self {
        Self { open: BTreeMap::new(), inputs, secrecy }
    }

    /// Begins to connect; how it went is told as an input.
    pub(crate) fn connect(&mut self, connection: u64, address: String) {
        self.open.retain(|_, connection| !connection.frames.is_closed());
        let (frames, outbox) = mpsc::channel(MAX_FRAMES);
        let handle = Connection { frames, hung_up: CancellationToken::new(), choked: CancellationToken::new() };
        let (hung_up, choked, inputs) = (handle.hung_up.clone(), handle.choked.clone(), self.inputs.clone());
        self.open.insert(connection, handle);
        let secrecy = self.secrecy.clone();
        tokio::spawn(async move {
            let reason = tokio::select! {
                () = hung_up.cancelled() => return,
                () = choked.cancelled() => "the collector does not read".to_owned(),
                reason = serve(connection, &address, &secrecy, outbox, &inputs) => reason,
            };
            let _ = inputs.send(Input::Disconnected { connection, reason }).await;
        });
    }

    /// Sends a frame after those before it.
    pub(crate) fn send(&mut self, connection: u64, bytes: Vec<u8>) {
        if let Some(connection) = self.open.get(&connection)
            && connection.frames.try_send(bytes).is_err()
        {
            connection.choked.cancel();
        }
    }

    /// Closes a connection after what was sent.
    pub(crate) fn disconnect(&mut self, connection: u64) {
        if let Some(connection) = self.open.remove(&connection) {
            connection.hung_up.cancel();
        }
    }
}

/// Connects, and shows certificates if some are configured.
async fn dial(address: &str, secrecy: &Secrecy) -> Result<(Reading, Writing), String> {
    let connector = secrecy.connector().await?;
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let Some((connector, files)) = connector else {
        let (reading, writing) = stream.into_split();
        return Ok((Box::new(reading), Box::new(writing)));
    };
    let name = files.name_for(address.rsplit_once(':').map_or(address, |(host, _)| host))?;
    let stream = connector.connect(name, stream).await.map_err(|error| tls::explain(&error, PEER))?;
    let (reading, writing) = tokio::io::split(stream);
    Ok((Box::new(reading), Box::new(writing)))
}

/// Serves one connection until it ends; returns why.
async fn serve(
    connection: u64,
    address: &str,
    secrecy: &Secrecy,
    outbox: mpsc::Receiver<Vec<u8>>,
    inputs: &mpsc::Sender<Input>,
) -> String {
    let (mut reading, writing) = match tokio::time::timeout(MAX_CONNECT_TIME, dial(address, secrecy)).await {
        Ok(Ok(halves)) => halves,
        Ok(Err(reason)) => return reason,
        Err(_) => return "no answer".to_owned(),
    };
    // The writer outlives this function when the core hangs up: its channel closes, and it still writes what it was given.
    let writer = tokio::spawn(write(writing, outbox));
    let _ = inputs.send(Input::Connected { connection }).await;
    let mut frames = FrameReader::default();
    let mut buffer = vec![0; READ_BYTES];
    let mut is_first = true;
    tokio::pin!(writer);
    loop {
        let read = tokio::select! {
            read = reading.read(&mut buffer) => read,
            ended = &mut writer => {
                return ended.unwrap_or_else(|error| error.to_string());
            }
        };
        match read {
            Ok(0) => return "the collector closed the connection".to_owned(),
            Ok(length) if std::mem::take(&mut is_first) && tls::is_alert(&buffer[..length]) => {
                return "the collector speaks TLS, and [uplink.tls] is not configured".to_owned();
            }
            Ok(length) => frames.push(&buffer[..length]),
            // With TLS 1.3 the other side judges our certificate after the handshake has ended here.
            Err(error) => return tls::explain(&error, PEER),
        }
        loop {
            match frames.next_frame() {
                Ok(Some(frame)) => {
                    let input = Input::Frame { connection, bytes: frame.to_vec() };
                    if inputs.send(input).await.is_err() {
                        return "the agent stops".to_owned();
                    }
                }
                Ok(None) => break,
                Err(error) => return error.to_string(),
            }
        }
    }
}

/// Writes frames until the channel closes or the peer fails; returns why.
async fn write(mut writing: Writing, mut outbox: mpsc::Receiver<Vec<u8>>) -> String {
    while let Some(frame) = outbox.recv().await {
        let limit = if outbox.is_closed() { MAX_FLUSH_TIME } else { MAX_WRITE_TIME };
        let written = async {
            writing.write_all(&frame).await?;
            writing.flush().await
        };
        match tokio::time::timeout(limit, written).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return tls::explain(&error, PEER),
            Err(_) => return "the collector does not read".to_owned(),
        }
    }
    let _ = tokio::time::timeout(MAX_FLUSH_TIME, writing.shutdown()).await;
    "closed".to_owned()
}
