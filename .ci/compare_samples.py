"""Asks two servers for the same raw samples, and the same queries, and compares what they say.

Raw samples are equal to the last bit and millisecond, but in VictoriaMetrics, which keeps fifteen decimal digits of a value: a
clock with microseconds (`node_time_seconds`) has sixteen. What is computed of them may be rounded otherwise.

Usage: compare_samples.py OURS THEIRS prometheus|victoria START END
"""

import json
import math
import sys
import urllib.parse
import urllib.request

# What agents sent. The collector's own series are left out: what it wrote of itself in the second before kill -9 may have
# been sent on and not have been durable here.
SENT = '{job="node",__name__!="up"}'
# Both languages define these alike.
QUERIES = [
    'sum by (instance, mode) (node_cpu_seconds_total)',
    'node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes',
    'count by (instance) ({job="node",__name__!="up"})',
    'max by (instance) (node_load1)',
    'count_over_time(node_load1[1s])',
    'topk(3, count by (__name__) ({job="node",__name__!="up"}))',
    'sum by (instance) (node_network_receive_bytes_total{device!="lo"})',
]
# Two units of the fifteenth digit, and none.
RAW_TOLERANCE = {"victoria": 2e-15, "prometheus": 0}
# VictoriaMetrics' rate does not extrapolate.
PROMETHEUS_ONLY = [
    'sum by (mode) (rate(node_cpu_seconds_total[10s]))',
    'rate(node_context_switches_total[15s])',
    'deriv(node_memory_MemFree_bytes[20s])',
]


def ask(base, path, **parameters):
    data = urllib.parse.urlencode(parameters).encode()
    with urllib.request.urlopen(f"{base}/api/v1/{path}", data=data, timeout=60) as response:
        series = json.load(response)["data"]["result"]
    return {
        (json.dumps(one["metric"], sort_keys=True), round(float(at) * 1000)): value
        for one in series
        for at, value in one["values"]
    }


def compare(what, ours, theirs, tolerance=1e-12):
    def same(key):
        return key in ours and key in theirs and math.isclose(float(ours[key]), float(theirs[key]), rel_tol=tolerance)

    wrong = [key for key in sorted(set(ours) | set(theirs)) if not same(key)]
    if wrong or not ours:
        print(f"FAILED: {what}: {len(ours)} of ours, {len(theirs)} of theirs, {len(wrong)} differ")
        for key in wrong[:8]:
            print(f"  {key[0]} at {key[1]}: {ours.get(key)} for {theirs.get(key)}")
        return 1
    print(f"  {what}: {len(ours)} points are equal")
    return 0


def main(ours, theirs, kind, start, end):
    start, end = int(start), int(end)
    # Between two ticks, so that it does not matter which end of a range is open.
    raw = [ask(base, "query", query=f"{SENT}[{end - start}s]", time=end + 0.5) for base in (ours, theirs)]
    # VictoriaMetrics shows stale markers, as the NaN that they are. No other sample is one.
    markers = sum(value == "NaN" for value in raw[1].values())
    theirs_without = {key: value for key, value in raw[1].items() if value != "NaN"}
    failed = compare("raw samples", raw[0], theirs_without, RAW_TOLERANCE[kind])
    if kind == "victoria" and not markers:
        print("FAILED: there are no stale markers of the agent that died")
        failed += 1
    for query in QUERIES + (PROMETHEUS_ONLY if kind == "prometheus" else []):
        asked = dict(query=query, start=start + 30 + 0.5, end=end + 0.5, step=1)
        if kind == "victoria":
            asked["nocache"] = 1
        failed += compare(query, *(ask(base, "query_range", **asked) for base in (ours, theirs)))
    return 1 if failed else 0


sys.exit(main(*sys.argv[1:]))
