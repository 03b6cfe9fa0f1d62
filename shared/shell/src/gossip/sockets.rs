//! Gossip's network: the UDP socket and the TCP listener beside it, questions to hosts, and the names to join by.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UdpSocket, lookup_host};
use watchfire_gossip::HostAnswer;

/// Kernel buffer of the UDP socket. The default holds a few hundred datagrams; a storm of a thousand nodes brings more.
const SOCKET_BUFFER_BYTES: usize = 1 << 20;
/// How long a host may take to answer. In a data centre it takes a millisecond.
const ASK_TIME: Duration = Duration::from_secs(1);
/// How much longer one of a connection and a datagram may take to be answered than the other, which went the same way.
const BOTH_TIME: Duration = Duration::from_millis(250);
/// Datagrams of one question, and the time between them: one of them or what answers it may get lost, or be one too many of
/// a second for the host.
const DATAGRAMS: usize = 3;
const DATAGRAM_AGAIN: Duration = Duration::from_millis(80);
/// Names of join addresses may move.
pub(super) const RESOLVE_EVERY: Duration = Duration::from_secs(30);
/// How long the resolver may take for one name.
const RESOLVE_TIME: Duration = Duration::from_secs(5);
/// Addresses that one name may stand for; a round-robin name of a cluster has a few.
const MAX_ADDRESSES_PER_NAME: usize = 16;

/// Binds UDP and TCP to one port. If the port is 0, the system chooses one that is free for both.
pub(super) async fn bind(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    // The port that TCP got may be taken for UDP; a few tries find one that is free for both.
    let tries = if address.port() == 0 { 16 } else { 1 };
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..tries {
        let listener = TcpListener::bind(address).await?;
        match udp(listener.local_addr()?) {
            Ok(socket) => return Ok((socket, listener)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::DGRAM, None)?;
    socket.set_nonblocking(true)?;
    // The kernel gives what its limits allow; less is no reason not to start.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    if address.is_ipv6() && address.ip().is_unspecified() {
        // As the TCP listener beside it, whatever the system's default.
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

/// Asks a host whether somebody listens at an address: by a connection, and by a datagram beside it. A host says of either
/// port that nobody listens there, and a firewall may stand before one of them.
pub(super) async fn ask(address: SocketAddr) -> HostAnswer {
    tokio::time::timeout(ASK_TIME, ask_both_ways(address)).await.unwrap_or(HostAnswer::Silent)
}

async fn ask_both_ways(address: SocketAddr) -> HostAnswer {
    let mut connecting = pin!(TcpStream::connect(address));
    let mut refusing = pin!(datagrams_refused(address));
    let connected = tokio::select! {
        connected = &mut connecting => connected,
        () = &mut refusing => {
            return match tokio::time::timeout(BOTH_TIME, connecting).await {
                Ok(Ok(_)) => HostAnswer::Accepted,
                Ok(Err(_)) | Err(_) => HostAnswer::Refused,
            };
        }
    };
    match connected {
        Ok(_) => HostAnswer::Accepted,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            match tokio::time::timeout(BOTH_TIME, refusing).await {
                Ok(()) => HostAnswer::Refused,
                Err(_) => HostAnswer::RefusedStreams,
            }
        }
        Err(_) => {
            refusing.await;
            HostAnswer::Refused
        }
    }
}

/// Returns once the host has said that nobody listens for datagrams (ICMP port unreachable), and never if it does not: on
/// Linux a connected UDP socket is told so (udp(7)). The datagrams are empty, which are no packet; a living node passes them
/// over.
async fn datagrams_refused(address: SocketAddr) {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let refused = async {
        let socket = UdpSocket::bind((any, 0)).await?;
        socket.connect(address).await?;
        for _ in 0..DATAGRAMS {
            socket.send(&[]).await?;
            // Whoever listens there owes no answer.
            if let Ok(Err(error)) = tokio::time::timeout(DATAGRAM_AGAIN, socket.recv(&mut [0])).await {
                return Err(error);
            }
        }
        socket.recv(&mut [0]).await.map(drop)
    };
    let refused: io::Result<()> = refused.await;
    if !refused.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
        std::future::pending::<()>().await;
    }
}

/// The addresses behind one `host:port`; nothing if it does not resolve now, which is tried again later by the caller.
pub(super) async fn resolve(name: &str) -> Option<Vec<SocketAddr>> {
    match tokio::time::timeout(RESOLVE_TIME, lookup_host(name)).await {
        Ok(Ok(addresses)) => return Some(addresses.take(MAX_ADDRESSES_PER_NAME).collect()),
        Ok(Err(error)) => tracing::warn!(name, %error, "a join address does not resolve"),
        Err(_) => tracing::warn!(name, "the resolver did not answer for a join address"),
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_living_port_accepts_and_a_dead_one_refuses() {
        let (socket, listener) = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = socket.local_addr().unwrap();
        assert_eq!(listener.local_addr().unwrap(), address);
        assert_eq!(ask(address).await, HostAnswer::Accepted);
        drop(listener);
        assert_eq!(ask(address).await, HostAnswer::RefusedStreams, "somebody listens for datagrams");
        let mut question = [0; 8];
        assert_eq!(socket.recv_from(&mut question).await.unwrap().0, 0, "the datagram is empty");
        drop(socket);
        let begin = std::time::Instant::now();
        assert_eq!(ask(address).await, HostAnswer::Refused);
        assert!(begin.elapsed() < BOTH_TIME, "both refuse at once");
    }

    #[tokio::test]
    async fn a_taken_port_is_an_error() {
        let (socket, _listener) = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        assert!(bind(socket.local_addr().unwrap()).await.is_err());
    }

    #[tokio::test]
    async fn a_name_gives_its_addresses_and_an_unknown_one_nothing() {
        assert_eq!(resolve("127.0.0.1:5").await, Some(vec!["127.0.0.1:5".parse().unwrap()]));
        assert_eq!(resolve("[::1]:6").await, Some(vec!["[::1]:6".parse().unwrap()]));
        assert_eq!(resolve("no port").await, None);
    }
}
