-- Which values of attributes bad events have more often than good ones, with exact figures.
SELECT attribute, value, bad, of_bad, good, of_good, risk_difference, lift, g2
FROM attribute_lift('severity IN (''error'', ''critical'')', 'severity NOT IN (''error'', ''critical'')', '2026-01-01T12:00:00Z', '2026-01-01T13:00:00Z')
LIMIT 12;

SELECT count(*) FROM attribute_lift('payload->>''order.id'' = ''none''', 'true', '2026-01-01T12:00:00Z', '2026-01-01T13:00:00Z');

SELECT * FROM attribute_lift('asset_id = ''payment''', 'false', '2026-01-01T12:00:00Z', '2026-01-01T13:00:00Z');

SELECT * FROM attribute_lift('severity = = ''error''', 'true', '2026-01-01T12:00:00Z', '2026-01-01T13:00:00Z');

SELECT * FROM attribute_lift('true', 'asset_id = ''a'' AND nope > 1', '2026-01-01T12:00:00Z', '2026-01-01T13:00:00Z');

SELECT * FROM attribute_lift('true', 'asset_id IN (SELECT asset_id FROM asset_metadata)', '2026-01-01T12:00:00Z', '2026-01-01T13:00:00Z');

SELECT * FROM attribute_lift('true', 'false', '2026-01-01T13:00:00Z', '2026-01-01T12:00:00Z');

-- What is kept of incidents: of this recording, none.
SELECT column_name, data_type, udt_name, is_nullable FROM information_schema.columns WHERE table_name IN ('incidents', 'log_templates') ORDER BY table_name, ordinal_position;

-- Numbers of the whole process.
SELECT name, description FROM whence.correlation_quality WHERE name LIKE 'links%' OR name IN ('dropped_ends', 'lookup_failures') ORDER BY name;
