#!/usr/bin/env bash
# What ingest costs: CPU seconds of the server per million items and bytes on disk per item, by signal.
# Each signal goes into an empty server over OTLP/gRPC in batches of 1000; the disk is measured after the server has
# written everything to chunks and stopped. Prints one block a signal. Usage: benches/ingest.sh [ITEMS, default 2000000]
set -euo pipefail
cd "$(dirname "$0")/.."
items=${1:-2000000}
whence=${WHENCE:-${CARGO_TARGET_DIR:-target}/release/whence}
[ -x "$whence" ] || cargo build --release
# Ports of their own, so that a server on the default ports is not disturbed.
ports=(--set receivers.otlp.protocols.grpc.endpoint=127.0.0.1:24317 --set receivers.otlp.protocols.http.endpoint=127.0.0.1:24318
  --set extensions.health_check.endpoint=127.0.0.1:23133 --set extensions.query.http.endpoint=127.0.0.1:24319
  --set extensions.query.pgwire.endpoint=127.0.0.1:25432 --set service.telemetry.metrics.address=127.0.0.1:28888)
for signal in traces logs metrics mixed; do
  data=$(mktemp -d)
  "$whence" serve "${ports[@]}" --set exporters.hypertables.path="$data" 2>"$data/server.log" &
  server=$!
  trap 'kill $server 2>/dev/null || true; rm -rf "$data"' EXIT
  until curl -fsS http://127.0.0.1:23133/ >/dev/null 2>&1; do kill -0 $server; sleep 0.1; done
  echo "== $signal, $items items, batch 1000, gRPC, fsync on"
  "$whence" load --endpoint 127.0.0.1:24317 --signal $signal --total "$items" --server-pid $server --settle 15
  kill -TERM $server && wait $server
  for table in events metrics correlations; do
    [ -d "$data/$table" ] && echo "disk      $table: $(du -sb "$data/$table" | awk -v n="$items" '{printf "%.1f bytes an item", $1 / n}')"
  done
  echo "disk      whole folder: $(du -sb --exclude=server.log "$data" | awk -v n="$items" '{printf "%.1f bytes an item", $1 / n}')"
  rm -rf "$data"
  trap - EXIT
done
