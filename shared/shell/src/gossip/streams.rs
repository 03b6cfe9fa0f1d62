//! Gossip's streams over TCP: one side says its frames and ends its half, the other answers and ends the whole.
//!
//! A frame is `length (4, little-endian) | bytes`, and never empty. A connection without a frame is a question whether
//! somebody lives here, and is answered by having been accepted. The first frame goes to the machine by itself, which tells
//! whether it is a member's: nothing more is read of a stranger, and a tie stays. Connections, frames, bytes and time are
//! bounded on both sides, so that a peer that says too much, too slowly or nothing costs a place for a moment and no more.

mod strangers;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::ties;
use strangers::Strangers;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use watchfire_gossip::{Admission, HostAnswer, Input};
use watchfire_shared::limits::{
    MAX_DATAGRAM_BYTES, MAX_GOSSIP_EXCHANGE_BYTES, MAX_GOSSIP_EXCHANGE_FRAMES, MAX_GOSSIP_FRAME_BYTES,
};

/// Connections that others opened, at a time.
const MAX_ACCEPTED: usize = 64;
/// Ties that others hold to this node; two do, and some more while members come and go. It ends what is beyond.
const MAX_TIED: usize = 16;
/// What all of them together may have said and not have had answered: two views of the largest cluster.
const MAX_WAITING_BYTES: usize = 4 << 20;
/// What a frame takes beside its bytes.
const FRAME_OVERHEAD: u32 = 64;
/// How long a connection may take to say its first frame, which follows at once. A host that is only asked whether it lives
/// is left in less.
const OPENING_TIME: Duration = Duration::from_secs(1);
/// Connections that this node opened, at a time; the machine has no more exchanges under way.
const MAX_OPENED: usize = 32;
/// How long a connection may take to come about. In a data centre it takes a millisecond.
const CONNECT_TIME: Duration = Duration::from_secs(1);
/// How long an exchange may take. A view of a thousand members has some 200 KiB.
const EXCHANGE_TIME: Duration = Duration::from_secs(5);
/// How long the machine may take for an answer; it takes milliseconds, and none is given to what it refuses.
const ANSWER_TIME: Duration = Duration::from_secs(1);

type Frames = Vec<Vec<u8>>;

/// Who waits for a word of the machine's, by the number of the stream.
pub(super) struct Waiting<T> {
    open: Arc<Mutex<BTreeMap<u64, oneshot::Sender<T>>>>,
    last: Arc<AtomicU64>,
}

impl<T> Clone for Waiting<T> {
    fn clone(&self) -> Self {
        Self { open: self.open.clone(), last: self.last.clone() }
    }
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self { open: Arc::default(), last: Arc::default() }
    }
}

/// What accepted streams wait for.
#[derive(Clone, Default)]
pub(super) struct Desk {
    pub(super) admissions: Waiting<Admission>,
    pub(super) replies: Waiting<Frames>,
}

impl<T> Waiting<T> {
    /// Tells the machine of a stream and waits for what it says. `None` if that is nothing.
    async fn ask(&self, inputs: &mpsc::Sender<Input>, input: impl FnOnce(u64) -> Input) -> Option<T> {
        let (stream, answer) = self.wait();
        let answered = async {
            inputs.send(input(stream)).await.ok()?;
            tokio::time::timeout(ANSWER_TIME, answer).await.ok()?.ok()
        };
        let answered = answered.await;
        self.give_up(stream);
        answered
    }

    fn wait(&self) -> (u64, oneshot::Receiver<T>) {
        let stream = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, receiver) = oneshot::channel();
        self.lock().insert(stream, sender);
        (stream, receiver)
    }

    /// Answers on a stream; whoever has given up hears nothing.
    pub(super) fn answer(&self, stream: u64, answer: T) {
        if let Some(waiting) = self.lock().remove(&stream) {
            let _ = waiting.send(answer);
        }
    }

    /// The machine has seen the question and says nothing.
    fn give_up(&self, stream: u64) {
        self.lock().remove(&stream);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, oneshot::Sender<T>>> {
        self.open.lock().expect("no holder of this lock can panic")
    }
}

/// Accepts connections until `stop`, and brings what is said there to the machine.
pub(super) async fn accept(listener: TcpListener, inputs: mpsc::Sender<Input>, desk: Desk, stop: CancellationToken) {
    let strangers = Strangers::default();
    let places = Arc::new(Semaphore::new(MAX_ACCEPTED));
    let room = Arc::new(Semaphore::new(MAX_WAITING_BYTES));
    let tied = Arc::new(Semaphore::new(MAX_TIED));
    loop {
        let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, from)) => {
                // Who holds too many already gets none: others want them too.
                let Some(stranger) = strangers.take(from.ip()) else { continue };
                let serving = serve(stream, stranger, room.clone(), inputs.clone(), desk.clone());
                let (tied, stop) = (tied.clone(), stop.clone());
                tokio::spawn(async move {
                    let served = tokio::time::timeout(EXCHANGE_TIME, serving).await;
                    drop(place);
                    match served {
                        Ok(Ok(Some(tie))) => stay(tie, &tied, &stop).await,
                        Ok(Err(error)) => tracing::debug!(%from, %error, "a gossip stream ended early"),
                        Ok(Ok(None)) | Err(_) => {}
                    }
                });
            }
            Err(error) => {
                tracing::debug!(%error, "gossip could not accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Keeps a tie that another node holds until it ends it.
async fn stay(mut tie: TcpStream, tied: &Semaphore, stop: &CancellationToken) {
    let Ok(_place) = tied.try_acquire() else { return };
    tokio::select! {
        _ = ties::until_end(&mut tie) => {}
        () = stop.cancelled() => {}
    }
}

/// Answers what is said on a stream; one that turns out to be a tie is handed back.
async fn serve(
    mut stream: TcpStream,
    stranger: strangers::Stranger,
    room: Arc<Semaphore>,
    inputs: mpsc::Sender<Input>,
    desk: Desk,
) -> io::Result<Option<TcpStream>> {
    let opening = tokio::time::timeout(OPENING_TIME, read_opening(&mut stream));
    let Some(opening) = opening.await.map_err(|_| refused("it was opened and not used"))?? else { return Ok(None) };
    let frame = opening.clone();
    match desk.admissions.ask(&inputs, |stream| Input::Opening { stream, frame }).await {
        Some(Admission::Exchange) => drop(stranger),
        Some(Admission::Tie) => return Ok(Some(stream)),
        Some(Admission::Refused) | None => return Err(refused("it is no member's")),
    }
    let (frames, held) = read_rest(&mut stream, opening, &room).await?;
    let answer = desk.replies.ask(&inputs, |stream| Input::Asked { stream, frames }).await;
    drop(held);
    match answer {
        Some(frames) => say(&mut stream, &frames).await.map(|()| None),
        None => Ok(None),
    }
}

/// The first frame; `None` if the other side only looked whether somebody is here.
async fn read_opening(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let Some(length) = read_length(stream).await? else { return Ok(None) };
    if length as usize > MAX_DATAGRAM_BYTES {
        return Err(refused("the first frame is too long"));
    }
    read_bytes(stream, length).await.map(Some)
}

/// Reads what a member says after the first frame, and holds the room that it takes.
async fn read_rest(
    stream: &mut TcpStream,
    opening: Vec<u8>,
    room: &Arc<Semaphore>,
) -> io::Result<(Frames, Option<OwnedSemaphorePermit>)> {
    let mut frames = vec![opening];
    let mut held: Option<OwnedSemaphorePermit> = None;
    while let Some(length) = read_length(stream).await? {
        if frames.len() == MAX_GOSSIP_EXCHANGE_FRAMES {
            return Err(refused("too many frames"));
        }
        // Nobody gets memory that is not there: whoever finds it full asks somebody else.
        let permit = room.clone().try_acquire_many_owned(length + FRAME_OVERHEAD);
        let permit = permit.map_err(|_| refused("too much waits already"))?;
        match &mut held {
            Some(held) => held.merge(permit),
            None => held = Some(permit),
        }
        frames.push(read_bytes(stream, length).await?);
    }
    Ok((frames, held))
}

/// The exchanges that this node begins.
#[derive(Clone)]
pub(super) struct Opener {
    places: Arc<Semaphore>,
    inputs: mpsc::Sender<Input>,
}

impl Opener {
    pub(super) fn new(inputs: mpsc::Sender<Input>) -> Self {
        Self { places: Arc::new(Semaphore::new(MAX_OPENED)), inputs }
    }

    /// Says `frames` to somebody and brings what comes back as an input.
    pub(super) fn exchange(&self, exchange: u64, to: SocketAddr, frames: Frames) {
        let opener = self.clone();
        tokio::spawn(async move {
            let _place = opener.places.acquire().await;
            let outcome = converse(to, &frames).await;
            let _ = opener.inputs.send(Input::Exchanged { exchange, outcome }).await;
        });
    }
}

async fn converse(to: SocketAddr, frames: &[Vec<u8>]) -> Result<Frames, HostAnswer> {
    let mut stream = match tokio::time::timeout(CONNECT_TIME, TcpStream::connect(to)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => return Err(HostAnswer::Refused),
        Ok(Err(_)) | Err(_) => return Err(HostAnswer::Silent),
    };
    let exchange = async {
        say(&mut stream, frames).await?;
        let (mut answer, mut bytes) = (Vec::new(), 0);
        while let Some(length) = read_length(&mut stream).await? {
            bytes += length as usize;
            if bytes > MAX_GOSSIP_EXCHANGE_BYTES || answer.len() == MAX_GOSSIP_EXCHANGE_FRAMES {
                return Err(refused("the answer is too long"));
            }
            answer.push(read_bytes(&mut stream, length).await?);
        }
        Ok(answer)
    };
    match tokio::time::timeout(EXCHANGE_TIME, exchange).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => {
            tracing::debug!(%to, %error, "an exchange over a gossip stream failed");
            Err(HostAnswer::Accepted)
        }
        Err(_) => Err(HostAnswer::Accepted),
    }
}

/// Says frames and ends this half of the stream.
async fn say(stream: &mut TcpStream, frames: &[Vec<u8>]) -> io::Result<()> {
    say_on(stream, frames).await?;
    stream.shutdown().await
}

/// Says frames.
pub(super) async fn say_on(stream: &mut TcpStream, frames: &[Vec<u8>]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(frames.iter().map(|frame| frame.len() + 4).sum());
    for frame in frames {
        let length = u32::try_from(frame.len()).map_err(|_| refused("the frame is too long"))?;
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(frame);
    }
    stream.write_all(&bytes).await
}

/// The length of the next frame; `None` where the other side has ended.
async fn read_length(stream: &mut TcpStream) -> io::Result<Option<u32>> {
    let mut bytes = [0; 4];
    if stream.read(&mut bytes[..1]).await? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut bytes[1..]).await?;
    let length = u32::from_le_bytes(bytes);
    match length as usize {
        0 => Err(refused("the frame is empty")),
        1..=MAX_GOSSIP_FRAME_BYTES => Ok(Some(length)),
        _ => Err(refused("the frame is too long")),
    }
}

async fn read_bytes(stream: &mut TcpStream, length: u32) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; length as usize];
    stream.read_exact(&mut frame).await?;
    Ok(frame)
}

fn refused(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests;
