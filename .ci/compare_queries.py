"""Asks two servers the same queries of Prometheus' API over the same past minute and compares the results.

Usage: compare_queries.py OURS THEIRS [SECONDS_BACK]

Values may differ by rounding where sums are of many series, whose order is free; of single series not even the last bit
may differ. Times and labels may not differ at all.
"""

import json
import math
import sys
import time
import urllib.parse
import urllib.request

QUERIES = [
    'up{job=~"prom|node"}',
    'count by (job) ({job=~"prom|node"})',
    'sum by (job) (rate(process_cpu_seconds_total{job=~"prom|node"}[10s]))',
    'rate(prometheus_http_requests_total{job="prom"}[15s])',
    'sum by (mode) (rate(node_cpu_seconds_total{job="node"}[10s]))',
    'node_memory_MemAvailable_bytes{job="node"} / node_memory_MemTotal_bytes',
    'histogram_quantile(0.9, sum by (le) (rate(prometheus_http_request_duration_seconds_bucket{job="prom"}[20s])))',
    'max_over_time(go_goroutines{job="prom"}[15s])',
    'changes(process_start_time_seconds{job=~"prom|node"}[30s])',
    'absent(no_such_metric)',
    'topk(3, count by (__name__) ({job="node"}))',
    'count_over_time(scrape_duration_seconds{job=~"prom|node"}[20s])',
    'sum(scrape_samples_scraped{job=~"prom|node"}) by (instance)',
]
# Of single series.
EXACT = [
    *(f'{function}(node_cpu_seconds_total{{job="node"}}[10s])' for function in [
        "rate", "increase", "delta", "irate", "idelta", "deriv", "changes", "resets", "avg_over_time", "sum_over_time",
        "stddev_over_time", "stdvar_over_time", "min_over_time", "last_over_time", "present_over_time",
    ]),
    'rate(process_cpu_seconds_total{job=~"prom|node"}[7500ms])',
    'increase(prometheus_http_requests_total{job="prom"}[11s] offset 1500ms)',
    'delta(node_memory_MemFree_bytes{job="node"}[9s])',
    'predict_linear(node_memory_MemAvailable_bytes{job="node"}[20s], 3600)',
    'quantile_over_time(0.9, scrape_duration_seconds{job=~"prom|node"}[20s])',
    'avg_over_time(rate(process_cpu_seconds_total{job="node"}[5s])[15s:1s])',
    'sqrt(node_load1{job="node"}) + ln(node_load5{job="node"}) * exp(-node_load15{job="node"})',
    'node_memory_MemAvailable_bytes{job="node"} / node_memory_MemTotal_bytes % 0.1',
]


def ask(base, query, start, end):
    data = urllib.parse.urlencode({"query": query, "start": start, "end": end, "step": 1}).encode()
    with urllib.request.urlopen(f"{base}/api/v1/query_range", data=data, timeout=60) as response:
        series = json.load(response)["data"]["result"]
    return {json.dumps(one["metric"], sort_keys=True): dict(one["values"]) for one in series}


def near(ours, theirs):
    a, b = float(ours), float(theirs)
    return ours == theirs or (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=1e-9)


def differences(ours, theirs, equal):
    for metric in sorted(set(ours) | set(theirs)):
        left, right = ours.get(metric, {}), theirs.get(metric, {})
        for at in sorted(set(left) | set(right)):
            if at not in left or at not in right or not equal(left[at], right[at]):
                yield f"{metric} at {at}: {left.get(at)} for {right.get(at)}"


def main(ours, theirs, back=30):
    end = int(time.time()) - 3
    start, failed, points = end - int(back), 0, 0
    for query in QUERIES + EXACT:
        answers = [ask(base, query, start, end) for base in (ours, theirs)]
        points += sum(len(values) for values in answers[1].values())
        found = list(differences(*answers, near if query in QUERIES else str.__eq__))
        if found or not answers[1]:
            failed += 1
            print(f"FAILED: {query}: {len(found)} differences\n  " + "\n  ".join(found[:5]))
    print(f"{len(QUERIES)} queries and {len(EXACT)} to the last bit, {points} points compared, {failed} failed")
    return 1 if failed else 0


sys.exit(main(*sys.argv[1:]))
