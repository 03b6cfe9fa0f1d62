//! Which addresses may be bound, which are free, and which address others should dial.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

/// Where free ports are looked for: below those that systems give to outgoing connections, of which one that was free might
/// be taken before its program binds it.
const FIRST_FREE_PORT: u16 = 20_000;
const FREE_PORTS: u32 = 12_000;

/// Plaintext was about to listen to a network.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} not a loopback address: anybody on that network could read and send there. Bind to 127.0.0.1 or [::1], or accept \
     it with `insecure = true` in [security]",
    .0.join(", ")
)]
pub struct NotLoopback(Vec<String>);

/// Lets only loopback addresses be bound, unless the configuration says `[security] insecure = true`.
///
/// Takes every address that the program is about to bind, each with its key in the file, and names all that offend.
///
/// # Errors
/// If one of them is reachable from outside.
pub fn check(addresses: &[(&str, SocketAddr)], insecure: bool) -> Result<(), NotLoopback> {
    let offends = |address: &SocketAddr| !address.ip().to_canonical().is_loopback();
    let offenders: Vec<String> = addresses
        .iter()
        .filter(|(_, address)| offends(address))
        .map(|(key, address)| format!("`{key}` = {address} is"))
        .collect();
    if insecure || offenders.is_empty() { Ok(()) } else { Err(NotLoopback(offenders)) }
}

/// Whether nobody has bound this address, for UDP or TCP.
#[must_use]
pub fn is_free(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
}

/// A free address on loopback for a program that is about to start, which nobody else in this process is given.
#[must_use]
pub fn free() -> Option<SocketAddr> {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    // Processes that run beside each other begin at different places.
    let begin = std::process::id().wrapping_mul(61);
    let mut candidates = (0..FREE_PORTS).map(|_| {
        let place = begin.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % FREE_PORTS;
        SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST_FREE_PORT + place as u16))
    });
    candidates.find(|address| is_free(*address))
}

/// The address under which others reach a socket that is bound to `bound`.
///
/// It is `bound` itself, except that a wildcard address becomes the one from which this host would speak to the world;
/// a host without a route is reached by itself only.
#[must_use]
pub fn advertised(bound: SocketAddr) -> SocketAddr {
    if !bound.ip().is_unspecified() {
        return bound;
    }
    // The addresses are those of documentation (RFC 5737, RFC 3849).
    let v4 = || own_address(Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into());
    let v6 = || own_address(Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into());
    // A socket bound to [::] hears IPv4 as well, which is what a host without an IPv6 route is reached by.
    let own = if bound.is_ipv4() { v4() } else { v6().or_else(v4) };
    let loopback = match bound.ip() {
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(own.unwrap_or(loopback), bound.port())
}

/// The address from which this host would speak to `world`. Connecting a UDP socket sends nothing: the kernel only chooses a
/// route and a source address for it.
fn own_address(any: IpAddr, world: IpAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((world, 9)).ok()?;
    socket.local_addr().ok().map(|own| own.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_bound_unless_insecurity_is_accepted() {
        let local = ("http.bind", "127.0.0.1:7951".parse().unwrap());
        let mapped = ("ingest.bind", "[::ffff:127.0.0.1]:7951".parse().unwrap());
        let open = ("gossip.bind", "0.0.0.0:7950".parse().unwrap());
        assert_eq!(check(&[local, mapped], false), Ok(()));
        assert_eq!(check(&[local, open], true), Ok(()));
        let message = check(&[local, open], false).unwrap_err().to_string();
        assert!(message.starts_with("`gossip.bind` = 0.0.0.0:7950 is not a loopback address"), "{message}");
    }

    #[test]
    fn a_wildcard_is_advertised_as_an_address_that_can_be_dialled() {
        let bound = "127.0.0.1:5".parse().unwrap();
        assert_eq!(advertised(bound), bound);
        for wildcard in ["0.0.0.0:5", "[::]:5"] {
            let own = advertised(wildcard.parse().unwrap());
            assert!(!own.ip().is_unspecified(), "{own}");
            assert_eq!(own.port(), 5);
        }
    }
}
