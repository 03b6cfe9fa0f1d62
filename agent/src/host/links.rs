//! Network devices: an RTM_GETLINK dump over a kept netlink socket, and what only a device's driver knows, from sysfs.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with};
use watchfire_agent_core::host::LinkSettings;

/// One answer of the kernel; it sends at most 32 KiB at a time.
const ANSWER_BYTES: usize = 32 << 10;
/// All of them. Ten thousand devices have some 15 MiB; a host with more than this has other troubles.
const MAX_DUMP_BYTES: usize = 16 << 20;
/// The kernel answers at once or not at all.
const MAX_WAIT: std::time::Duration = std::time::Duration::from_secs(1);

const RTM_GETLINK: u16 = 18;
const NLM_F_REQUEST_DUMP: u16 = 0x301;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const HEADER_BYTES: usize = 16;

/// A netlink socket and the last dump.
#[derive(Debug, Default)]
pub(super) struct Links {
    socket: Option<OwnedFd>,
    sequence: u32,
    dump: Vec<u8>,
    answer: Vec<u8>,
    fresh: bool,
}

impl Links {
    /// The next dump is a new one.
    pub(super) fn forget(&mut self) {
        self.fresh = false;
    }

    /// The links, as netlink messages one after the other.
    pub(super) fn dump(&mut self) -> io::Result<&[u8]> {
        if !self.fresh {
            if let Err(error) = self.ask() {
                // A socket that failed once may hold half an answer.
                self.socket = None;
                return Err(error);
            }
            self.fresh = true;
        }
        Ok(&self.dump)
    }

    fn ask(&mut self) -> io::Result<()> {
        let socket = match &self.socket {
            Some(socket) => socket,
            None => self.socket.insert(open()?),
        };
        self.sequence = self.sequence.wrapping_add(1);
        send(socket, &request(self.sequence), SendFlags::empty())?;
        self.dump.clear();
        self.answer.resize(ANSWER_BYTES, 0);
        loop {
            let (length, _) = recv(socket, &mut self.answer[..], RecvFlags::empty())?;
            if take(&self.answer[..length], self.sequence, &mut self.dump)? {
                return Ok(());
            }
            if length == 0 || self.dump.len() > MAX_DUMP_BYTES {
                return Err(io::Error::other("the kernel's answer has no end"));
            }
        }
    }
}

fn open() -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(MAX_WAIT))?;
    bind(&socket, &SocketAddrNetlink::new(0, 0))?;
    Ok(socket)
}

/// `struct nlmsghdr` and an empty `struct ifinfomsg`.
fn request(sequence: u32) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[0..4].copy_from_slice(&32u32.to_ne_bytes());
    bytes[4..6].copy_from_slice(&RTM_GETLINK.to_ne_bytes());
    bytes[6..8].copy_from_slice(&NLM_F_REQUEST_DUMP.to_ne_bytes());
    bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
    bytes
}

/// Takes the messages of one answer; true once the dump is complete.
fn take(mut answer: &[u8], sequence: u32, dump: &mut Vec<u8>) -> io::Result<bool> {
    let malformed = || io::Error::other("the kernel's answer is malformed");
    while answer.len() >= HEADER_BYTES {
        let number = |at: usize| answer[at..].first_chunk::<4>().map_or(0, |bytes| u32::from_ne_bytes(*bytes));
        let length = number(0) as usize;
        let kind = (number(4) & 0xffff) as u16;
        let kind = if cfg!(target_endian = "big") { (number(4) >> 16) as u16 } else { kind };
        let message = answer.get(..length).filter(|message| message.len() >= HEADER_BYTES).ok_or_else(malformed)?;
        let own = number(8) == sequence;
        match kind {
            NLMSG_DONE if own => return Ok(true),
            NLMSG_ERROR if own => return Err(io::Error::other("the kernel refuses to list links")),
            _ if own => {
                dump.extend_from_slice(message);
                dump.resize(dump.len().next_multiple_of(4), 0);
            }
            // What is left of an earlier question.
            _ => {}
        }
        answer = answer.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// Speed and duplex. A device without either refuses the question.
pub(super) fn settings(device: &str) -> LinkSettings {
    let read = |file: &str| std::fs::read_to_string(format!("/sys/class/net/{device}/{file}")).ok();
    // A name is part of a path here; the kernel allows no `/` in it, and `..` is no device.
    if device.contains('/') || device.starts_with('.') {
        return LinkSettings::default();
    }
    let duplex = match read("duplex").as_deref().map(str::trim) {
        Some("full") => "full",
        Some("half") => "half",
        Some("unknown") => "unknown",
        _ => "",
    };
    LinkSettings { speed_mbit: read("speed").and_then(|speed| speed.trim().parse().ok()), duplex }
}
