SELECT variance(v) AS a, var_pop(v) AS b, var_samp(v) AS c, stddev(v) AS d, stddev_pop(v) AS e, stddev_samp(v) AS f FROM (VALUES (1.0::float8), (3.0)) AS x(v);

SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY v) AS a, percentile_cont(ARRAY[0.25, 0.5, 1]) WITHIN GROUP (ORDER BY v) AS b, percentile_disc(0.5) WITHIN GROUP (ORDER BY v) AS c, percentile_disc(ARRAY[0.1, 0.9]) WITHIN GROUP (ORDER BY v DESC) AS d, mode() WITHIN GROUP (ORDER BY v) AS e FROM (VALUES (1), (2), (4), (4), (NULL)) AS x(v);

SELECT g, percentile_disc(0.5) WITHIN GROUP (ORDER BY t) AS a, mode() WITHIN GROUP (ORDER BY t) AS b FROM (VALUES ('x', 'b'), ('x', 'a'), ('y', 'c'), ('x', 'b')) AS x(g, t) GROUP BY g ORDER BY g;

SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY v) AS a, mode() WITHIN GROUP (ORDER BY v) AS b FROM (VALUES (1)) AS x(v) WHERE v > 1;

SELECT 2.5::int AS a, 3.5::int AS b, (2.5::float8)::int AS c, (3.5::float8)::bigint AS d, (-2.7)::int AS e;

SELECT t.id, x.k, x.n FROM (VALUES (1), (2), (9)) AS t(id),
LATERAL (SELECT k, n FROM (VALUES (1, 'a', 10), (1, 'b', 20), (1, 'c', 30), (2, 'd', 5)) AS s(id, k, n) WHERE s.id = t.id ORDER BY n DESC LIMIT 2) AS x ORDER BY t.id, x.n;

SELECT t.id, x.k FROM (VALUES (1), (9)) AS t(id)
LEFT JOIN LATERAL (SELECT k FROM (VALUES (1, 'a', 10), (1, 'b', 20)) AS s(id, k, n) WHERE s.id = t.id ORDER BY n DESC LIMIT 1) AS x ON true ORDER BY t.id;

SELECT t.at, x.k FROM (VALUES (15), (25)) AS t(at),
LATERAL (SELECT k FROM (VALUES ('a', 10), ('b', 20)) AS s(k, n) WHERE s.n <= t.at ORDER BY n DESC LIMIT 1) AS x ORDER BY t.at;

SELECT * FROM unnest(ARRAY['a', 'b']) WITH ORDINALITY AS t(x, n);

SELECT t.id, x FROM (VALUES (1, ARRAY[1, 2]), (2, NULL)) AS t(id, items), unnest(t.items) AS x ORDER BY 1, 2;

SELECT n FROM generate_series(1, 3) AS n WHERE n > 1;

SELECT generate_series(1, 2) AS a, unnest(ARRAY['x', 'y']) AS b;

SELECT 1, 1, count(*), count(*), '1'::int, '1'::bigint;
SELECT ARRAY[NULL, '5b8efff7-9803-8103-d269-b633813fc60c'::uuid] AS a, ARRAY['\x00'::bytea, NULL] AS b, ARRAY[NULL, 1] AS c;

-- error
SELECT percentile_disc(2) WITHIN GROUP (ORDER BY v) FROM (VALUES (1)) AS x(v);
