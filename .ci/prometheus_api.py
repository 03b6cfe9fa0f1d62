"""Compares what two servers answer to the same requests of Prometheus' API: statuses, shapes and texts of errors, and where
both hold the same samples the results themselves.

Usage: prometheus_api.py OURS THEIRS
"""

import gzip
import json
import sys
import urllib.error
import urllib.parse
import urllib.request

# Requests whose answers do not depend on what is stored.
SAME = [
    "query", "query?query=1%2B", "query?query=up[5m", "query?query=%22a%22&time=1.5", "query?query=1&time=x",
    "query?query=1&time=1435781430.781&limit=-1", "query?query=1&limit=x", "query?query=1&timeout=x",
    "query?query=1&lookback_delta=x", "query?query=1%2B1&time=1",
    "query?query=vector(1)/3&time=2.25", "query?query=no_such_metric&time=5",
    "query?query=vector(1e21)&time=5", "query?query=vector(693014607007732.25)&time=5", "query?query=vector(-Inf)&time=5", "query?query=vector(2.5e-7)&time=5",
    "query?query=no_such_metric[5m]&time=5", "query?query=topk(1,vector(1),2)", "query?query=sum(1)",
    "query?query=rate(no_such_metric)", "query?query=unknown_function(1)", "query?query=vector(1)%20and%202",
    "query?query=label_replace(vector(1),%22a%22,%22b%22,%22c%22,%22[%22)&time=1",
    "query_range?query=up", "query_range?query=up&start=1", "query_range?query=up&start=1&end=2",
    "query_range?query=up[5m]&start=1&end=2&step=1", "query_range?query=1&start=2&end=1&step=1",
    "query_range?query=1&start=0&end=1&step=0", "query_range?query=1&start=0&end=11001&step=1",
    "query_range?query=time()&start=0.5&end=3&step=1", "query_range?query=vector(time())&start=0&end=30&step=15s",
    "query_exemplars", "query_exemplars?query=up", "format_query", "format_query?query=sum(up)by(job)",
    "format_query?query=rate(a{b=%22c%22}[5m]%20offset%201m)%3E%20bool%202",
    "series", "series?match[]=1%2B1", "series?match[]=%7B", "series?match[]=%7Bx=%22%22%7D", "series?match[]=up&start=x",
    "series?match[]=no_such_metric", "labels?start=x", "labels?start=10&end=5", "labels?limit=-1", "labels?match[]=(",
    "label/a-b/values", "metadata?limit=x", "metadata?metric=no_such_metric", "rules?type=x", "rules?exclude_alerts=x",
    "rules?group_limit=x", "rules?group_limit=0", "rules?group_next_token=x", "rules?group_next_token=x&group_limit=1",
    "targets?state=x", "alertmanagers", "notifications", "status/walreplay", "status/tsdb?limit=0",
]
# Expressions that are shown as trees, and in their usual form.
QUERIES = [
    "1", "-1", "+.5e3", "0x1F", "Inf", "-inf", "NaN", "1e21", "1h30m", '"a\\n"', "up", "-up", "- -up", "(up)", "-1^2", "2 - -3",
    'up{job!="a",instance=~"b.*",x!~""}', '{__name__="up"}', "up offset 5m", "up offset -1w",
    "up @ 1.5", "up @ start() offset 1h", "up @ end()", "up[5m]", "up[300] @ 10 offset 5m", "up[1h:]", "up[1h:5m] offset 1d",
    "(up + 1)[5m:1m] @ end()", "rate(up[5m])", "time()", "pi()", "vector(1)", "round(up)", "round(up, 2)", "hour()", "hour(up)",
    'label_replace(up, "a", "$1", "b", "(.*)")', 'label_join(up, "a", ",", "b", "c", "d")', "label_join(up, 'a', ',')",
    "histogram_quantile(0.9, sum by (le) (rate(x_bucket[5m])))", "predict_linear(up[1h], 4 * 3600)", "absent(up)",
    "quantile_over_time(0.5, up[5m])", "clamp(up, 0, 1)", "timestamp(up offset 1m)", "scalar(up)", "sort_desc(up)",
    "sum(up)", "sum by () (up)", "sum(up) by (job, instance)", "avg without (job) (up)", "topk by (a) (5, up)", "group without () (up)",
    'count_values("v", up)', "quantile(0.5, up)", "stddev by (\"a b\") (up)", "1 + 2 * 3 ^ 4 ^ 5 % 6", "1 == bool 2", "up > 1",
    "1 > bool up", "a + on () b", "a - ignoring (x) b", "a * on (x, y) group_left b", "a / ignoring (x) group_right (y, z) b",
    "a > bool on (x) group_left () b", "a and b or c unless d", "a and on (x) b", "a or ignoring (x) b", "a atan2 b", "a + 1 - b",
    "sum(a) / sum(b) > 0.5 and on () vector(1)",
    "100 * (1 - avg by (instance) (rate(node_cpu_seconds_total{mode=\"idle\"}[5m]))) > 80 and on (instance) node_uname_info{x=\"y\"}",
    "(node_filesystem_avail_bytes{fstype!~\"tmpfs|overlay\"} / node_filesystem_size_bytes{fstype!~\"tmpfs|overlay\"}) * 100 < 10",
    "-(max_over_time(node_filesystem_avail_bytes{fstype!~\"tmpfs|overlay\", mountpoint=~\"/var/lib/.+\"}[1h])) + (time() - vector(1))",
    "topk(3, sum by (job, instance) (rate(a_long_metric_name_total{code=~\"5..\", handler=\"/api/v1/query\"}[5m] offset 1d)))",
    "label_replace(max_over_time((rate(a_long_metric_name_total{code=~\"5..\", handler=\"/api/v1/query\"}[5m]) > 0)[1h:1m] offset 5m), \"a\", \"$1\", \"b\", \"(.*)\")",
    "a_long_metric_name_total{code=~\"5..\", handler=\"/api/v1/query\"} / on (instance, job) group_left (version, revision) build_info_of_it",
    "sum(", "rate(up)", "up[5m", "foo bar", "1 and up", "{}", "sum(up", "", "up{a=}", "topk(up)",
    # Clauses beside a number.
    "1 + on () up", "1 + ignoring () group_left (a) 2", "1 + on (a) up", "1 and on (a) up", "1 < on () 2", "1 == 1",
    "up + on (a) group_left (a) 1", '"a" + on (a) up',
]
# Other texts, and the statuses with which they come.
TEXTS = ["federate", "federate?match[]=no_such_metric", "federate?match[]=1%2B1", "federate?match[]=%7B%7D",
         "federate?match[]=%7B__name__%3D~%22%7Cno_such%22%7D"]
# What a scraper takes, and so the kind of text that it gets.
ACCEPTS = [
    "", "*/*", "text/html", "text/plain;version=0.0.4", "text/plain;version=1.0.0;escaping=allow-utf-8",
    "text/plain;version=0.0.4;escaping=dots", "text/plain;version=1.0.0;escaping=values;q=0.5,text/plain;escaping=dots;q=0.4",
    "text/plain;version=1.0.0;escaping=nonsense", "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8",
]
# Requests of which the fields have to be there, whatever they hold.
FIELDS = ["status/buildinfo", "status/runtimeinfo", "status/tsdb", "status/config", "metadata?limit=1", "scrape_pools", "rules",
          "alerts", "targets?state=active", "query?query=1&stats=all"]


def ask(base, path, data=None, headers=None, root="api/v1/"):
    request = urllib.request.Request(f"{base}/{root}{path}", data=data, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, dict(response.headers), response.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def shape(value):
    """Names of fields, as deep as both have them; a list by its first item, a map of metrics as such."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__ if not isinstance(value, (int, float)) or isinstance(value, bool) else "number"


def without_new(value):
    """A tree without the fields that Prometheus got after the release that is at hand."""
    if isinstance(value, dict):
        return {key: without_new(item) for key, item in value.items() if key not in ("anchored", "smoothed", "fillValues")}
    return [without_new(item) for item in value] if isinstance(value, list) else value


def missing(ours, theirs, path=""):
    """Fields of theirs that ours lack."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key, item in theirs.items():
            if key in ours:
                yield from missing(ours[key], item, f"{path}.{key}")
            else:
                yield f"{path}.{key}"
    elif isinstance(theirs, list) and isinstance(ours, list):
        if ours and theirs:
            yield from missing(ours[0], theirs[0], f"{path}[]")
    elif theirs != ours:
        yield f"{path}: {ours} for {theirs}"


def main(ours, theirs):
    failed = 0
    for path in SAME:
        answers = [ask(base, path) for base in (ours, theirs)]
        bodies = [json.loads(body) for _, _, body in answers]
        if answers[0][0] != answers[1][0] or bodies[0] != bodies[1]:
            failed += 1
            print(f"FAILED: {path}\n  ours   {answers[0][0]} {bodies[0]}\n  theirs {answers[1][0]} {bodies[1]}")
    for query in QUERIES:
        for path in ("format_query", "parse_query"):
            answers = [ask(base, f"{path}?{urllib.parse.urlencode({'query': query})}") for base in (ours, theirs)]
            bodies = [without_new(json.loads(body)) for _, _, body in answers]
            if answers[0][0] != answers[1][0] or bodies[0] != bodies[1]:
                failed += 1
                print(f"FAILED: {path} of {query}\n  ours   {answers[0][0]} {bodies[0]}\n  theirs {answers[1][0]} {bodies[1]}")
    for path in TEXTS:
        answers = [ask(base, path, root="") for base in (ours, theirs)]
        if answers[0][0] != answers[1][0] or answers[0][2] != answers[1][2]:
            failed += 1
            print(f"FAILED: {path}\n  ours   {answers[0][0]} {answers[0][2]}\n  theirs {answers[1][0]} {answers[1][2]}")
    for accept in ACCEPTS:
        answers = [ask(base, "federate?match[]=up", headers={"Accept": accept}, root="") for base in (ours, theirs)]
        kinds = [answer[1].get("Content-Type", answer[1].get("content-type")) for answer in answers]
        if kinds[0] != kinds[1]:
            failed += 1
            print(f"FAILED: Accept: {accept}\n  ours   {kinds[0]}\n  theirs {kinds[1]}")
    for path in FIELDS:
        bodies = [json.loads(ask(base, path)[2]) for base in (ours, theirs)]
        if path.startswith("metadata"):
            bodies = [{"data": list(body["data"].values())} for body in bodies]
        lacking = list(missing(shape(bodies[0]), shape(bodies[1])))
        if lacking:
            failed += 1
            print(f"FAILED: {path} lacks {', '.join(lacking)}")
    failed += manners(ours)
    print(f"{len(SAME) + len(TEXTS)} answers, {len(QUERIES)} expressions and {len(FIELDS)} shapes compared, {failed} failed")
    return 1 if failed else 0


def manners(base):
    """Forms of requests and answers."""
    failed = 0
    form = urllib.parse.urlencode({"query": "1+1", "time": "2"}).encode()
    status, headers, body = ask(base, "query", form, {"Content-Type": "application/x-www-form-urlencoded"})
    if (status, json.loads(body)["data"]["result"]) != (200, [2, "2"]):
        failed += 1
        print(f"FAILED: a form: {status} {body}")
    path = "query_range?query=vector(time())&start=0&end=1000&step=1"
    plain = ask(base, path)[2]
    status, headers, packed = ask(base, path, headers={"Accept-Encoding": "gzip"})
    if headers.get("content-encoding") != "gzip" or gzip.decompress(packed) != plain:
        failed += 1
        print(f"FAILED: gzip: {headers}")
    return failed


sys.exit(main(*sys.argv[1:]))
