# Sourced by the benchmarks: `start_server DIR` and `stop_server`, on ports of their own so that a server on the default
# ports is not disturbed. $SETTINGS are further arguments of `whence serve`. Sets $whence, $otlp (OTLP over gRPC), $sql (HTTP queries) and $server (process id).
whence=${WHENCE:-${CARGO_TARGET_DIR:-target}/release/whence}
[ -x "$whence" ] || cargo build --release
otlp=127.0.0.1:24317
sql=http://127.0.0.1:24319/v1/sql
server=

start_server() {
  "$whence" serve ${SETTINGS:-} --set exporters.hypertables.path="$1/data" --set receivers.otlp.protocols.grpc.endpoint=$otlp \
    --set receivers.otlp.protocols.http.endpoint=127.0.0.1:24318 --set extensions.health_check.endpoint=127.0.0.1:23133 \
    --set extensions.query.http.endpoint=127.0.0.1:24319 --set extensions.query.pgwire.endpoint=127.0.0.1:25432 \
    --set service.telemetry.metrics.address=127.0.0.1:28888 2>>"$1/server.log" &
  server=$!
  until curl -fsS http://127.0.0.1:23133/ >/dev/null 2>&1; do kill -0 "$server"; sleep 0.1; done
}

# Ends when everything in memory was written.
stop_server() {
  kill -TERM "$server"
  wait "$server"
  server=
}
