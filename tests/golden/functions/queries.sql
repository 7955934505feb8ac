SELECT * FROM (VALUES (2), (NULL), (1)) t(x) ORDER BY x;

SELECT * FROM (VALUES (2), (NULL), (1)) t(x) ORDER BY x DESC;

SELECT * FROM (VALUES (2), (NULL), (1)) t(x) ORDER BY x NULLS FIRST;

SELECT * FROM (VALUES (2), (NULL), (1)) t(x) ORDER BY x DESC NULLS LAST;

SELECT x AS y FROM (VALUES (2), (3), (1)) t(x) ORDER BY y;

SELECT x, -x AS z FROM (VALUES (2), (3), (1)) t(x) ORDER BY 2;

SELECT x FROM (VALUES (2), (3), (1)) t(x) ORDER BY -x;

SELECT -x AS x FROM (VALUES (2), (3), (1)) t(x) ORDER BY x;

-- error
SELECT x FROM (VALUES (2), (3), (1)) t(x) ORDER BY 5;

-- error
SELECT x FROM (VALUES (2), (3), (1)) t(x) ORDER BY y;

SELECT x FROM (VALUES (2), (3), (1)) t(x) ORDER BY x LIMIT ALL;

SELECT x FROM (VALUES (2), (3), (1)) t(x) ORDER BY x LIMIT NULL;

SELECT x FROM (VALUES (2), (3), (1)) t(x) ORDER BY x FETCH FIRST 2 ROWS ONLY;

SELECT x FROM (VALUES (2), (3), (1)) t(x) ORDER BY x FETCH FIRST ROW ONLY;

SELECT x FROM (VALUES (2), (3), (1)) t(x) ORDER BY x OFFSET 1 ROW FETCH NEXT 1 ROW ONLY;

SELECT x FROM (VALUES (2), (3), (1)) t(x) ORDER BY x OFFSET 1;

SELECT x FROM (VALUES (2), (3), (1)) t(x) ORDER BY x OFFSET 1 LIMIT 1;

SELECT x FROM (VALUES (2), (3), (1)) t(x) ORDER BY x LIMIT 1 + 1;

-- error
SELECT x FROM (VALUES (2), (3), (1)) t(x) ORDER BY x LIMIT -1;

-- error
SELECT x FROM (VALUES (2), (3), (1)) t(x) ORDER BY x OFFSET -1;

SELECT X, "x" FROM (VALUES (2)) T(x);

-- error
SELECT "X" FROM (VALUES (2)) T(x);

SELECT x AS "Foo Bar", x AS FooBar FROM (VALUES (2)) t(x);

SELECT a."Foo" FROM (SELECT 1 AS "Foo") a;

-- error
SELECT foo FROM (SELECT 1 AS "Foo") a;

VALUES (1, 'a'), (2, 'b');

VALUES (1), (2) ORDER BY 1 DESC LIMIT 1;

-- error
TABLE pg_nonexistent;

WITH RECURSIVE t(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM t WHERE n < 5) SELECT sum(n) FROM t;

WITH RECURSIVE t(n) AS (SELECT 1 UNION SELECT (n + 1) % 3 FROM t) SELECT n FROM t ORDER BY n;

WITH RECURSIVE t(id, path) AS (SELECT 1, ARRAY[1] UNION ALL SELECT id + 1, path || (id + 1) FROM t WHERE id < 3) SELECT * FROM t ORDER BY id;

WITH a AS (SELECT 1 AS x), b AS (SELECT x + 1 AS y FROM a) SELECT * FROM a, b;

WITH a AS MATERIALIZED (SELECT 1 AS x) SELECT * FROM a;

WITH a AS NOT MATERIALIZED (SELECT 1 AS x) SELECT * FROM a;

WITH a(z) AS (SELECT 1) SELECT z FROM a;

SELECT (1, 2) = (1, 2), (1, 2) < (1, 3), (1, 2) < (2, 0), (1, NULL) = (1, 2), (1, 2) <> (1, 3), (2, 1) > (1, 5), ROW(1, 2) = ROW(1, 2), (1, 2) >= (1, 2), (1, NULL) < (2, 1);

SELECT * FROM (VALUES (1, 2), (2, 1), (2, 5)) t(a, b) WHERE (a, b) > (2, 0) ORDER BY 1, 2;

SELECT * FROM (VALUES (1, 2), (2, 1), (2, 5)) t(a, b) WHERE (a, b) IN ((1, 2), (2, 5)) ORDER BY 1, 2;

SELECT * FROM (VALUES (1, 2), (2, 1)) t(a, b) WHERE (a, b) NOT IN ((1, 2));

SELECT (1, 2) IS NULL, (NULL, NULL) IS NULL, (1, NULL) IS NOT NULL, ROW(1, 2) IS NOT NULL;

SELECT (1, 2) IS DISTINCT FROM (1, 2), (1, NULL) IS NOT DISTINCT FROM (1, NULL);

SELECT 1 IS DISTINCT FROM NULL, NULL IS DISTINCT FROM NULL, 1 IS NOT DISTINCT FROM 1, 1 IS DISTINCT FROM 2;

SELECT 5 BETWEEN 10 AND 1;

SELECT 1 = ANY (ARRAY[1, 2]), 3 = ALL (ARRAY[3, 3]), 1 < ANY (ARRAY[0, 2]), 1 < ALL (ARRAY[0, 2]), 1 <> ANY (ARRAY[1, 2]), 1 = ANY ('{1,2}'), 1 = ANY (NULL::int[]), 3 = ANY (ARRAY[1, NULL]), 1 = SOME (ARRAY[1]), 'a' = ANY (ARRAY['a', 'b']);

SELECT x FROM (VALUES (1), (2), (3)) t(x) WHERE x = ANY (SELECT 2);

SELECT x FROM (VALUES (1), (2), (3)) t(x) WHERE x > ALL (SELECT y FROM (VALUES (1), (2)) s(y));

SELECT x FROM (VALUES (1), (2), (3)) t(x) WHERE x <> ALL (SELECT y FROM (VALUES (1), (2)) s(y));

SELECT x FROM (VALUES (1), (2), (3)) t(x) WHERE x >= ANY (SELECT y FROM (VALUES (2), (3)) s(y)) ORDER BY x;

SELECT x FROM (VALUES (1), (2), (3)) t(x) WHERE x NOT IN (SELECT y FROM (VALUES (1), (NULL)) s(y));

SELECT x FROM (VALUES (1), (2)) t(x) WHERE EXISTS (SELECT 1 FROM (VALUES (1)) s(y) WHERE y = x);

SELECT x FROM (VALUES (1), (2)) t(x) WHERE NOT EXISTS (SELECT 1 FROM (VALUES (1)) s(y) WHERE y = x);

-- error
SELECT (SELECT x FROM (VALUES (1), (2)) t(x));

-- error
SELECT (SELECT 1, 2);

SELECT ARRAY(SELECT x FROM (VALUES (2), (1)) t(x) ORDER BY x);

SELECT true IS TRUE, NULL IS TRUE, NULL IS UNKNOWN, false IS NOT TRUE, (NULL::boolean) IS NOT UNKNOWN, 1 NOTNULL, true AND NULL, true OR NULL, NOT NULL::boolean;

-- error
SELECT 1 AND true;

-- error
SELECT 1 WHERE 1;

SELECT 1 WHERE NULL;

SELECT a, b, sum(c) FROM (VALUES ('x', 'p', 1), ('x', 'q', 2), ('y', 'p', 3)) t(a, b, c) GROUP BY GROUPING SETS ((a, b), (a), ()) ORDER BY 1, 2, 3;

SELECT a, b, sum(c), grouping(a), grouping(a, b) FROM (VALUES ('x', 'p', 1), ('x', 'q', 2), ('y', 'p', 3)) t(a, b, c) GROUP BY ROLLUP (a, b) ORDER BY 1, 2, 3;

SELECT a, b, sum(c) FROM (VALUES ('x', 'p', 1), ('x', 'q', 2), ('y', 'p', 3)) t(a, b, c) GROUP BY CUBE (a, b) ORDER BY 1, 2, 3;

SELECT a, count(*) FROM (VALUES ('x'), ('y'), ('x')) t(a) GROUP BY a HAVING count(*) > 1;

SELECT a AS k, count(*) FROM (VALUES ('x'), ('y'), ('x')) t(a) GROUP BY k ORDER BY k;

SELECT upper(a) AS a, count(*) FROM (VALUES ('x'), ('X'), ('y')) t(a) GROUP BY a ORDER BY 1, 2;

-- error
SELECT a, b FROM (VALUES (1, 2)) t(a, b) GROUP BY a;

SELECT a + 1, count(*) FROM (VALUES (1), (1)) t(a) GROUP BY a + 1;

SELECT count(*) FROM (VALUES (1), (1)) t(a) HAVING count(*) > 5;

SELECT DISTINCT ON (a) a, b FROM (VALUES (1, 2), (1, 3), (2, 1)) t(a, b) ORDER BY a, b DESC;

SELECT DISTINCT a FROM (VALUES (1), (1), (NULL), (NULL)) t(a) ORDER BY a;

SELECT 1 UNION SELECT 1 UNION ALL SELECT 2 ORDER BY 1;

SELECT 1 INTERSECT SELECT 1;

SELECT x FROM (VALUES (1), (1), (2)) t(x) EXCEPT SELECT 2 ORDER BY 1;

-- error
SELECT 1 UNION SELECT 2, 3;

SELECT x, lag(x) OVER (ORDER BY x), lead(x) OVER (ORDER BY x), lag(x, 2, 0) OVER (ORDER BY x), lead(x, 1, -1) OVER (ORDER BY x) FROM (VALUES (1), (3), (2)) t(x) ORDER BY x;

SELECT x, ntile(2) OVER (ORDER BY x), row_number() OVER (ORDER BY x), rank() OVER (ORDER BY x), dense_rank() OVER (ORDER BY x), percent_rank() OVER (ORDER BY x), cume_dist() OVER (ORDER BY x) FROM (VALUES (1), (3), (2), (2)) t(x) ORDER BY x, 3;

SELECT x, first_value(x) OVER w, last_value(x) OVER w, nth_value(x, 2) OVER w FROM (VALUES (1), (3), (2)) t(x) WINDOW w AS (ORDER BY x) ORDER BY x;

SELECT x, sum(x) OVER (PARTITION BY x % 2 ORDER BY x DESC), sum(sum(x)) OVER () FROM (VALUES (1), (3), (2)) t(x) GROUP BY x ORDER BY x;

SELECT x, sum(x) OVER (ORDER BY x GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM (VALUES (1), (1), (2)) t(x) ORDER BY x;

SELECT t, avg(v) OVER (ORDER BY t RANGE BETWEEN '1 hour' PRECEDING AND CURRENT ROW) FROM (VALUES (timestamp '2024-01-01 00:00', 1.0::float8), (timestamp '2024-01-01 00:30', 2), (timestamp '2024-01-01 02:00', 4)) x(t, v) ORDER BY t;

SELECT x, sum(x) FILTER (WHERE x > 1) OVER (ORDER BY x) FROM (VALUES (1), (3), (2)) t(x) ORDER BY x;

-- error
SELECT lag(x) OVER (ORDER BY x) FROM (VALUES (1)) t(x) WHERE lag(x) OVER (ORDER BY x) > 1;

SELECT a.x, b.y FROM (VALUES (1), (2)) a(x) LEFT JOIN (VALUES (1, 'p')) b(x, y) ON a.x = b.x ORDER BY 1;

SELECT * FROM (VALUES (1, 'a')) a(x, p) JOIN (VALUES (1, 'b')) b(x, q) USING (x);

SELECT * FROM (VALUES (1, 'a')) a(x, p) NATURAL JOIN (VALUES (1, 'b')) b(x, q);

SELECT * FROM (VALUES (1), (2)) a(x) FULL OUTER JOIN (VALUES (2), (3)) b(y) ON a.x = b.y ORDER BY 1, 2;

SELECT * FROM (VALUES (1), (2)) a(x) CROSS JOIN (VALUES (3)) b(y) ORDER BY 1;

-- error
SELECT x FROM (VALUES (1)) a(x), (VALUES (1)) b(x);

SELECT a.* FROM (VALUES (1, 2)) a(x, y);

SELECT array_length(ARRAY[1, 2, 3], 1), cardinality(ARRAY[1, 2]), array_upper(ARRAY[1, 2], 1), array_lower(ARRAY[1, 2], 1), array_ndims(ARRAY[1]), array_dims(ARRAY[1, 2]), cardinality('{}'::int[]), array_length(ARRAY[1], 2);

SELECT array_append(ARRAY[1], 2), array_prepend(0, ARRAY[1]), array_cat(ARRAY[1], ARRAY[2]), ARRAY[1] || 2, 0 || ARRAY[1], ARRAY[1] || ARRAY[2, 3], array_remove(ARRAY[1, 2, 1], 1), array_replace(ARRAY[1, 2], 1, 9), array_position(ARRAY['a', 'b'], 'b'), array_positions(ARRAY[1, 2, 1], 1);

SELECT array_position(ARRAY[1, 2], 9), array_append(NULL::int[], 1);

SELECT (ARRAY[1, 2, 3])[2:3], (ARRAY['a', 'b'])[5], (ARRAY[1, 2, 3])[0], (ARRAY[1, 2, 3])[-1];

SELECT ARRAY[1, 2] @> ARRAY[1], ARRAY[1] <@ ARRAY[1, 2], ARRAY[1, 2] && ARRAY[2, 3], ARRAY[1, 2] = ARRAY[1, 2], ARRAY[1, 2] < ARRAY[1, 3], ARRAY[1] <> ARRAY[2], ARRAY['a'] && ARRAY['b'];

SELECT ARRAY[]::int[], ARRAY[NULL, 1], ARRAY['a', 'b c', 'd"e', NULL, ''], ARRAY[[1, 2], [3, 4]], ARRAY[true], ARRAY[1.5];

SELECT unnest(ARRAY[3, 1]), unnest(ARRAY['a', 'b', 'c']);

SELECT * FROM unnest(ARRAY[1, 2], ARRAY['a', 'b', 'c']) AS t(a, b);

SELECT unnest('{1,2}'::int[]) ORDER BY 1 DESC;

SELECT array_to_string(array_agg(x ORDER BY x), ',') FROM (VALUES (2), (1)) t(x);

SELECT array_agg(x) FROM (VALUES (ARRAY[1, 2]), (ARRAY[3, 4])) t(x);

SELECT 1 AS a, 2 AS a;

SELECT * FROM (SELECT 1 AS a, 2 AS a) t;

SELECT t.* , 1 FROM (VALUES (1)) t(x);

SELECT FROM (VALUES (1)) t(x);

SELECT 1 FROM (VALUES (1)) t;

SELECT column1 FROM (VALUES (1)) t;

SELECT * FROM (VALUES (1, 'a')) AS t;

SELECT t.column2 FROM (VALUES (1, 'a')) AS t;

SELECT 'a' AS "select", 1 AS "Value", 2 AS value, 3 AS name, 4 AS time;

SELECT 1 value, 2 name, 3 "time";

SELECT x::text AS t, x::int, (x)::bigint, cast(x as text) FROM (VALUES (1)) t(x);

-- error
SELECT {'a': 1};

-- error
SELECT MAP {'a': 1};

-- error
SELECT * EXCLUDE (x) FROM (VALUES (1, 2)) t(x, y);

-- error
SELECT * EXCEPT (x) FROM (VALUES (1, 2)) t(x, y);

-- error
SELECT * REPLACE (1 AS x) FROM (VALUES (1, 2)) t(x, y);

-- error
SELECT TOP 1 x FROM (VALUES (1), (2)) t(x);

-- error
SELECT x FROM (VALUES (1), (2)) t(x) LIMIT 1, 1;

-- error
SELECT x FROM (VALUES (1), (2)) t(x) SORT BY x;

-- error
FROM (VALUES (1)) t(x) SELECT x;

-- error
SELECT x FROM (VALUES (1), (2)) t(x) ORDER BY ALL;

-- error
SELECT `x` FROM (VALUES (1)) t(x);

SELECT 1 != 2, 1 <> 2;

-- error
SELECT 5 DIV 2;

-- error
SELECT 'a' RLIKE 'a';

-- error
SELECT 'a' REGEXP 'a';

-- error
SELECT "a";

SELECT 'a' || 'b' AS ab, 'it''s', E'it\'s';

-- error
SELECT x FROM (VALUES (1), (2), (3)) t(x) TABLESAMPLE SYSTEM (50);

SELECT x FROM (VALUES (1)) t(x) FOR SHARE;

SELECT (SELECT a FROM (VALUES (1)) s(a) WHERE a = t.x) FROM (VALUES (1)) t(x);

SELECT x FROM (VALUES (1), (2)) t(x) WHERE x = (SELECT min(y) FROM (VALUES (1), (2)) s(y));

SELECT * FROM (VALUES (1), (2)) t(x), LATERAL (SELECT x * 2 AS y) s ORDER BY 1;

SELECT * FROM (VALUES (1), (2)) t(x) JOIN LATERAL (SELECT x + 1 AS y) s ON true ORDER BY 1;

SELECT * FROM (VALUES (1), (2)) t(x) CROSS JOIN LATERAL generate_series(1, t.x) g ORDER BY 1, 2;

SELECT * FROM (VALUES (1), (2)) t(x), generate_series(1, x) g ORDER BY 1, 2;

SELECT pg_typeof(count(*)), pg_typeof(1 + 1::bigint), pg_typeof('a' || 'b');

SELECT NOT 1 IN (2), 1 NOT IN (2, 3);

-- error
SELECT 3 > 2 > 1;

SELECT NOT true = false, NOT 1 = 2, -2 ^ 2, 2 ^ 3 ^ 2, 10 - 5 - 2, 2 + 3 * 4, -5 % 3, 1 + 2 || 'a', 'a' || 1 + 2;

SELECT '2' * 3, 7 & 3 = 3, 5 | 2 + 1;

SELECT CASE WHEN 1 = 1 THEN 'a' END || 'b', coalesce('a', 1::text);

SELECT min(x) FILTER (WHERE x > 1) AS m FROM (VALUES (1), (2)) t(x) HAVING true;

-- error
SELECT x FROM (VALUES (1), (2)) t(x) WHERE x IN ();

SELECT x / sum(x) OVER (), x::float8 / sum(x) OVER () FROM (VALUES (1), (3)) t(x) ORDER BY 2;

-- error
SELECT nonexistent_function(1);

-- error
SELECT sum(1, 2);

-- error
SELECT now(1);

-- error
SELECT nope FROM (VALUES (1)) t(x);

-- error
SELECT * FROM nope;

-- error
SELECT x.y FROM (VALUES (1)) t(x);

-- error
SELECT sum(sum(x)) FROM (VALUES (1)) t(x);

-- error
SELECT x FROM (VALUES (1)) t(x) WHERE sum(x) > 1;

-- error
SELECT x, sum(x) FROM (VALUES (1)) t(x);

-- error
SELECT 1 +;

-- error
SELEC 1;

-- error
SELECT 1 2;

SELECT current_user IS NOT NULL, session_user IS NOT NULL, current_schema, current_database() IS NOT NULL, current_catalog IS NOT NULL;

SELECT version() LIKE 'PostgreSQL%', current_setting('server_version_num')::int / 100 >= 1600;

SELECT k, p, q FROM (VALUES (1, 'a'), (2, 'b')) a(k, p) JOIN (VALUES (1, 'c'), (2, 'd')) b(k, q) USING (k) WHERE k = 2;

SELECT k, count(*) FROM (VALUES (1), (2)) a(k) LEFT JOIN (VALUES (1), (1)) b(k) USING (k) WHERE k < 3 AND EXISTS (SELECT 1 FROM (VALUES (1)) c(k) WHERE k = 1) GROUP BY k HAVING k > 1 ORDER BY k;

SELECT k FROM (VALUES (1), (2)) a(k) RIGHT JOIN (VALUES (2), (3)) b(k) USING (k) WHERE k > 2 ORDER BY k;

SELECT k, k + 1 AS next, count(*), max(p) FROM (VALUES (1, 'a'), (2, 'b')) a(k, p) RIGHT JOIN (VALUES (2), (3)) b(k) USING (k) GROUP BY k HAVING k > 1 ORDER BY k;

SELECT i, k FROM (VALUES (1, 2)) a(i, x) JOIN (VALUES (1, 5)) b(i, k) USING (i) JOIN (VALUES (5)) c(k) USING (k) JOIN (VALUES (5)) d(z) ON k = z WHERE i = 1 AND k = 5;
