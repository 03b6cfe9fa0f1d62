"""What gossip does when a network misbehaves, with real processes in network namespaces. Needs root.

Segment `a` is 10.77.1.0/24 with a1 to a5, segment `b` is fd77::/64 with b1 to b3; the collector is in both, with a pool for
each. Gossip is encrypted. Everything that is started here is ended here, whatever happens.
"""

import contextlib
import ctypes
import fcntl
import heapq
import json
import os
import re
import secrets
import select
import struct
import subprocess
import sys
import tempfile
import threading
import time

BIN = sys.argv[1]
PREFIX = f"wf{os.getpid() % 10000}"
A = [f"a{n}" for n in range(1, 6)]
B = [f"b{n}" for n in range(1, 4)]
ADDRESS = {name: f"10.77.1.{10 + n}" for n, name in enumerate(A, 1)} | {name: f"fd77::1{n}" for n, name in enumerate(B, 1)}
COLLECTOR = {"a": "10.77.1.1", "b": "fd77::1"}


def run(*command, check=True):
    done = subprocess.run(command, capture_output=True, text=True)
    if check and done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def space(name):
    return f"{PREFIX}-{name}"


def inside(name, *command, check=True):
    return run("ip", "netns", "exec", space(name), *command, check=check)


def host_port(address):
    return f"[{address}]:7950" if ":" in address else f"{address}:7950"


class SlowLink:
    """A link that takes `delay` seconds in each direction: two taps in two namespaces, and a thread that carries frames
    between them. Not every kernel has netem."""

    def __init__(self, one, other, delay):
        self.taps = [self.tap(*end) for end in (one, other)]
        self.delay = delay
        self.ends = False
        self.thread = threading.Thread(target=self.carry)
        self.thread.start()

    @staticmethod
    def tap(name, device):
        # A thread is in a namespace by itself, so one that ends there changes nothing for the others.
        made = []

        def make():
            with open(f"/run/netns/{space(name)}") as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), 0x40000000) != 0:
                    return
            tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            tap_without_header = 0x0002 | 0x1000
            fcntl.ioctl(tap, 0x400454CA, struct.pack("16sH22x", device.encode(), tap_without_header))
            made.append(tap)

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        if not made:
            raise SystemExit(f"no tap in {name}")
        return made[0]

    def carry(self):
        waiting, number = [], 0
        while not self.ends:
            wait = min(0.1, max(0.0, waiting[0][0] - time.monotonic())) if waiting else 0.1
            for tap in select.select(self.taps, [], [], wait)[0]:
                other = self.taps[1 - self.taps.index(tap)]
                number += 1
                heapq.heappush(waiting, (time.monotonic() + self.delay, number, other, os.read(tap, 65536)))
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, tap, frame = heapq.heappop(waiting)
                # A link that is down takes nothing.
                with contextlib.suppress(OSError):
                    os.write(tap, frame)

    def end(self):
        self.ends = True
        self.thread.join()
        for tap in self.taps:
            os.close(tap)


class Network:
    """The namespaces, their links, and what runs in them."""

    def __init__(self, folder):
        self.folder = folder
        self.processes = {}
        self.spaces = []
        self.slow = []
        self.key = secrets.token_hex(32)

    def build(self):
        for name in ["switch", "c", *A, *B]:
            run("ip", "netns", "add", space(name))
            self.spaces.append(name)
            inside(name, "ip", "link", "set", "lo", "up")
        for segment in "ab":
            inside("switch", "ip", "link", "add", f"br-{segment}", "type", "bridge")
            inside("switch", "ip", "link", "set", f"br-{segment}", "up")
        for name in [*A, *B]:
            self.link(name, name[0], ADDRESS[name])
        for segment, address in COLLECTOR.items():
            self.link("c", segment, address)

    def link(self, name, segment, address):
        near, far = f"to-{segment}", f"{name}-{segment}"
        run("ip", "link", "add", near, "netns", space(name), "type", "veth", "peer", "name", far, "netns", space("switch"))
        inside("switch", "ip", "link", "set", far, "master", f"br-{segment}", "up")
        self.address(name, segment, address)
        inside(name, "ip", "link", "set", near, "up")

    def slow_down(self, name, delay):
        """Puts a slow link in the place of a host's own."""
        inside(name, "ip", "link", "del", f"to-{name[0]}")
        near, far = f"to-{name[0]}", f"{name}-slow"
        self.slow.append(SlowLink((name, near), ("switch", far), delay))
        inside("switch", "ip", "link", "set", far, "master", f"br-{name[0]}", "up")
        self.address(name, name[0], ADDRESS[name])
        inside(name, "ip", "link", "set", near, "up")

    def address(self, name, segment, address):
        mask, quick = ("/64", ["nodad"]) if ":" in address else ("/24", [])
        inside(name, "ip", "addr", "add", address + mask, "dev", f"to-{segment}", *quick)

    def start(self, name):
        folder = os.path.join(self.folder, name)
        os.makedirs(folder, exist_ok=True)
        for keys in ["gossip.keys", "b.keys"]:
            path = os.path.join(folder, keys)
            if not os.path.exists(path):
                with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
                    file.write(self.key + "\n")
        program, text = ("watchfire-collector", self.collector(folder)) if name == "c" else ("watchfire-agent", self.agent(name, folder))
        config = os.path.join(folder, "config.toml")
        with open(config, "w") as file:
            file.write(text)
        log = open(os.path.join(folder, "log"), "a")
        command = ["ip", "netns", "exec", space(name), os.path.join(BIN, program), "run", "--config", config]
        self.processes[name] = subprocess.Popen(command, stdout=log, stderr=log)

    def agent(self, name, folder):
        return f"""
[node]
name = "{name}"
data_dir = "{folder}/data"
[gossip]
bind = "{host_port(ADDRESS[name])}"
join = ["{host_port(COLLECTOR[name[0]])}", "{host_port('10.77.1.200' if name in A else 'fd77::200')}"]
keyring_file = "{folder}/gossip.keys"
[collect]
interval = "1s"
"""

    def collector(self, folder):
        return f"""
[node]
name = "c"
data_dir = "{folder}/data"
[gossip]
bind = "{host_port(COLLECTOR['a'])}"
keyring_file = "{folder}/gossip.keys"
[[gossip.pool]]
name = "b"
bind = "{host_port(COLLECTOR['b'])}"
keyring_file = "{folder}/b.keys"
[ingest]
bind = "[::]:7961"
[rules]
files = []
[security]
insecure = true
"""

    def kill(self, name, number=9):
        process = self.processes.pop(name)
        process.send_signal(number)
        process.wait(10)

    def end(self):
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait(10)
        for link in self.slow:
            link.end()
        for name in self.spaces:
            run("ip", "netns", "del", space(name), check=False)

    def get(self, name, path):
        port = 7960 if name == "c" else 7951
        text = inside(name, "curl", "-s", "-m", "5", f"http://127.0.0.1:{port}{path}", check=False)
        return json.loads(text) if text else {"items": []}

    def members(self, name):
        return {member["name"]: member for member in self.get(name, "/v1/members")["items"]}

    def states(self, name):
        return {other: member["state"] for other, member in self.members(name).items()}

    def table(self, name, *rule):
        """A rule of the packet filter in a namespace; of both families where it names no address."""
        for program in ["iptables", "ip6tables"]:
            addresses = [word for word in rule if ":" in word or word.count(".") == 3]
            if not addresses or (":" in addresses[0]) == (program == "ip6tables"):
                inside(name, program, *rule)

    def calm(self, *names):
        for name in names:
            for program in ["iptables", "ip6tables"]:
                inside(name, program, "-F")

    def until(self, seconds, what, done):
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            if done():
                took = time.monotonic() - began
                print(f"  {what}: {took:.1f} s", flush=True)
                return took
            time.sleep(0.1)
        for name in self.processes:
            print(name, self.states(name))
        raise SystemExit(f"{what}: not within {seconds} s")

    def downs(self):
        """Every change to down that anybody has logged so far, as (who, about whom)."""
        seen = []
        for name in [*A, *B, "c"]:
            with open(os.path.join(self.folder, name, "log")) as file:
                found = (re.search(r'member="?([^" ]+)"? .*state="?down', line) for line in file)
                seen += [(name, match.group(1)) for match in found if match]
        return seen


@contextlib.contextmanager
def accused(network, allowed=()):
    """Nobody may be declared down meanwhile but those who are allowed to be."""
    before = len(network.downs())
    yield
    wrong = [(by, about) for by, about in network.downs()[before:] if about not in allowed]
    if wrong:
        raise SystemExit(f"declared down although well: {wrong}")


def all_alive(network, observers, names):
    want = dict.fromkeys(names, "alive")
    return lambda: all(network.states(name) == want for name in observers)


def step(text):
    print(text, flush=True)


def trial(network):
    step("two segments, one collector in both")
    for name in ["c", *A, *B]:
        network.start(name)
    everybody = ["c", *A, *B]
    network.until(30, "the collector lists all", all_alive(network, ["c"], everybody))
    network.until(15, "segment a lists itself", all_alive(network, A, ["c", *A]))
    network.until(15, "segment b lists itself", all_alive(network, B, ["c", *B]))
    pools = {name: member.get("pools") for name, member in network.members("c").items()}
    assert pools["a1"] == ["default"] and pools["b1"] == ["b"] and sorted(pools["c"]) == ["b", "default"], pools
    own = network.get("c", "/v1/nodes")["items"]
    assert len(own) == len(everybody), own
    healthy = lambda: all(node["health"] == "ok" for node in network.get("c", "/v1/nodes")["items"])
    network.until(30, "agents of both segments report", healthy)

    step("30 % of all datagrams are lost")
    with accused(network):
        for name in everybody:
            network.table(name, "-A", "INPUT", "-p", "udp", "-m", "statistic", "--mode", "random", "--probability", "0.3", "-j", "DROP")
        time.sleep(20)
        network.calm(*everybody)

    step("one link carries one way only")
    with accused(network):
        network.table("a4", "-A", "INPUT", "-s", ADDRESS["a3"], "-j", "DROP")
        time.sleep(12)
        network.calm("a4")

    step("a silent host")
    with accused(network, allowed=["a5"]):
        network.table("a5", "-A", "INPUT", "-i", "to-a", "-j", "DROP")
        network.table("a5", "-A", "OUTPUT", "-o", "to-a", "-j", "DROP")
        rest = ["c", *A[:4]]
        network.until(15, "known to all", lambda: all(network.states(name).get("a5") == "down" for name in rest))
        network.until(10, "as a silent one", lambda: network.members("c")["a5"].get("cause") == "silent")
        assert "down" not in network.states("a5").values(), network.states("a5")
        network.calm("a5")
        network.until(5, "back after healing", all_alive(network, A, ["c", *A]))

    step("segment a is cut in two")
    one, other = A[:2], [*A[2:], "c"]
    where = ADDRESS | {"c": COLLECTOR["a"]}
    for name in one:
        for far in other:
            network.table(name, "-A", "INPUT", "-s", where[far], "-j", "DROP")
            network.table(name, "-A", "OUTPUT", "-d", where[far], "-j", "DROP")
    # The two are too few to confirm what they suspect, so they take their time.
    lost = lambda: all(network.states(by).get(name) == "down" for by in other for name in one)
    network.until(30, "the larger part knows", lost)
    doubts = lambda: all(network.states(by).get(name) != "alive" for by in one for name in other)
    network.until(30, "the smaller part suspects", doubts)
    assert all(network.states("c")[name] == "alive" for name in B), "the other segment is not concerned"
    with accused(network):
        network.calm(*one)
        network.until(8, "one again after healing", all_healed(network))
        time.sleep(5)

    step("an agent is killed, over IPv6")
    network.kill("b2")
    network.until(4, "known to all", lambda: all(network.states(name).get("b2") == "down" for name in ["c", "b1", "b3"]))
    assert network.members("c")["b2"]["cause"] == "refused", network.members("c")["b2"]
    network.start("b2")
    network.until(5, "back", all_alive(network, B, ["c", *B]))

    step("a host moves to another address")
    with accused(network):
        before = network.members("b1")["b3"]
        network.kill("b3", 15)
        inside("b3", "ip", "addr", "del", ADDRESS["b3"] + "/64", "dev", "to-b")
        ADDRESS["b3"] = "fd77::33"
        network.address("b3", "b", ADDRESS["b3"])
        network.start("b3")
        moved = lambda name: network.members(name).get("b3", {}).get("addr") == "[fd77::33]:7950"
        network.until(5, "known to all", lambda: all(moved(name) for name in ["c", "b1", "b2"]))
        network.until(5, "alive", all_alive(network, B, ["c", *B]))
        assert network.members("b1")["b3"]["id"] == before["id"]

    step("a link takes 20 ms in each direction")
    with accused(network):
        network.slow_down("a4", 0.02)
        near = lambda by, about, low, high: low <= (network.members(by).get(about, {}).get("rtt_ms") or 0) <= high
        others = ["a1", "a3", "a5"]
        # A busy machine adds its own time, so the slow link is told from the others with much room.
        network.until(120, "its round trips show", lambda: all(near(name, "a4", 38, 120) for name in others))
        network.until(60, "and the others' as they see it", lambda: all(near("a4", name, 38, 120) for name in others))
        quick = lambda: all(near(by, about, 0, 30) for by in others for about in others if by != about)
        network.until(60, "the other links are as before", quick)

    step("an agent leaves")
    network.kill("a2", 15)
    network.until(2, "known to all", lambda: all(network.states(name).get("a2") == "left" for name in ["c", "a1", "a3"]))


def all_healed(network):
    in_a = all_alive(network, A, ["c", *A])
    at_c = all_alive(network, ["c"], ["c", *A, *B])
    return lambda: in_a() and at_c()


def main():
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gossip-network-") as folder:
        network = Network(folder)
        try:
            network.build()
            trial(network)
        except BaseException:
            for name in sorted(network.processes):
                with open(os.path.join(folder, name, "log")) as file:
                    print(f"--- {name}\n" + "".join(file.readlines()[-15:]))
            raise
        finally:
            network.end()
    print(f"gossip on a real network: {time.monotonic() - began:.0f} s")


main()
