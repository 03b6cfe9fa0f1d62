//! The identity that foca probes: node id, generation and gossip address, in a fixed small encoding.
//!
//! The node id is what foca calls the address: it stays while the generation rises at every start and every return.
//! Names, labels and everything else about a node are metadata and travel on their own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use watchfire_shared::member::NodeId;

/// One life of one node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Identity {
    pub(crate) id: NodeId,
    pub(crate) generation: u32,
    pub(crate) addr: SocketAddr,
}

impl Identity {
    /// An identity whose address is in its one canonical form, so that a v4-mapped address equals the plain one.
    pub(crate) fn new(id: NodeId, generation: u32, addr: SocketAddr) -> Self {
        Self { id, generation, addr: canonical(addr) }
    }

    /// This node in the life `generation`.
    pub(crate) fn in_generation(self, generation: u32) -> Self {
        Self { generation, ..self }
    }
}

/// The address without its v4-mapped, scoped and flow-labelled forms.
pub(crate) fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

/// Whether a datagram can be sent to the address and reach one host.
pub(crate) fn is_reachable(addr: SocketAddr) -> bool {
    let broadcast = matches!(addr.ip(), IpAddr::V4(v4) if v4.is_broadcast());
    addr.port() != 0 && !addr.ip().is_unspecified() && !addr.ip().is_multicast() && !broadcast
}

impl foca::Identity for Identity {
    type Addr = NodeId;

    fn renew(&self) -> Option<Self> {
        self.generation.checked_add(1).map(|generation| self.in_generation(generation))
    }

    fn addr(&self) -> NodeId {
        self.id
    }

    /// The later life wins; of two nodes that claim one life, the same one wins everywhere.
    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        (self.generation, self.addr) > (adversary.generation, adversary.addr)
    }
}

/// Appends fixed-width little-endian fields.
pub(crate) fn put_identity(out: &mut Vec<u8>, identity: &Identity) {
    out.extend_from_slice(&identity.id.0.to_le_bytes());
    out.extend_from_slice(&identity.generation.to_le_bytes());
    match identity.addr.ip() {
        IpAddr::V4(ip) => {
            out.push(4);
            out.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out.push(6);
            out.extend_from_slice(&ip.octets());
        }
    }
    out.extend_from_slice(&identity.addr.port().to_le_bytes());
}

/// The bytes are not what they claim to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed gossip packet")]
pub(crate) struct Malformed;

/// Reads fixed-width fields from the front of a slice; never reads past its end and never allocates.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    /// foca itself writes the number of updates, in network order.
    pub(crate) fn u16_big_endian(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    /// A node id; zero is none, it is the cursor that stands before the first.
    pub(crate) fn node_id(&mut self) -> Result<NodeId, Malformed> {
        self.u64().and_then(|id| if id == 0 { Err(Malformed) } else { Ok(NodeId(id)) })
    }

    pub(crate) fn identity(&mut self) -> Result<Identity, Malformed> {
        let id = self.node_id()?;
        let generation = self.u32()?;
        let ip = match self.u8()? {
            4 => IpAddr::V4(Ipv4Addr::from(self.array::<4>()?)),
            6 => IpAddr::V6(Ipv6Addr::from(self.array::<16>()?)),
            _ => return Err(Malformed),
        };
        let addr = SocketAddr::new(ip, self.u16()?);
        if is_reachable(addr) && addr == canonical(addr) {
            Ok(Identity { id, generation, addr })
        } else {
            Err(Malformed)
        }
    }

    /// Ends the reading: nothing may be left.
    pub(crate) fn finish(self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

#[cfg(test)]
mod tests {
    use foca::Identity as _;

    use super::*;

    #[test]
    fn the_later_life_wins_and_ties_are_decided_alike_everywhere() {
        let first = Identity::new(NodeId(1), 1, "10.0.0.1:1".parse().unwrap());
        let second = first.renew().unwrap();
        let moved = Identity::new(NodeId(1), 1, "10.0.0.2:1".parse().unwrap());
        assert!(second.win_addr_conflict(&first) && !first.win_addr_conflict(&second));
        assert!(moved.win_addr_conflict(&first) && !first.win_addr_conflict(&moved));
        assert_eq!(first.in_generation(u32::MAX).renew(), None);
    }

    #[test]
    fn identities_round_trip_and_mapped_addresses_are_plain() {
        for addr in ["127.0.0.1:7950", "[2001:db8::1]:1", "[::ffff:10.0.0.1]:9"] {
            let identity = Identity::new(NodeId(7), 3, addr.parse().unwrap());
            let mut bytes = Vec::new();
            put_identity(&mut bytes, &identity);
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.identity(), Ok(identity));
            assert_eq!(reader.finish(), Ok(()));
            for cut in 0..bytes.len() {
                assert_eq!(Reader::new(&bytes[..cut]).identity(), Err(Malformed));
            }
        }
        assert!(Identity::new(NodeId(7), 3, "[::ffff:10.0.0.1]:9".parse().unwrap()).addr.is_ipv4());
    }
}
