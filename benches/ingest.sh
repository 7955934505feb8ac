#!/usr/bin/env bash
# What ingest costs: CPU seconds of the server per million items and bytes on disk per item, by signal.
# Each signal goes into an empty server over OTLP/gRPC in batches of 1000; the disk is measured after the server has
# written everything to chunks and stopped. Prints one block a signal. Usage: benches/ingest.sh [ITEMS, default 2000000]
set -euo pipefail
cd "$(dirname "$0")/.."
. benches/server.sh
items=${1:-2000000}
folder=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$folder"' EXIT
size() { du -sb "$1" | awk -v n="$items" '{printf "%.1f bytes an item\n", $1 / n}'; }
for signal in traces logs metrics mixed; do
  folder=$(mktemp -d)
  start_server "$folder"
  echo "== $signal, $items items, batch 1000, gRPC, fsync on"
  "$whence" load --endpoint $otlp --signal $signal --total "$items" --server-pid "$server" --settle 15
  stop_server
  for table in events metrics correlations; do
    [ ! -d "$folder/data/$table" ] || echo "disk      $table: $(size "$folder/data/$table")"
  done
  echo "disk      whole folder: $(size "$folder/data")"
  rm -rf "$folder"
done
