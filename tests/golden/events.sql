-- What became of each item.
SELECT signal, source_module, event_type, severity, asset_id, environment, name, kind, status, duration_ns, agent, model
FROM events ORDER BY timestamp, asset_id, signal, name, body;

-- Ids are arithmetic: low half of the trace id and the span id.
SELECT id, correlation_id, parent_event_id, trace_id, span_id, tenant_id FROM events WHERE name = 'POST /charge' ORDER BY id;

SELECT timestamp, timestamp_nanos FROM events WHERE name = 'SELECT account' OR (name = 'POST /charge' AND status = 'unset') ORDER BY 1;

SELECT name FROM events WHERE id = '00000000-0000-0b02-0000-0000000000b4';

SELECT signal, name, body FROM events WHERE correlation_id = 'b0000000-0000-0000-0000-000000000b02' AND asset_id = 'payment' ORDER BY timestamp, signal;

-- Everything else the sender said is in the payload: attributes flat, the rest under _otel.
SELECT payload FROM events WHERE name = 'POST /charge' AND status = 'unset';

SELECT payload->>'amount' AS amount, payload->'tags' AS tags, payload->'tags'->>0 AS first_tag, payload->>'nothing' AS nothing
FROM events WHERE payload->>'amount' IS NOT NULL;

SELECT payload->>'order.id' AS order_id, count(*) FROM events WHERE payload->>'order.id' LIKE 'o-%' GROUP BY 1 ORDER BY 1;

SELECT resource->>'service.version' AS version, count(*) FROM events WHERE asset_id = 'payment' GROUP BY 1 ORDER BY 1;

SELECT body, severity, span_id FROM events WHERE signal = 'log' ORDER BY timestamp;

SELECT severity, count(*) FROM events GROUP BY severity ORDER BY 2 DESC, 1;

SELECT asset_id, asset_type, version FROM asset_metadata ORDER BY asset_type, asset_id;
