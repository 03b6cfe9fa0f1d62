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

/// The address under which others reach a socket that is bound to `bound`: as [`reached_at`], and loopback if this host has
/// no other, where it is reached by itself only.
#[must_use]
pub fn advertised(bound: SocketAddr) -> SocketAddr {
    let loopback = match bound.ip() {
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    reached_at(bound, &[]).unwrap_or_else(|| SocketAddr::new(loopback, bound.port()))
}

/// The address under which others reach a socket that is bound to `bound`.
///
/// It is `bound` itself, except that a wildcard address becomes the one from which this host would speak to the world, or
/// where no route leads there to one of `others`, or else one of its interfaces' (the first by their names). `None` if
/// loopback is all that it has.
#[must_use]
pub fn reached_at(bound: SocketAddr, others: &[SocketAddr]) -> Option<SocketAddr> {
    if !bound.ip().is_unspecified() {
        return Some(bound);
    }
    // The addresses are those of documentation (RFC 5737, RFC 3849).
    let v4 = || own_address(Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into());
    let v6 = || own_address(Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into());
    // A socket bound to [::] hears IPv4 as well, which is what a host without an IPv6 route is reached by.
    let own = if bound.is_ipv4() { v4() } else { v6().or_else(v4) };
    let own = own.or_else(|| others.iter().find_map(|other| towards(bound, other.ip())));
    let own = own.or_else(|| of_interfaces(bound.is_ipv4(), &interfaces()));
    own.map(|own| SocketAddr::new(own, bound.port()))
}

/// The address from which this host would speak to another by a socket that is bound to `bound`.
fn towards(bound: SocketAddr, other: IpAddr) -> Option<IpAddr> {
    let any = match other {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) if bound.is_ipv4() => return None,
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    own_address(any, other).filter(|own| !own.to_canonical().is_loopback())
}

/// The addresses of this host's interfaces, in the order of the interfaces' names.
fn interfaces() -> Vec<IpAddr> {
    let Ok(networks) = sysinfo::Networks::new_with_refreshed_list() else { return Vec::new() };
    let mut named: Vec<_> = networks.iter().collect();
    named.sort_by(|one, other| one.0.cmp(other.0));
    named.into_iter().flat_map(|(_, network)| network.ip_networks()).map(|network| network.addr).collect()
}

/// The first of them that others on a network can dial. Those of a link alone need the name of an interface to be dialled.
fn of_interfaces(only_v4: bool, addresses: &[IpAddr]) -> Option<IpAddr> {
    let global = |address: &&IpAddr| match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local() && !v4.is_unspecified(),
        IpAddr::V6(v6) => !only_v4 && !v6.is_loopback() && !v6.is_unicast_link_local() && !v6.is_unspecified(),
    };
    let v6_first = addresses.iter().filter(global).min_by_key(|address| address.is_ipv4());
    v6_first.copied()
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
    fn without_a_route_an_interface_gives_the_address_if_others_can_dial_it() {
        let all =
            ["127.0.0.1", "::1", "169.254.1.2", "fe80::1", "10.78.1.3", "fd78::3"].map(|text| text.parse().unwrap());
        let address = |text: &str| Some(text.parse().unwrap());
        assert_eq!(of_interfaces(true, &all), address("10.78.1.3"));
        assert_eq!(of_interfaces(false, &all), address("fd78::3"));
        assert_eq!(of_interfaces(false, &all[..5]), address("10.78.1.3"));
        assert_eq!(of_interfaces(false, &all[..4]), None);
        assert!(interfaces().iter().any(IpAddr::is_loopback), "they can be read here");
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
