//! Gossip's streams over TCP: one side says its frames and ends its half, the other answers and ends the whole.
//!
//! A frame is `length (4, little-endian) | bytes`. A connection without a frame is a question whether somebody lives here,
//! and is answered by having been accepted. One that begins with an empty frame is a tie, and stays. Connections, bytes and
//! time are bounded on both sides, so that a peer that says too much, too slowly or nothing costs a place for a few seconds
//! and no more.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::ties;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use watchfire_gossip::{HostAnswer, Input};
use watchfire_shared::limits::{MAX_GOSSIP_EXCHANGE_BYTES, MAX_GOSSIP_FRAME_BYTES};

/// Connections that others opened, at a time.
const MAX_ACCEPTED: usize = 64;
/// Ties that others hold to this node; two do, and some more while members come and go. It ends what is beyond.
const MAX_TIED: usize = 16;
/// What all of them together may have said and not have had answered: two views of the largest cluster.
const MAX_WAITING_BYTES: usize = 4 << 20;
/// Connections that this node opened, at a time; the machine has no more exchanges under way.
const MAX_OPENED: usize = 32;
/// How long a connection may take to come about. In a data centre it takes a millisecond.
const CONNECT_TIME: Duration = Duration::from_secs(1);
/// How long an exchange may take. A view of a thousand members has some 200 KiB.
const EXCHANGE_TIME: Duration = Duration::from_secs(5);
/// How long the machine may take for an answer; it takes milliseconds, and none is given to what it refuses.
const ANSWER_TIME: Duration = Duration::from_secs(1);

type Frames = Vec<Vec<u8>>;

/// Who waits for an answer, by the number of the stream.
#[derive(Clone, Default)]
pub(super) struct Waiting {
    open: Arc<Mutex<BTreeMap<u64, oneshot::Sender<Frames>>>>,
    last: Arc<AtomicU64>,
}

impl Waiting {
    fn wait(&self) -> (u64, oneshot::Receiver<Frames>) {
        let stream = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, receiver) = oneshot::channel();
        self.lock().insert(stream, sender);
        (stream, receiver)
    }

    /// Answers on a stream; whoever has given up hears nothing.
    pub(super) fn answer(&self, stream: u64, frames: Frames) {
        if let Some(waiting) = self.lock().remove(&stream) {
            let _ = waiting.send(frames);
        }
    }

    /// The machine has seen the question and says nothing.
    fn give_up(&self, stream: u64) {
        self.lock().remove(&stream);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, oneshot::Sender<Frames>>> {
        self.open.lock().expect("no holder of this lock can panic")
    }
}

/// Accepts connections until `stop`, and brings what is said there to the machine.
pub(super) async fn accept(
    listener: TcpListener,
    inputs: mpsc::Sender<Input>,
    waiting: Waiting,
    stop: CancellationToken,
) {
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
                let serving = serve(stream, room.clone(), inputs.clone(), waiting.clone());
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
    room: Arc<Semaphore>,
    inputs: mpsc::Sender<Input>,
    waiting: Waiting,
) -> io::Result<Option<TcpStream>> {
    let mut frames = Vec::new();
    let mut held: Option<OwnedSemaphorePermit> = None;
    while let Some(length) = read_length(&mut stream).await? {
        if length == 0 && frames.is_empty() {
            return Ok(Some(stream));
        }
        // Nobody gets memory that is not there: whoever finds it full asks somebody else.
        let permit = room.clone().try_acquire_many_owned(length).map_err(|_| refused("too much waits already"))?;
        match &mut held {
            Some(held) => held.merge(permit),
            None => held = Some(permit),
        }
        frames.push(read_bytes(&mut stream, length).await?);
    }
    if frames.is_empty() {
        return Ok(None);
    }
    let (id, answer) = waiting.wait();
    if inputs.send(Input::Asked { stream: id, frames }).await.is_err() {
        return Ok(None);
    }
    let answer = tokio::time::timeout(ANSWER_TIME, answer).await;
    drop(held);
    waiting.give_up(id);
    match answer {
        Ok(Ok(frames)) => say(&mut stream, &frames).await.map(|()| None),
        _ => Ok(None),
    }
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
            if bytes > MAX_GOSSIP_EXCHANGE_BYTES {
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
    let mut bytes = Vec::with_capacity(frames.iter().map(|frame| frame.len() + 4).sum());
    for frame in frames {
        let length = u32::try_from(frame.len()).map_err(|_| refused("the frame is too long"))?;
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(frame);
    }
    stream.write_all(&bytes).await?;
    stream.shutdown().await
}

/// The length of the next frame; `None` where the other side has ended.
async fn read_length(stream: &mut TcpStream) -> io::Result<Option<u32>> {
    let mut bytes = [0; 4];
    if stream.read(&mut bytes[..1]).await? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut bytes[1..]).await?;
    let length = u32::from_le_bytes(bytes);
    if length as usize > MAX_GOSSIP_FRAME_BYTES { Err(refused("the frame is too long")) } else { Ok(Some(length)) }
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
mod tests {
    use super::*;

    struct Served {
        address: SocketAddr,
        inbox: mpsc::Receiver<Input>,
        waiting: Waiting,
        stop: CancellationToken,
        accepting: tokio::task::JoinHandle<()>,
    }

    async fn served() -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (inputs, inbox) = mpsc::channel(8);
        let (waiting, stop) = (Waiting::default(), CancellationToken::new());
        let accepting = tokio::spawn(accept(listener, inputs, waiting.clone(), stop.clone()));
        Served { address, inbox, waiting, stop, accepting }
    }

    #[tokio::test]
    async fn what_is_asked_is_answered_and_silence_ends_the_stream() {
        let mut served = served().await;
        let (inputs, mut outcomes) = mpsc::channel(8);
        let opener = Opener::new(inputs);
        let largest = vec![7; MAX_GOSSIP_FRAME_BYTES];
        opener.exchange(5, served.address, vec![b"one".to_vec(), largest.clone()]);
        let Some(Input::Asked { stream, frames }) = served.inbox.recv().await else { panic!("nothing was asked") };
        assert_eq!(frames, [b"one".to_vec(), largest]);
        served.waiting.answer(stream, vec![b"two".to_vec(), Vec::new()]);
        let expected = Input::Exchanged { exchange: 5, outcome: Ok(vec![b"two".to_vec(), Vec::new()]) };
        assert_eq!(outcomes.recv().await, Some(expected));

        opener.exchange(6, served.address, vec![b"three".to_vec()]);
        let Some(Input::Asked { stream, .. }) = served.inbox.recv().await else { panic!("nothing was asked") };
        served.waiting.give_up(stream);
        assert_eq!(outcomes.recv().await, Some(Input::Exchanged { exchange: 6, outcome: Ok(Vec::new()) }));
        assert!(served.waiting.lock().is_empty());

        served.stop.cancel();
        served.accepting.await.unwrap();
        opener.exchange(7, served.address, vec![b"four".to_vec()]);
        let refused = Input::Exchanged { exchange: 7, outcome: Err(HostAnswer::Refused) };
        assert_eq!(outcomes.recv().await, Some(refused));
    }

    #[tokio::test]
    async fn a_tie_stays_until_either_side_ends_it_and_asks_nothing() {
        let mut served = served().await;
        let (inputs, mut told) = mpsc::channel(8);
        let mut ties = ties::Ties::new(inputs);
        ties.hold(1, served.address);
        ties.hold(2, served.address);
        // A stream of its own goes the same way after them.
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(&[0; 4]).await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(200), stream.read(&mut [0])).await.is_err());
        ties.let_go(2);
        assert!(told.try_recv().is_err() && served.inbox.try_recv().is_err());
        served.stop.cancel();
        served.accepting.await.unwrap();
        assert_eq!(told.recv().await, Some(Input::TieEnded { tie: 1, came_about: true }));
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
        ties.hold(3, served.address);
        assert_eq!(told.recv().await, Some(Input::TieEnded { tie: 3, came_about: false }));
        drop(ties);
        assert_eq!(told.recv().await, None);
    }

    #[tokio::test]
    async fn a_peer_that_says_too_much_or_stops_midway_reaches_nobody() {
        let mut served = served().await;
        for bytes in [u32::MAX.to_le_bytes().to_vec(), vec![9, 0, 0, 0, 1, 2], vec![1, 0]] {
            let mut stream = TcpStream::connect(served.address).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut rest = Vec::new();
            // Whether the other side ends or resets it is the kernel's choice.
            let _ = stream.read_to_end(&mut rest).await;
            assert!(rest.is_empty());
        }
        let silent = TcpStream::connect(served.address).await.unwrap();
        drop(silent);
        assert!(served.inbox.try_recv().is_err(), "the machine was asked nothing");
        served.stop.cancel();
        served.accepting.await.unwrap();
    }
}
