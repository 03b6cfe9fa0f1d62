"""Compares two text expositions of one host: families that must be in both, their types, labels and values.

Exit code 1 names what is missing or differs. Counters move between the two scrapes, hence the tolerances.
"""
import re
import sys

# Families that Watchfire promises under node_exporter's names; others are reported, not required.
REQUIRED = re.compile(
    r"node_(cpu_seconds_total|cpu_guest_seconds_total|load1|load5|load15|memory_\w+_bytes|filesystem_(avail|size|free)_bytes"
    r"|filesystem_files(_free)?|filesystem_(readonly|device_error)|disk_\w+|network_(receive|transmit)_\w+_total|network_up"
    r"|vmstat_\w+|filefd_(allocated|maximum)|context_switches_total|forks_total|intr_total|boot_time_seconds|procs_\w+"
    r"|sockstat_\w+|netstat_\w+|pressure_\w+|time_seconds|uname_info)$"
)
# Gauges that move by themselves between two scrapes.
RESTLESS = re.compile(r"node_(load\d+|memory_\w+|procs_\w+|sockstat_\w+|filefd_allocated|filesystem_(avail|free)_bytes|filesystem_files_free|disk_io_now|pressure_\w+|netstat_\w+|vmstat_\w+|time_seconds)$")
# What node_exporter 1.5 has and is not promised: by udev, by options, or of its own process.
EXEMPT = re.compile(r"node_disk_info|node_network_(receive|transmit)_colls_total|node_disk_device_mapper_info|node_disk_ata|node_disk_filesystem_info")


def read(path):
    types, values = {}, {}
    for line in open(path):
        line = line.rstrip("\n")
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            types[name] = kind
        elif line and not line.startswith("#"):
            series, value = line.rsplit(" ", 1)
            name, _, labels = series.partition("{")
            # An empty label is an absent one.
            pairs = tuple(sorted(p for p in re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels) if p[1]))
            values[(name, pairs)] = float(value)
    return types, values


def main():
    (our_types, ours), (their_types, theirs) = read(sys.argv[1]), read(sys.argv[2])
    wrong, compared = [], 0
    for (name, labels), value in sorted(theirs.items()):
        if not REQUIRED.match(name) or EXEMPT.match(name):
            continue
        if (name, labels) not in ours:
            wrong.append(f"missing: {name}{dict(labels)}")
            continue
        compared += 1
        if our_types.get(name) != their_types.get(name):
            wrong.append(f"type of {name}: {our_types.get(name)}, node_exporter has {their_types.get(name)}")
        own = ours[(name, labels)]
        allowed = max(abs(value) * (0.5 if RESTLESS.match(name) else 0.05), 64 << 20 if "bytes" in name else 500)
        if abs(own - value) > allowed:
            wrong.append(f"value of {name}{dict(labels)}: {own}, node_exporter has {value}")
    print(f"{compared} series agree with node_exporter's, {len(wrong)} do not")
    print("\n".join(wrong[:40]))
    sys.exit(1 if wrong or compared < 100 else 0)


main()
