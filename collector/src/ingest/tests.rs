use watchfire_shared::frame::Message;
use watchfire_shared::frame::message::Ping;

use super::*;
use crate::engine::inbox;

struct Door {
    address: SocketAddr,
    connections: Connections,
    waiting: crate::engine::Waiting,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<()>,
}

async fn door() -> Door {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, waiting) = inbox();
    let connections = Connections::default();
    let stop = CancellationToken::new();
    let running = tokio::spawn(run(listener, connections.clone(), sender, stop.clone()));
    Door { address, connections, waiting, stop, running }
}

impl Door {
    async fn connected(&mut self) -> ConnId {
        match self.waiting.next().await {
            Input::Connected { conn, .. } => conn,
            other => panic!("expected a connection, found {other:?}"),
        }
    }

    async fn disconnected(&mut self, conn: ConnId) {
        match self.waiting.next().await {
            Input::Disconnected { conn: ended } if ended == conn => {}
            other => panic!("expected the end of {conn:?}, found {other:?}"),
        }
    }
}

fn ping(clock_ms: i64) -> Vec<u8> {
    Message::Ping(Ping { clock_ms }).encode()
}

#[tokio::test]
async fn frames_go_in_as_they_are_and_replies_come_back_before_a_close() {
    let mut door = door().await;
    let mut agent = TcpStream::connect(door.address).await.unwrap();
    let conn = door.connected().await;
    let sent = [ping(1), ping(2)].concat();
    let (first, second) = sent.split_at(5);
    agent.write_all(first).await.unwrap();
    agent.write_all(second).await.unwrap();
    for expected in [ping(1), ping(2)] {
        let Input::Frame { conn: from, bytes } = door.waiting.next().await else { panic!() };
        assert_eq!((from, bytes), (conn, expected));
    }
    door.connections.reply(conn, ping(3));
    door.connections.close(conn);
    let mut received = Vec::new();
    agent.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, ping(3));
    door.disconnected(conn).await;
    assert_eq!(door.connections.count(), 0);
    door.connections.reply(conn, ping(4));
}

#[tokio::test]
async fn bytes_that_are_no_frames_are_told_and_the_connection_is_closed() {
    let mut door = door().await;
    let mut agent = TcpStream::connect(door.address).await.unwrap();
    let conn = door.connected().await;
    agent.write_all(&u32::MAX.to_le_bytes()).await.unwrap();
    let Input::Unreadable { conn: from, .. } = door.waiting.next().await else { panic!() };
    assert_eq!(from, conn);
    door.disconnected(conn).await;
    assert_eq!(agent.read(&mut [0; 8]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_says_nothing_is_cut_off() {
    let mut door = door().await;
    let mut agent = TcpStream::connect(door.address).await.unwrap();
    let conn = door.connected().await;
    door.disconnected(conn).await;
    assert_eq!(agent.read(&mut [0; 8]).await.unwrap(), 0);
    assert_eq!(door.connections.stats().cut_off.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_peer_that_does_not_read_its_replies_is_cut_off() {
    let mut door = door().await;
    let _agent = TcpStream::connect(door.address).await.unwrap();
    let conn = door.connected().await;
    // More than the queue and the kernel's buffers hold.
    for _ in 0..MAX_REPLIES * 2 {
        door.connections.reply(conn, vec![0; 64 << 10]);
    }
    assert_eq!(door.connections.count(), 0);
    assert_eq!(door.connections.stats().cut_off.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn the_door_closes_with_its_connections() {
    let mut door = door().await;
    let mut agent = TcpStream::connect(door.address).await.unwrap();
    let conn = door.connected().await;
    door.stop.cancel();
    door.disconnected(conn).await;
    door.running.await.unwrap();
    assert_eq!(agent.read(&mut [0; 8]).await.unwrap(), 0);
    assert!(TcpStream::connect(door.address).await.is_err());
}
