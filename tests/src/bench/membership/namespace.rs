//! The network namespace of a benchmark: how it is entered, its addresses, its traffic, and hosts that fall silent in it.
//!
//! `unshare` and `ip` belong to every Linux; what drops packets is nftables or iptables, from `PATH` or `PEERS`.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use super::super::{Effort, peer};
use super::Part;

/// Why there can be no namespace here.
pub(super) fn unavailable() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("only root can make a network namespace");
    }
    let missing = ["unshare", "ip"].into_iter().any(|program| peer(program).is_none());
    missing.then_some("unshare and ip are needed to make a network namespace")
}

/// Runs this program again, in a namespace of its own, to its end.
pub(super) async fn enter(binary: &Path, effort: Effort, part: &Part) -> anyhow::Result<()> {
    let mut command = tokio::process::Command::new("unshare");
    // A process namespace as well, so that no member outlives the benchmark, however that ends.
    command
        .args(["--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--"])
        .arg(binary)
        .args(["--only", "membership", "--inside"])
        .args(part.arguments())
        .kill_on_drop(true);
    if effort == Effort::Full {
        command.arg("--full");
    }
    let status = command.status().await.context("cannot start unshare")?;
    anyhow::ensure!(status.success(), "the benchmark of the membership failed");
    Ok(())
}

pub(super) fn loopback_up() -> anyhow::Result<()> {
    run(Command::new("ip").args(["link", "set", "lo", "up"]))
}

/// The address of a member; all of 127.0.0.0/8 is this host.
pub(super) fn address(member: usize) -> Ipv4Addr {
    let number = u16::try_from(member + 1).unwrap_or(u16::MAX);
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(127, 1, high, low)
}

/// Bytes that were sent in this namespace, headers included.
pub(super) fn sent_bytes() -> anyhow::Result<f64> {
    // `/sys` shows the namespace in which it was mounted; `/proc/self` shows one's own.
    let devices = std::fs::read_to_string("/proc/self/net/dev")?;
    let line =
        devices.lines().find_map(|line| line.trim().strip_prefix("lo:")).context("there is no loopback device")?;
    let sent = line.split_whitespace().nth(8).context("the loopback device counts nothing")?;
    Ok(sent.parse()?)
}

/// What drops packets.
pub(super) struct Firewall {
    program: PathBuf,
    iptables: bool,
}

impl Firewall {
    /// The packet filter that is installed, made ready.
    pub(super) fn find() -> Option<Self> {
        let nft = peer("nft").map(|program| Self { program, iptables: false });
        let firewall = nft.or_else(|| peer("iptables").map(|program| Self { program, iptables: true }))?;
        let ready = firewall.iptables
            || ["add table ip bench", "add chain ip bench in { type filter hook input priority 0 ; }"]
                .into_iter()
                .all(|rule| firewall.rule(rule).is_ok());
        ready.then_some(firewall)
    }

    /// Drops what a host sends and what is sent to it.
    pub(super) fn silence(&self, host: Ipv4Addr) -> anyhow::Result<()> {
        for (nft, iptables) in [("saddr", "-s"), ("daddr", "-d")] {
            match self.iptables {
                true => self.rule(&format!("-A INPUT {iptables} {host} -j DROP"))?,
                false => self.rule(&format!("add rule ip bench in ip {nft} {host} drop"))?,
            }
        }
        Ok(())
    }

    /// Drops gossip between a host and all others, whoever opened the connection; what else it serves goes on.
    pub(super) fn isolate(&self, host: Ipv4Addr, port: u16) -> anyhow::Result<()> {
        for (nft, iptables) in [("saddr", "-s"), ("daddr", "-d")] {
            self.gossip(port, &format!("ip {nft} {host}"), &format!("{iptables} {host}"))?;
        }
        Ok(())
    }

    /// Drops gossip between hosts with even and with odd addresses.
    pub(super) fn split(&self, port: u16) -> anyhow::Result<()> {
        for (from, to) in [(0, 1), (1, 0)] {
            self.gossip(
                port,
                &format!("ip saddr & 255.0.0.1 == 127.0.0.{from} ip daddr & 255.0.0.1 == 127.0.0.{to}"),
                &format!("-s 127.0.0.{from}/255.0.0.1 -d 127.0.0.{to}/255.0.0.1"),
            )?;
        }
        Ok(())
    }

    /// Drops that share of gossip's datagrams, in hundredths.
    pub(super) fn lose(&self, percent: u32, port: u16) -> anyhow::Result<()> {
        match self.iptables {
            true => self.rule(&format!(
                "-A INPUT -p udp --dport {port} -m statistic --mode random --probability {:.2} -j DROP",
                f64::from(percent) / 100.0
            )),
            false => {
                self.rule(&format!("add rule ip bench in udp dport {port} numgen random mod 100 < {percent} drop"))
            }
        }
    }

    /// Drops datagrams by their addresses, and every connection: those have no address of their member's in this namespace.
    fn gossip(&self, port: u16, nft: &str, iptables: &str) -> anyhow::Result<()> {
        match self.iptables {
            true => {
                self.rule(&format!("-A INPUT -p udp --dport {port} {iptables} -j DROP"))?;
                self.rule(&format!("-A INPUT -p tcp --dport {port} -j DROP"))
            }
            false => {
                self.rule(&format!("add rule ip bench in {nft} udp dport {port} drop"))?;
                self.rule(&format!("add rule ip bench in tcp dport {port} drop"))
            }
        }
    }

    pub(super) fn let_all_through(&self) -> anyhow::Result<()> {
        self.rule(if self.iptables { "-F INPUT" } else { "flush chain ip bench in" })
    }

    fn rule(&self, words: &str) -> anyhow::Result<()> {
        let mut command = Command::new(&self.program);
        command.args(words.split(' '));
        // A program that was only unpacked finds its libraries beside it.
        if let Some(peers) = std::env::var_os("PEERS").map(PathBuf::from) {
            let folders =
                ["root/usr/lib/x86_64-linux-gnu", "root/lib/x86_64-linux-gnu"].map(|folder| peers.join(folder));
            command.env("LD_LIBRARY_PATH", std::env::join_paths(folders)?);
        }
        run(&mut command)
    }
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    let told = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{:?} failed: {}", command.get_program(), told.trim());
    Ok(())
}
