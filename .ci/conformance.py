"""Holds the failures of the script runner against the tier of each case; exit code 1 if one of tier A failed."""
import json
import re
import sys

cases = [json.loads(line) for line in open(sys.argv[1])]
failed = set()
for line in open(sys.argv[2], errors="replace"):
    found = re.match(r"(?:.*/)?([\w-]+\.test):(\d+)", line)
    if found:
        failed.add((found[1], int(found[2])))
tiers = {}
for case in cases:
    passed, total = tiers.get(case["tier"], (0, 0))
    ok = (case["file"], case["line"]) not in failed
    tiers[case["tier"]] = (passed + ok, total + 1)
    if case["tier"].startswith("A") and not ok:
        print(f"{case['file']}:{case['line']}: {case['query']}")
for tier, (passed, total) in sorted(tiers.items()):
    print(f"{tier}: {passed} of {total}")
wrong = [tier for tier, (passed, total) in tiers.items() if tier.startswith("A") and passed < total]
sys.exit(1 if wrong or not tiers else 0)
