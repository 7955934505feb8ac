-- The three query patterns, at fixed times.
SELECT id, timestamp, event_type, severity, name, body FROM events WHERE asset_id = 'checkout'
AND timestamp >= '2026-01-01T12:00:00Z' AND signal = 'span' ORDER BY timestamp DESC LIMIT 1000;

SELECT time_bucket('1 hour', timestamp) AS bucket, asset_id, avg(value_avg), max(value_p99) FROM metrics
WHERE metric_name = 'http.server.request.duration' AND timestamp >= '2026-01-01T00:00:00Z' GROUP BY 1, 2 ORDER BY 1 DESC, 2;

SELECT e1.id, e1.event_type, e2.id, e2.event_type, c.correlation_type, c.strength
FROM correlations c JOIN events e1 ON c.primary_event_id = e1.id JOIN events e2 ON c.related_event_id = e2.id
WHERE c.timestamp >= '2026-01-01T12:00:00Z' AND c.strength > 0.8 AND e2.signal = 'span' ORDER BY c.strength DESC, e1.id, e2.id;
