//! Gossip's network: the UDP socket and the TCP listener beside it, questions to hosts, and the names to join by.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UdpSocket, lookup_host};

/// Kernel buffer of the UDP socket. The default holds a few hundred datagrams; a storm of a thousand nodes brings more.
const SOCKET_BUFFER_BYTES: usize = 1 << 20;
/// How long a host may take to answer. In a data centre it takes a millisecond.
const ASK_TIME: Duration = Duration::from_secs(1);
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

/// What a host did with a TCP connection to gossip's port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answered {
    Accepted,
    Refused,
    Nothing,
}

/// Asks a host whether somebody listens at an address.
pub(super) async fn ask(address: SocketAddr) -> Answered {
    match tokio::time::timeout(ASK_TIME, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Answered::Accepted,
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Answered::Refused,
        Ok(Err(_)) | Err(_) => Answered::Nothing,
    }
}

/// The addresses behind `host:port` texts. Names that do not resolve now are tried again later by the caller.
pub(super) async fn resolve(names: &[String]) -> Vec<SocketAddr> {
    let mut found = BTreeSet::new();
    for name in names {
        match tokio::time::timeout(RESOLVE_TIME, lookup_host(name)).await {
            Ok(Ok(addresses)) => found.extend(addresses.take(MAX_ADDRESSES_PER_NAME)),
            Ok(Err(error)) => tracing::warn!(name, %error, "a join address does not resolve"),
            Err(_) => tracing::warn!(name, "the resolver did not answer for a join address"),
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_living_port_accepts_and_a_dead_one_refuses() {
        let (socket, listener) = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = socket.local_addr().unwrap();
        assert_eq!(listener.local_addr().unwrap(), address);
        assert_eq!(ask(address).await, Answered::Accepted);
        drop(listener);
        assert_eq!(ask(address).await, Answered::Refused);
    }

    #[tokio::test]
    async fn a_taken_port_is_an_error() {
        let (socket, _listener) = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        assert!(bind(socket.local_addr().unwrap()).await.is_err());
    }

    #[tokio::test]
    async fn names_resolve_once_each_and_unknown_ones_are_left_out() {
        let names = ["127.0.0.1:5", "127.0.0.1:5", "[::1]:6"].map(str::to_owned);
        let found = resolve(&names).await;
        assert_eq!(found, ["127.0.0.1:5".parse().unwrap(), "[::1]:6".parse().unwrap()]);
        assert_eq!(resolve(&["no port".to_owned()]).await, Vec::new());
    }
}
