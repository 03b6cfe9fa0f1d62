use super::*;

struct Served {
    address: SocketAddr,
    inbox: mpsc::Receiver<Input>,
    desk: Desk,
    stop: CancellationToken,
    accepting: tokio::task::JoinHandle<()>,
}

async fn served() -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (inputs, inbox) = mpsc::channel(8);
    let (desk, stop) = (Desk::default(), CancellationToken::new());
    let accepting = tokio::spawn(accept(listener, inputs, desk.clone(), stop.clone()));
    Served { address, inbox, desk, stop, accepting }
}

impl Served {
    /// The machine sees a first frame, and takes it for this.
    async fn judge(&mut self, first: &[u8], admission: Admission) {
        let Some(Input::Opening { stream, frame }) = self.inbox.recv().await else { panic!("nothing was opened") };
        assert_eq!(frame, first);
        self.desk.admissions.answer(stream, admission);
    }

    async fn asked(&mut self) -> (u64, Frames) {
        let Some(Input::Asked { stream, frames }) = self.inbox.recv().await else { panic!("nothing was asked") };
        (stream, frames)
    }
}

#[tokio::test]
async fn what_is_asked_is_answered_and_silence_ends_the_stream() {
    let mut served = served().await;
    let (inputs, mut outcomes) = mpsc::channel(8);
    let opener = Opener::new(inputs);
    let largest = vec![7; MAX_GOSSIP_FRAME_BYTES];
    opener.exchange(5, served.address, vec![b"one".to_vec(), largest.clone()]);
    served.judge(b"one", Admission::Exchange).await;
    let (stream, frames) = served.asked().await;
    assert_eq!(frames, [b"one".to_vec(), largest]);
    let answer = vec![b"two".to_vec(), b"more".to_vec()];
    served.desk.replies.answer(stream, answer.clone());
    assert_eq!(outcomes.recv().await, Some(Input::Exchanged { exchange: 5, outcome: Ok(answer) }));

    opener.exchange(6, served.address, vec![b"three".to_vec()]);
    served.judge(b"three", Admission::Exchange).await;
    let (stream, _) = served.asked().await;
    served.desk.replies.give_up(stream);
    assert_eq!(outcomes.recv().await, Some(Input::Exchanged { exchange: 6, outcome: Ok(Vec::new()) }));
    assert!(served.desk.replies.lock().is_empty() && served.desk.admissions.lock().is_empty());

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
    for (tie, frame) in [(1, b"first"), (2, b"other")] {
        ties.hold(tie, served.address, frame.to_vec());
        served.judge(frame, Admission::Tie).await;
    }
    // A stream of its own goes the same way after them.
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    say_on(&mut stream, &[b"third".to_vec()]).await.unwrap();
    served.judge(b"third", Admission::Tie).await;
    assert!(tokio::time::timeout(Duration::from_millis(1500), stream.read(&mut [0])).await.is_err());
    ties.let_go(2);
    assert!(told.try_recv().is_err() && served.inbox.try_recv().is_err());
    served.stop.cancel();
    served.accepting.await.unwrap();
    assert_eq!(told.recv().await, Some(Input::TieEnded { tie: 1, came_about: true }));
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    ties.hold(3, served.address, b"fourth".to_vec());
    assert_eq!(told.recv().await, Some(Input::TieEnded { tie: 3, came_about: false }));
    drop(ties);
    assert_eq!(told.recv().await, None);
}

/// What the other side still says until it ends the stream, and after how long.
async fn rest(stream: &mut TcpStream) -> (Vec<u8>, Duration) {
    let (begin, mut rest) = (std::time::Instant::now(), Vec::new());
    // Whether the other side ends or resets it is the kernel's choice.
    let read = tokio::time::timeout(Duration::from_secs(4), stream.read_to_end(&mut rest)).await;
    assert!(read.is_ok(), "the stream stays open");
    (rest, begin.elapsed())
}

#[tokio::test]
async fn a_peer_that_says_too_much_or_stops_midway_reaches_nobody() {
    let mut served = served().await;
    let long = u32::try_from(MAX_DATAGRAM_BYTES + 1).unwrap();
    for bytes in [u32::MAX.to_le_bytes().to_vec(), long.to_le_bytes().to_vec(), vec![9, 0, 0, 0, 1, 2], vec![1, 0]] {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        assert!(rest(&mut stream).await.0.is_empty());
    }
    let silent = TcpStream::connect(served.address).await.unwrap();
    drop(silent);
    assert!(served.inbox.try_recv().is_err(), "the machine was asked nothing");
    served.stop.cancel();
    served.accepting.await.unwrap();
}

#[tokio::test]
async fn a_strangers_stream_is_ended_after_its_first_frame_or_a_second_without() {
    let mut served = served().await;
    // What is no frame, and what says nothing, are not brought to the machine.
    for (bytes, longest) in [(vec![0; 4], 500), (vec![9, 0, 0, 0, 1], 1500), (vec![], 1500)] {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        let (said, took) = rest(&mut stream).await;
        assert!(said.is_empty() && took < Duration::from_millis(longest), "{bytes:?}: {took:?}");
    }
    assert!(served.inbox.try_recv().is_err());
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let written = async {
        for _ in 0..100_000 {
            stream.write_all(&[1, 0, 0, 0, b'X']).await?;
        }
        io::Result::Ok(())
    };
    let (written, ()) = tokio::join!(written, served.judge(b"X", Admission::Refused));
    assert!(written.is_err() || rest(&mut stream).await.0.is_empty());
    assert!(served.inbox.try_recv().is_err(), "nothing more was read");
    served.stop.cancel();
    served.accepting.await.unwrap();
}

#[tokio::test]
async fn a_member_says_a_bounded_number_of_frames_none_of_them_empty() {
    let mut served = served().await;
    let one = [1, 0, 0, 0, b'X'].as_slice();
    let many = one.repeat(MAX_GOSSIP_EXCHANGE_FRAMES);
    for (more, taken) in [(Vec::new(), true), (one.to_vec(), false), (vec![0; 4], false)] {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(&[many.clone(), more].concat()).await.unwrap();
        stream.shutdown().await.unwrap();
        served.judge(b"X", Admission::Exchange).await;
        if taken {
            let (stream, frames) = served.asked().await;
            assert_eq!(frames.len(), MAX_GOSSIP_EXCHANGE_FRAMES);
            served.desk.replies.give_up(stream);
        }
        assert!(rest(&mut stream).await.0.is_empty());
        assert!(served.inbox.try_recv().is_err());
    }
    served.stop.cancel();
    served.accepting.await.unwrap();
}

#[tokio::test]
async fn an_answer_has_a_bounded_number_of_frames_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (inputs, mut outcomes) = mpsc::channel(8);
    let opener = Opener::new(inputs);
    for (bytes, taken) in [(MAX_GOSSIP_EXCHANGE_FRAMES, true), (MAX_GOSSIP_EXCHANGE_FRAMES + 1, false)] {
        opener.exchange(1, listener.local_addr().unwrap(), vec![b"one".to_vec()]);
        let (mut stream, _) = listener.accept().await.unwrap();
        let said = [1, 0, 0, 0, b'X'].repeat(bytes);
        let _ = stream.write_all(&said).await;
        let _ = stream.shutdown().await;
        let Some(Input::Exchanged { outcome, .. }) = outcomes.recv().await else { panic!("nothing came of it") };
        assert_eq!(outcome.is_ok(), taken);
    }
}
