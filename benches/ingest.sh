#!/usr/bin/env bash
# What ingest costs, as the table in the README: CPU seconds of the server per million items and bytes on disk per item by
# signal, resident memory at full speed, request latency at 50,000 spans a second, and recovery after kill -9.
#
# Usage: benches/ingest.sh [ITEMS, default 2000000] [ROUNDS, default 3]
#   ROTEL=/path/to/rotel-agent      sends the same load to rotel (Python package `rotel`), which throws it away, in turns
#                                   with Whence, so that the ratio is of one machine in one minute
#   OTLPLOAD=/path/to/otlpload      sends with that generator instead of `whence load`
# Figures are medians of the rounds. The disk is measured after the server has written everything to chunks and stopped,
# with no grace for replaced files, which would lie beside what replaced them for another minute.
set -euo pipefail
cd "$(dirname "$0")/.."
. benches/server.sh
SETTINGS="--set exporters.hypertables.grace=0s ${SETTINGS:-}"
items=${1:-2000000}
rounds=${2:-3}
work=$(mktemp -d)
rotel_pid=
trap '[ -z "$server" ] || kill -9 "$server" 2>/dev/null; [ -z "$rotel_pid" ] || kill "$rotel_pid"; rm -rf "$work"' EXIT

median() { sort -g | awk '{ v[NR] = $1 } END { if (NR) print v[int((NR + 1) / 2)]; else print "-" }'; }
row() { printf '%-58s %12s %14s\n' "$1" "$2" "$3"; }

# send ENDPOINT SIGNAL PID ARGUMENTS...: "CPU s per million, peak MiB, p99 ms, items refused or failed"
send() {
  local endpoint=$1 signal=$2 pid=$3
  shift 3
  if [ -n "${OTLPLOAD:-}" ]; then
    "$OTLPLOAD" --endpoint "$endpoint" --signal "$signal" --batch 1000 --server-pid "$pid" "${@//--settle/--settle-s}" 2>/dev/null |
      tr ',{' '\n\n' | tr -d '"} ' | awk -F: '
        $1 == "server_cpu_s_per_million" { cpu = $2 } $1 == "server_peak_rss_mib" { peak = $2 }
        $1 == "p99" { p99 = $2 } $1 == "failed" || $1 == "rejected" { lost += $2 } END { print cpu, peak, p99, lost + 0 }'
  else
    "$whence" load --endpoint "$endpoint" --signal "$signal" --server-pid "$pid" "$@" 2>/dev/null |
      awk '/CPU s per million/ { cpu = $5 } /at its peak/ { peak = $5 } /^latency/ { p99 = $9 } /^rejected/ { lost = $2 + $5 }
        END { print cpu, peak, p99, lost + 0 }'
  fi
}

bytes_each() { du -sb "$1" | awk -v n="$items" '{ printf "%.1f", $1 / n }'; }

# One round of one signal on an empty server; keeps what it measured in $work.
round() {
  local signal=$1 folder
  folder=$(mktemp -d -p "$work")
  start_server "$folder"
  send $otlp "$signal" "$server" --total "$items" --settle 15 >> "$work/$signal.whence"
  stop_server
  bytes_each "$folder/data/events" >> "$work/$signal.events"
  bytes_each "$folder/data" >> "$work/$signal.folder"
  echo >> "$work/$signal.events"
  echo >> "$work/$signal.folder"
  rm -rf "$folder"
  [ -z "${ROTEL:-}" ] || send 127.0.0.1:25317 "$signal" "$rotel_pid" --total "$items" --settle 1 >> "$work/$signal.rotel"
}

column() { awk -v c="$2" '{ print $c }' "$1" 2>/dev/null | median; }

if [ -n "${ROTEL:-}" ]; then
  "$ROTEL" start --otlp-grpc-endpoint 127.0.0.1:25317 --otlp-http-endpoint 127.0.0.1:25319 --exporter blackhole \
    --otlp-grpc-max-recv-msg-size-mib 64 --pid-file "$work/rotel.pid" > /dev/null 2>&1 &
  rotel_pid=$!
  sleep 2
fi

echo "$(nproc) cores, $items items a signal, batch 1000, gRPC, fsync on, medians of $rounds rounds; sent by ${OTLPLOAD:-whence load}"
for _ in $(seq "$rounds"); do
  for signal in traces logs metrics; do round $signal; done
done

row "what" "whence" "rotel (ratio)"
for signal in traces logs metrics; do
  own=$(column "$work/$signal.whence" 1)
  other=-
  if [ -n "${ROTEL:-}" ]; then
    other=$(column "$work/$signal.rotel" 1)
    other="$other ($(awk -v a="$own" -v b="$other" 'BEGIN { printf "%.2f", a / b }'))"
  fi
  row "CPU s per million items, $signal" "$own" "$other"
done
for signal in traces logs; do
  row "bytes on disk per item, $signal: events" "$(column "$work/$signal.events" 1)" ""
  row "bytes on disk per item, $signal: whole folder" "$(column "$work/$signal.folder" 1)" ""
done
for signal in traces logs metrics; do
  row "peak resident MiB at full speed, $signal" "$(column "$work/$signal.whence" 2)" ""
done

for round in $(seq "$rounds"); do
  folder=$(mktemp -d -p "$work")
  start_server "$folder"
  send $otlp traces "$server" --total $((50000 * 30)) --rate 50000 --settle 1 >> "$work/paced"
  stop_server
  rm -rf "$folder"
done
row "request latency p99 at 50,000 spans/s, ms" "$(column "$work/paced" 3)" ""

# Full speed until the log is a GiB, kill -9, start again: the time until the ports are open. Between two commits, 10 s
# apart, a slower machine does not get as far: the log is then as large as it was after the whole load.
recovery() {
  local folder sender log=0 began
  folder=$(mktemp -d -p "$work")
  start_server "$folder"
  "$whence" load --endpoint $otlp --signal traces --duration 60 --connections 4 --in-flight 8 > /dev/null 2>&1 &
  sender=$!
  while kill -0 "$sender" 2> /dev/null && [ "$log" -lt $((1 << 30)) ]; do
    log=$(curl -fsS http://127.0.0.1:28888/metrics | awk '/^whence_log_bytes /{ print $2 }')
    sleep 0.05
  done
  kill -9 "$server"
  wait "$server" 2> /dev/null || true
  kill "$sender" 2> /dev/null || true
  wait "$sender" 2> /dev/null || true
  began=$(date +%s.%N)
  start_server "$folder"
  echo "$(date +%s.%N) $began $(du -sm "$folder/data/log" | cut -f1)" | awk '{ printf "%.1f %d\n", $1 - $2, $3 }' >> "$work/recovery"
  stop_server
  rm -rf "$folder"
}
for _ in $(seq "$rounds"); do recovery; done
row "seconds until ready after kill -9, $(column "$work/recovery" 2) MiB of log" "$(column "$work/recovery" 1)" ""
