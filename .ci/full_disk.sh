# The inside of the suite `full-disk`; run in a mount namespace of its own.
set -euo pipefail
folder=$(mktemp -d)
mount -t tmpfs -o size=72m tmpfs "$folder"
cleanup() { kill -9 $(jobs -p) 2>/dev/null || true; wait 2>/dev/null || true; umount -l "$folder"; rmdir "$folder"; }
trap cleanup EXIT
port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
gossip=$(port) http=$(port) ingest=$(port)
mkdir -p "$folder/c" "$folder/a"
printf 'route:\n  receiver: none\nreceivers:\n  - name: none\n' >"$folder/c/am.yml"
cat >"$folder/c/collector.toml" <<TOML
[node]
name = "watch"
data_dir = "$folder/c/data"
[gossip]
bind = "127.0.0.1:$gossip"
[http]
bind = "127.0.0.1:$http"
[ingest]
bind = "127.0.0.1:$ingest"
[rules]
files = ["$PWD/packaging/rules/*.yml"]
interval = "2s"
[notify]
file = "$folder/c/am.yml"
TOML
cat >"$folder/a/agent.toml" <<TOML
[node]
name = "a"
data_dir = "$folder/a/data"
[gossip]
bind = "127.0.0.1:$(port)"
join = ["127.0.0.1:$gossip"]
[collect]
interval = "500ms"
[http]
bind = "127.0.0.1:$(port)"
TOML
"$BIN"/watchfire-collector run --config "$folder/c/collector.toml" >"$folder/collector.log" 2>&1 &
"$BIN"/watchfire-agent run --config "$folder/a/agent.toml" >"$folder/agent.log" 2>&1 &
query() { curl -fsS "http://127.0.0.1:$http/api/v1/query" --data-urlencode "query=$1" | grep -o '"value":\[[^]]*\]' | cut -d'"' -f4; }
wait_for() { # query, expected value, seconds, what
    for _ in $(seq $(($3 * 5))); do [ "$(query "$1" 2>/dev/null)" = "$2" ] && return; sleep 0.2; done
    echo "not within $3 s: $4 ($1 is '$(query "$1")')"; tail -n 20 "$folder/collector.log"; return 1
}
wait_for 'up{instance="a"}' 1 60 "the agent reports"
dd if=/dev/zero of="$folder/ballast" bs=1M count=200 2>/dev/null || true
wait_for 'watchfire_storage_full' 1 90 "the collector says that its disk is full"
wait_for 'ALERTS{alertname="CollectorStorageFull",alertstate="firing"}' 1 60 "the alert of a full disk fires from memory"
kill -0 %1
rm "$folder/ballast"
wait_for 'watchfire_storage_full' 0 90 "the collector recovers by itself"
wait_for 'up{instance="a"}' 1 60 "the agent reports again"
echo "full disk: said so, alerted, recovered"
