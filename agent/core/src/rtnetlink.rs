//! Links out of an RTM_GETLINK dump: rtnetlink(7), `struct ifinfomsg`, attributes IFLA_*.
//!
//! Lengths come from the kernel and are checked all the same; a message or attribute that does not fit ends the reading.

const MESSAGE_HEADER: usize = 16;
const LINK_HEADER: usize = 16;
const RTM_NEWLINK: u16 = 16;

/// One network device.
#[derive(Clone, Default)]
pub(crate) struct Link<'a> {
    pub name: &'a str,
    pub index: u32,
    /// ARPHRD_*: 1 is Ethernet, 772 loopback.
    pub hardware_type: u16,
    pub flags: u32,
    pub address: &'a [u8],
    pub broadcast: &'a [u8],
    pub alias: &'a str,
    pub mtu: Option<u32>,
    pub queue_length: Option<u32>,
    /// The device below, for stacked ones.
    pub lower_index: Option<u32>,
    pub operational_state: Option<u8>,
    pub link_mode: Option<u8>,
    pub group: Option<u32>,
    pub carrier: Option<u8>,
    pub carrier_changes: Option<u32>,
    pub carrier_up: Option<u32>,
    pub carrier_down: Option<u32>,
    /// `struct rtnl_link_stats64`.
    stats: &'a [u8],
}

impl Link<'_> {
    /// A counter of `struct rtnl_link_stats64`; `None` where the kernel is older than the counter.
    pub(crate) fn counter(&self, counter: usize) -> Option<u64> {
        self.stats.get(counter * 8..counter * 8 + 8)?.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes))
    }

    pub(crate) fn is_up(&self) -> bool {
        self.flags & 1 != 0
    }
}

/// Calls `each` for every link, in the order of the dump. Returns false if the dump does not hold together.
pub(crate) fn links<'a>(mut dump: &'a [u8], mut each: impl FnMut(&Link<'a>)) -> bool {
    while !dump.is_empty() {
        let Some((length, kind)) = u32_at(dump, 0).zip(u16_at(dump, 4)) else { return false };
        let Some(message) = dump.get(MESSAGE_HEADER..length as usize) else { return false };
        if kind == RTM_NEWLINK {
            let Some(link) = link(message) else { return false };
            each(&link);
        }
        dump = dump.get((length as usize).next_multiple_of(4)..).unwrap_or_default();
    }
    true
}

fn link(message: &[u8]) -> Option<Link<'_>> {
    let mut link = Link {
        hardware_type: u16_at(message, 2)?,
        index: u32_at(message, 4)?,
        flags: u32_at(message, 8)?,
        ..Link::default()
    };
    let mut rest = message.get(LINK_HEADER..)?;
    while rest.len() >= 4 {
        let length = usize::from(u16_at(rest, 0)?);
        let value = rest.get(4..length)?;
        // The two highest bits say how the value is packed, not what it is.
        attribute(&mut link, u16_at(rest, 2)? & 0x3fff, value);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    (!link.name.is_empty()).then_some(link)
}

fn attribute<'a>(link: &mut Link<'a>, kind: u16, value: &'a [u8]) {
    match kind {
        1 => link.address = value,
        2 => link.broadcast = value,
        3 => link.name = text(value),
        4 => link.mtu = u32_at(value, 0),
        5 => link.lower_index = u32_at(value, 0),
        13 => link.queue_length = u32_at(value, 0),
        16 => link.operational_state = value.first().copied(),
        17 => link.link_mode = value.first().copied(),
        20 => link.alias = text(value),
        23 => link.stats = value,
        27 => link.group = u32_at(value, 0),
        33 => link.carrier = value.first().copied(),
        35 => link.carrier_changes = u32_at(value, 0),
        47 => link.carrier_up = u32_at(value, 0),
        48 => link.carrier_down = u32_at(value, 0),
        _ => {}
    }
}

fn text(value: &[u8]) -> &str {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    std::str::from_utf8(&value[..end]).unwrap_or_default()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}
