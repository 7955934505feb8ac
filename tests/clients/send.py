"""Sends two spans, a log record and four metrics with the OpenTelemetry SDK for Python.

Usage: send.py grpc|http/protobuf SERVICE. The only configuration is OTEL_EXPORTER_OTLP_ENDPOINT.
Prints one JSON line when the flush has returned: the ids sent, and when each signal's flush was over.
"""

import json
import logging
import sys
import time
import warnings

from opentelemetry import metrics, trace
from opentelemetry._logs import set_logger_provider
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

warnings.simplefilter("ignore")
protocol, service = sys.argv[1], sys.argv[2]
if protocol == "grpc":
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
else:
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

resource = Resource.create({"service.name": service, "deployment.environment.name": "test"})
tracer_provider = TracerProvider(resource=resource)
tracer_provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(tracer_provider)
logger_provider = LoggerProvider(resource=resource)
logger_provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
set_logger_provider(logger_provider)
meter_provider = MeterProvider(
    resource=resource, metric_readers=[PeriodicExportingMetricReader(OTLPMetricExporter(), export_interval_millis=3_600_000)]
)
metrics.set_meter_provider(meter_provider)

log = logging.getLogger("checkout")
log.setLevel(logging.INFO)
log.addHandler(LoggingHandler(level=logging.INFO, logger_provider=logger_provider))
tracer = trace.get_tracer("send.py", "1.0")
meter = metrics.get_meter("send.py", "1.0")

with tracer.start_as_current_span("POST /checkout", kind=trace.SpanKind.SERVER) as parent:
    parent.set_attribute("http.route", "/checkout")
    with tracer.start_as_current_span("charge card", kind=trace.SpanKind.CLIENT) as child:
        child.set_attribute("amount", 12.5)
        child.add_event("retrying", {"attempt": 2})
        child.set_status(trace.Status(trace.StatusCode.ERROR, "card declined"))
        log.error("card declined: %s", "insufficient funds", extra={"order.id": "o-1"})
meter.create_counter("orders", unit="{order}").add(3, {"currency": "EUR"})
meter.create_up_down_counter("basket.items").add(-2)
meter.create_gauge("queue.depth").set(7)
duration = meter.create_histogram("http.server.request.duration", unit="s")
for seconds in (0.125, 0.25, 0.5):
    duration.record(seconds, {"http.route": "/checkout"})


def flushed(provider):
    if not provider.force_flush(10_000):
        sys.exit(f"{type(provider).__name__}.force_flush failed")
    return time.time_ns()


print(
    json.dumps(
        {
            "trace_id": format(parent.get_span_context().trace_id, "032x"),
            "parent_span_id": format(parent.get_span_context().span_id, "016x"),
            "span_id": format(child.get_span_context().span_id, "016x"),
            "logs_flushed": flushed(logger_provider),
            "metrics_flushed": flushed(meter_provider),
            "spans_flushed": flushed(tracer_provider),
        }
    ),
    flush=True,
)
