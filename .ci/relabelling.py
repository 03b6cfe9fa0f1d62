"""Rules of relabelling, all actions of them: as they stand in collector.toml and in prometheus.yml, and whether the collector's
remote write makes the same of a series with them as a Prometheus that scrapes the collector's /federate.

Usage: relabelling.py toml|yaml
       relabelling.py compare COLLECTOR PROMETHEUS VICTORIA
"""

import hashlib
import json
import sys
import urllib.parse
import urllib.request

KEPT = r"node_(load\d+|cpu_.*|network_.*|filesystem_.*|memory_Mem.*|uname_info);node"
RULES = [
    {"source_labels": ["__name__", "job"], "regex": KEPT, "action": "keep"},
    {"source_labels": ["mode"], "regex": "idle|nice", "action": "drop"},
    {"source_labels": ["__name__"], "regex": "node_(.*)", "target_label": "__name__", "replacement": "copied_$1"},
    {"source_labels": ["instance"], "target_label": "shard", "modulus": 8, "action": "hashmod"},
    {"source_labels": ["instance", "replica", "absent"], "separator": "/", "target_label": "path"},
    {"regex": "mo(.*)", "replacement": "of_${1}_x", "action": "labelmap"},
    {"source_labels": ["mode"], "regex": "(.)(.*)", "target_label": "mode_$1", "replacement": "${2}$3$$"},
    {"regex": "mode|job", "action": "labeldrop"},
    {"source_labels": ["device"], "target_label": "DEVICE", "action": "uppercase"},
    {"source_labels": ["DEVICE"], "target_label": "device_again", "action": "lowercase"},
    {"source_labels": ["absent"], "target_label": "absent_too", "action": "keepequal"},
    {"source_labels": ["instance", "device"], "regex": "(.*;lo)", "target_label": "loop"},
    {"source_labels": ["instance", "device"], "target_label": "loop", "action": "dropequal"},
    {"source_labels": ["device"], "regex": "(e|/dev).*", "target_label": "device", "replacement": ""},
    {"regex": "[^rv].*|re[^l].*|ro.*", "action": "labelkeep"},
    {"target_label": "both", "replacement": "x y"},
]


def toml(rule):
    return "{ " + ", ".join(f"{key} = {json.dumps(value)}" for key, value in rule.items()) + " }"


def ask(base, path, **parameters):
    with urllib.request.urlopen(f"{base}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=60) as response:
        return json.load(response)["data"]


def texts(series):
    return sorted(json.dumps(labels, sort_keys=True) for labels in series)


def samples(base, query, at, remove):
    found = {}
    for one in ask(base, "query", query=query, time=at)["result"]:
        key = json.dumps({name: value for name, value in one["metric"].items() if name not in remove}, sort_keys=True)
        found[key] = float(one["value"][1])
    return found


def check(what, ours, theirs):
    if ours != theirs or not ours:
        ours, theirs = (set(map(str, part.items() if isinstance(part, dict) else part)) for part in (ours, theirs))
        print(f"FAILED: {what}: {len(ours)} of ours, {len(theirs)} of theirs")
        print(f"  only ours: {sorted(ours - theirs)[:5]}")
        print(f"  only theirs: {sorted(theirs - ours)[:5]}")
        return 1
    print(f"  {what}: {len(ours)} are equal")
    return 0


def compare(ours, prometheus, victoria):
    failed = 0
    # What was scraped went through Prometheus' own relabelling, and its one more rule says so.
    scraped = [dict(labels) for labels in ask(prometheus, "series", **{"match[]": '{way="scraped"}'})]
    scraped = [{name: value for name, value in labels.items() if name != "way"} for labels in scraped]
    for name, base in (("Prometheus", prometheus), ("VictoriaMetrics", victoria)):
        pushed = ask(base, "series", **{"match[]": '{__name__=~"copied_.*",way=""}'})
        failed += check(f"series relabelled by us and by Prometheus, in {name}", texts(pushed), texts(scraped))
        if not all(labels.get("replica") == "a" for labels in pushed):
            print(f"FAILED: the external label is not on every series of {name}")
            failed += 1
    at = int(float(ask(ours, "query", query="max(timestamp(node_load1))")["result"][0]["value"][1])) - 5
    wanted = samples(ours, "node_load1", at, ("__name__", "job"))
    for base in (prometheus, victoria):
        added = ("__name__", "replica", "shard", "path", "both")
        failed += check("values of a renamed series", wanted, samples(base, 'copied_load1{way=""}', at, added))
    for key in wanted:
        instance = json.loads(key)["instance"]
        shard = int.from_bytes(hashlib.md5(instance.encode()).digest()[8:], "big") % 8
        found = ask(prometheus, "query", query=f'copied_load1{{instance="{instance}",way=""}}', time=at)["result"]
        failed += check(f"the shard of {instance}", [str(shard)], [one["metric"]["shard"] for one in found])
    return failed


match sys.argv[1:]:
    case ["toml"]:
        print("write_relabel_configs = [" + ", ".join(toml(rule) for rule in RULES) + "]")
    case ["yaml"]:
        print(json.dumps(RULES + [{"target_label": "way", "replacement": "scraped"}]))
    case ["compare", *servers]:
        sys.exit(1 if compare(*servers) else 0)
