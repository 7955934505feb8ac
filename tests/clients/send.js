// Sends two spans, a log record and four metrics with the OpenTelemetry SDK for Node.js.
//
// Usage: send.js SERVICE, configured by the SDK's own environment: OTEL_EXPORTER_OTLP_ENDPOINT and
// OTEL_EXPORTER_OTLP_PROTOCOL (grpc, http/protobuf, http/json).
// Prints one JSON line when the SDK has shut down, which flushes: the ids sent, and when the flush was over.
'use strict';

process.env.OTEL_TRACES_EXPORTER = 'otlp';
process.env.OTEL_LOGS_EXPORTER = 'otlp';
process.env.OTEL_METRICS_EXPORTER = 'otlp';
process.env.OTEL_SERVICE_NAME = process.argv[2];
process.env.OTEL_RESOURCE_ATTRIBUTES = 'deployment.environment.name=test';

const { context, metrics, trace, SpanKind, SpanStatusCode } = require('@opentelemetry/api');
const { logs, SeverityNumber } = require('@opentelemetry/api-logs');
const { NodeSDK } = require('@opentelemetry/sdk-node');

async function main() {
  const sdk = new NodeSDK();
  sdk.start();
  const tracer = trace.getTracer('send.js', '1.0');
  const parent = tracer.startSpan('POST /checkout', { kind: SpanKind.SERVER });
  const inParent = trace.setSpan(context.active(), parent);
  const child = tracer.startSpan('charge card', { kind: SpanKind.CLIENT, attributes: { amount: 12.5 } }, inParent);
  child.addEvent('retrying', { attempt: 2 });
  child.setStatus({ code: SpanStatusCode.ERROR, message: 'card declined' });
  logs.getLogger('checkout').emit({
    context: trace.setSpan(context.active(), child),
    severityNumber: SeverityNumber.ERROR,
    severityText: 'ERROR',
    body: 'card declined: insufficient funds',
    attributes: { 'order.id': 'o-1' },
  });
  child.end();
  parent.end();

  const meter = metrics.getMeter('send.js', '1.0');
  meter.createCounter('orders', { unit: '{order}' }).add(3, { currency: 'EUR' });
  meter.createUpDownCounter('basket.items').add(-2);
  meter.createGauge('queue.depth').record(7);
  const duration = meter.createHistogram('http.server.request.duration', { unit: 's' });
  for (const seconds of [0.125, 0.25, 0.5]) duration.record(seconds, { 'http.route': '/checkout' });

  await sdk.shutdown();
  const flushed = Date.now() * 1_000_000;
  console.log(
    JSON.stringify({
      trace_id: parent.spanContext().traceId,
      parent_span_id: parent.spanContext().spanId,
      span_id: child.spanContext().spanId,
      logs_flushed: flushed,
      metrics_flushed: flushed,
      spans_flushed: flushed,
    }),
  );
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
