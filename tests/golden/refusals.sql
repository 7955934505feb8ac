-- What PostgreSQL answers and Whence refuses, with the remedy where there is one; and what both refuse.
SELECT regexp_replace('abcabc', 'b', 'x', 3);

SELECT 'abcdef'::char(3);

SELECT '0x1F'::int;

SELECT to_timestamp('2024-03-05', '%Y-%m-%d');

SELECT to_date('2024-03-05', '%Y-%m-%d');

SELECT 'today'::date = current_date;

SELECT 'today'::timestamptz = date_trunc('day', now());

SELECT current_timestamp(0) IS NOT NULL;

SELECT interval '1-2';

SELECT timestamptz '2024-07-01 12:00+00' AT TIME ZONE 'UTC+3';

SELECT (timestamp '2024-07-01 12:00:00.55')::timestamp(0);

SELECT current_timestamp(0) IS NOT NULL;

SELECT timetz '10:00+02';

SELECT to_char(timestamp '2024-07-01 10:11:12', 'HH24hMI');

SELECT timestamptz '2024-07-01 12:00+00' > 'yesterday';

SELECT sum(x) FROM (VALUES (9223372036854775807), (9223372036854775807)) t(x);

SELECT width_bucket(35, ARRAY[10, 20, 30]);

SELECT 5::money;

SELECT x FROM (VALUES (1), (1), (2)) t(x) ORDER BY x FETCH FIRST 1 ROW WITH TIES;

SELECT (1, 2);

SELECT 5 BETWEEN SYMMETRIC 10 AND 1;

SELECT 5 NOT BETWEEN SYMMETRIC 10 AND 1;

SELECT x FROM (VALUES (1), (1), (2)) t(x) EXCEPT ALL SELECT 1 ORDER BY 1;

SELECT x FROM (VALUES (1), (1), (2)) t(x) INTERSECT ALL SELECT 1 ORDER BY 1;

SELECT x, sum(x) OVER (ORDER BY x ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING EXCLUDE CURRENT ROW) FROM (VALUES (1), (3), (2)) t(x) ORDER BY x;

SELECT * FROM (VALUES (1), (2)) a(x) FULL JOIN (VALUES (2), (3)) b(x) USING (x) ORDER BY x;

SELECT * FROM (VALUES (1), (2)) a(x) RIGHT JOIN (VALUES (2), (3)) b(x) USING (x) ORDER BY x;

SELECT x FROM (VALUES (1), (2)) a(x) NATURAL RIGHT JOIN (VALUES (2), (3)) b(x) ORDER BY x;

SELECT * FROM ROWS FROM (generate_series(1, 2), generate_series(5, 7)) AS t(a, b);

SELECT jsonb_path_query('{"a":[1,2,3]}', '$.a[*] ? (@ > 1)');

SELECT row_to_json(t) FROM (SELECT 1 AS a, 'x' AS b) t;

SELECT '{"a":1}'::jsonb IS JSON;

SELECT '{"a":1}' IS JSON OBJECT;

SELECT 'x' IS JSON;

SELECT count(*) FROM events WHERE payload->>'amount' > 100;

SELECT count(*) FROM events WHERE name = 5;

SELECT '\x00'::bytea || '\xff'::bytea;

SELECT 'x' COLLATE "de_DE";

SELECT name::int[] FROM events;

SET TimeZone = 'Europe/Berlin';

SELECT 0b101;

SELECT 1 ISNULL;
