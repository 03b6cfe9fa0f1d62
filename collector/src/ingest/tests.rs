use watchfire_shared::frame::Message;
use watchfire_shared::frame::message::Ping;

use super::*;
use crate::engine::inbox;

struct House {
    address: SocketAddr,
    connections: Connections,
    waiting: crate::engine::Waiting,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<()>,
}

async fn door() -> House {
    door_with(None).await
}

async fn door_with(tls: Option<Tls>) -> House {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, waiting) = inbox();
    let connections = Connections::default();
    let stop = CancellationToken::new();
    let running = tokio::spawn(run(listener, tls, connections.clone(), sender, stop.clone()));
    House { address, connections, waiting, stop, running }
}

impl House {
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

#[tokio::test]
async fn what_has_not_said_hello_is_bounded_on_its_own_and_leaves_its_place() {
    let mut door = door().await;
    let mut silent = Vec::new();
    for _ in 0..MAX_GREETINGS {
        silent.push(TcpStream::connect(door.address).await.unwrap());
        door.connected().await;
    }
    // The kernel takes the next one; it is looked at when another has said hello.
    let _next = TcpStream::connect(door.address).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(200), door.waiting.next()).await.is_err());
    silent[0].write_all(&ping(1)).await.unwrap();
    let Input::Frame { .. } = door.waiting.next().await else { panic!() };
    door.connected().await;
    assert_eq!(door.connections.count(), MAX_GREETINGS + 1);
}

#[tokio::test]
async fn an_agent_that_speaks_tls_to_plaintext_is_told_apart() {
    let mut door = door().await;
    let mut agent = TcpStream::connect(door.address).await.unwrap();
    let conn = door.connected().await;
    agent.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00]).await.unwrap();
    door.disconnected(conn).await;
    assert_eq!(door.connections.stats().cut_off.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn frames_and_replies_travel_in_tls_and_plaintext_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["watch".to_owned()]).unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(path("key.pem"), made.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(path("key.pem"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let keys = ["cert_file", "key_file", "client_ca_file"];
    let files = [path("cert.pem"), path("key.pem"), std::path::PathBuf::new()];
    let raw: serde_json::Map<_, _> =
        keys.into_iter().map(str::to_owned).zip(files.map(|file| file.to_str().into())).collect();
    let raw: tls::RawServer = serde_json::from_value(raw.into()).unwrap();
    let config = raw.resolve().unwrap().unwrap().read().unwrap();
    let mut door = door_with(Some(Arc::new(ArcSwap::new(config)))).await;

    let mut plain = TcpStream::connect(door.address).await.unwrap();
    plain.write_all(&ping(1)).await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(tls::is_alert(&answer), "{answer:?}");

    let raw =
        serde_json::json!({ "ca_file": path("cert.pem"), "cert_file": "", "key_file": "", "server_name": "watch" });
    let raw: tls::RawClient = serde_json::from_value(raw).unwrap();
    let files = raw.resolve().unwrap().unwrap();
    let connector = tokio_rustls::TlsConnector::from(files.read().unwrap());
    let stream = TcpStream::connect(door.address).await.unwrap();
    let mut agent = connector.connect(files.name_for("127.0.0.1").unwrap(), stream).await.unwrap();
    let conn = door.connected().await;
    agent.write_all(&ping(1)).await.unwrap();
    let Input::Frame { bytes, .. } = door.waiting.next().await else { panic!() };
    assert_eq!(bytes, ping(1));
    door.connections.reply(conn, ping(2));
    door.connections.close(conn);
    let mut received = Vec::new();
    agent.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, ping(2));
    door.disconnected(conn).await;
    assert_eq!(door.connections.stats().handshakes_failed.load(Ordering::Relaxed), 1);
}
