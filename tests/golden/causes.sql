-- Links: primary led to related.
SELECT c.metadata->>'relation' AS relation, p.asset_id, coalesce(p.name, p.body) AS cause, r.asset_id, coalesce(r.name, r.body) AS effect,
c.correlation_type, c.strength, c.confidence
FROM correlations c LEFT JOIN events p ON c.primary_event_id = p.id LEFT JOIN events r ON c.related_event_id = r.id
ORDER BY 1, c.timestamp, 3, 5;

SELECT count(*), count(DISTINCT id) FROM correlations;

-- One trace, whatever the order of arrival.
SELECT depth, asset_id, name, signal, event_type, severity, status, timestamp, duration_ns, self_time_ns, body
FROM trace('b0000000000000000000000000000b02');

-- From the effect (the front end's failed request) to its cause.
SELECT * FROM causal_chain('00000000-0000-0b02-0000-0000000000b1');

SELECT * FROM service_graph('2026-01-01T12:00:00Z', '2026-01-01T13:00:00Z') ORDER BY 1, 2;

SELECT signal, sum(received), sum(stored), sum(duplicate), sum(rejected), sum(dropped) FROM whence.ingest_ledger GROUP BY signal ORDER BY signal;
