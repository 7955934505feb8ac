"""Sends one raw message to an OTLP/gRPC method, as no SDK would.

Usage: call.py PORT traces|logs|metrics [gzip] < message. Prints one JSON line: status code, details, and whether the
status carries a RetryInfo.
"""

import json
import sys

import grpc

METHODS = {"traces": ("trace", "TraceService"), "logs": ("logs", "LogsService"), "metrics": ("metrics", "MetricsService")}
package, service = METHODS[sys.argv[2]]
message = sys.stdin.buffer.read()
compression = grpc.Compression.Gzip if "gzip" in sys.argv[3:] else grpc.Compression.NoCompression
with grpc.insecure_channel(f"127.0.0.1:{sys.argv[1]}", compression=compression) as channel:
    export = channel.unary_unary(f"/opentelemetry.proto.collector.{package}.v1.{service}/Export")
    try:
        answer = export(message, timeout=30)
        print(json.dumps({"code": "OK", "answer": answer.hex()}))
    except grpc.RpcError as error:
        trailers = dict(error.trailing_metadata() or ())
        details = trailers.get("grpc-status-details-bin", b"")
        print(json.dumps({"code": error.code().name, "details": error.details(), "retry_info": b"RetryInfo" in details}))
