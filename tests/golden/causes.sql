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

-- What the failure at the end of that chain reached.
SELECT depth, asset_id, relation, strength, name, status FROM blast_radius('00000000-0000-0b02-0000-0000000000b5');

-- A fixture of a few spans has no cause, and says why.
SELECT rank, asset_id, cause_kind, confidence, evidence, explanation FROM root_causes('2026-01-01T12:00:00Z', '2026-01-01T13:00:00Z');

SELECT timestamp, asset_id, change_kind, what FROM changes('2026-01-01 12:00', '1 January 2026 14:00+01');

SELECT pattern_id, asset_id, pattern, severity, count, count_before, expected FROM log_patterns('2026-01-01T12:00:00Z', '2026-01-01T13:00:00Z') ORDER BY pattern, asset_id LIMIT 5;

SELECT * FROM root_causes('2026-01-01T13:00:00Z', '2026-01-01T12:00:00Z');

-- What decided how long that trace took: own times add up to the whole.
SELECT step, event_id, asset_id, name, started, self_ms, share FROM critical_path('b0000000000000000000000000000b02');

SELECT count(*) FROM critical_path('b0000000000000000000000000000bff');

-- A fixture of a few spans has nothing that keeps following anything.
SELECT * FROM temporal_links('2026-01-01T12:00:00Z', '2026-01-01T13:00:00Z');

SELECT * FROM temporal_links('2026-01-01T12:00:00Z', '2026-01-02T13:00:00Z');

-- Which assets ran where.
SELECT kind, place, asset_id, first_seen, events FROM placements('2026-01-01T12:00:00Z', '2026-01-01T13:00:00Z');

SELECT * FROM placements('2026-01-01T12:00:00Z', '2026-01-01T12:00:00Z');
