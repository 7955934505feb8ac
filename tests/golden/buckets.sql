-- Checked by hand against TimescaleDB 2.23.0-dev (PGlite, PostgreSQL 17.5): the same rows, or an error on both sides.
SELECT time_bucket('1 month', timestamptz '2024-07-11 23:30:00+00'), time_bucket('3 months', timestamptz '2024-08-11 23:30:00+00'), time_bucket('1 year', timestamptz '2024-08-11 23:30:00+00'), time_bucket('5 months', timestamptz '2024-08-11 23:30:00+00');

SELECT time_bucket('1 week', timestamptz '2024-07-04 00:00:00+00'), time_bucket('2 weeks', timestamptz '2024-07-04 00:00:00+00'), time_bucket('1 day', timestamptz '2024-07-04 12:00:00+00'), time_bucket('3 days', timestamptz '2024-07-04 12:00:00+00'), time_bucket('10 minutes', timestamptz '1969-12-31 23:59:00+00');

SELECT time_bucket('1 month', timestamptz '2024-07-31 23:30:00+00', 'Europe/Berlin'), time_bucket('1 day', timestamptz '2024-03-31 22:30:00+00', 'Europe/Berlin'), time_bucket('1 hour', timestamptz '2024-10-27 00:30:00+00', 'Europe/Berlin'), time_bucket('12 hours', timestamptz '2024-03-31 12:00:00+00', 'America/New_York');

SELECT time_bucket('1 week', timestamptz '2024-07-04 00:00:00+00', timestamptz '2024-01-02 00:00:00+00'), time_bucket('1 month', timestamptz '2024-07-04 00:00:00+00', timestamptz '2024-01-15 00:00:00+00');

SELECT time_bucket('2 months', timestamptz '2024-07-04 00:00:00+00', timestamptz '2024-02-01 00:00:00+00');

SELECT time_bucket('1 hour', timestamptz '2024-07-04 00:20:00+00', INTERVAL '15 minutes'), time_bucket('1 hour', timestamptz '2024-07-04 00:10:00+00', INTERVAL '15 minutes'), time_bucket('1 day', timestamptz '2024-07-04 03:00:00+00', INTERVAL '-2 hours');

SELECT time_bucket('1 month', timestamptz '2024-07-04 00:20:00+00', INTERVAL '3 days');

SELECT time_bucket('1 day', timestamptz '2024-07-04 23:00:00+00', 'Europe/Berlin', timestamptz '2024-01-01 00:00:00+01', INTERVAL '1 hour');

SELECT time_bucket('1 day', timestamptz '2024-07-04 23:00:00+00', timezone => 'Asia/Tokyo', "offset" => INTERVAL '6 hours');

SELECT time_bucket(10, 23), time_bucket(10, -3), time_bucket(10, 23, 5), time_bucket(10::bigint, 23::bigint), time_bucket(5::smallint, 7::smallint);

SELECT time_bucket('1 month 1 day', timestamptz '2024-07-04 00:20:00+00');

SELECT time_bucket('0 seconds', timestamptz '2024-07-04 00:20:00+00');

SELECT time_bucket('-1 hour', timestamptz '2024-07-04 00:20:00+00');

SELECT time_bucket('1 hour', NULL::timestamptz), time_bucket(NULL::interval, timestamptz '2024-07-04 00:20:00+00');

SELECT time_bucket('1 day', timestamptz '2024-07-04 00:20:00+00', 'Mars/Phobos');

SELECT time_bucket(INTERVAL '1 hour', t) AS b, count(*) FROM (VALUES (timestamptz '2024-01-01 00:10+00'), (timestamptz '2024-01-01 00:50+00'), (timestamptz '2024-01-01 02:00+00')) x(t) GROUP BY b ORDER BY b;

SELECT time_bucket_gapfill('1 hour', t) AS b, count(*), sum(v), locf(avg(v)), interpolate(avg(v)) FROM (VALUES (timestamptz '2024-01-01 01:10+00', 10.0::float8), (timestamptz '2024-01-01 04:30+00', 40)) x(t, v) WHERE t >= '2024-01-01 00:00+00' AND t < '2024-01-01 06:00+00' GROUP BY b ORDER BY b;

SELECT time_bucket_gapfill('1 hour', t) AS b, g, sum(v), locf(sum(v)), interpolate(sum(v)) FROM (VALUES (timestamptz '2024-01-01 00:10+00', 'a', 1), (timestamptz '2024-01-01 03:30+00', 'a', 7), (timestamptz '2024-01-01 01:30+00', 'b', 5)) x(t, g, v) WHERE t >= '2024-01-01 00:00+00' AND t < '2024-01-01 04:00+00' GROUP BY b, g ORDER BY g, b;

SELECT time_bucket_gapfill('1 hour', t) AS b, g, h, count(v) FROM (VALUES (timestamptz '2024-01-01 00:10+00', 'a', 1, 1), (timestamptz '2024-01-01 01:30+00', NULL, 2, 7)) x(t, g, h, v) WHERE t >= '2024-01-01 00:00+00' AND t < '2024-01-01 02:00+00' GROUP BY b, g, h ORDER BY g, h, b;

SELECT time_bucket_gapfill('1 hour', t) AS b, interpolate(avg(v)) FROM (VALUES (timestamptz '2024-01-01 01:10+00', 10.0::float8), (timestamptz '2024-01-01 02:30+00', NULL), (timestamptz '2024-01-01 04:30+00', 40)) x(t, v) WHERE t >= '2024-01-01 00:00+00' AND t < '2024-01-01 06:00+00' GROUP BY b ORDER BY b;

SELECT time_bucket_gapfill('1 hour', t) AS b, interpolate(sum(v)) FROM (VALUES (timestamptz '2024-01-01 00:10+00', 1), (timestamptz '2024-01-01 03:30+00', 2)) x(t, v) WHERE t >= '2024-01-01 00:00+00' AND t < '2024-01-01 04:00+00' GROUP BY b ORDER BY b;

SELECT time_bucket_gapfill('1 day', t, 'Europe/Berlin') AS b, sum(v) FROM (VALUES (timestamptz '2024-03-30 12:00+00', 1), (timestamptz '2024-04-01 12:00+00', 2)) x(t, v) WHERE t >= '2024-03-29 23:00+00' AND t < '2024-04-01 22:00+00' GROUP BY b ORDER BY b;

SELECT time_bucket_gapfill('1 month', t, 'Europe/Berlin') AS b, sum(v) FROM (VALUES (timestamptz '2024-03-30 12:00+00', 1), (timestamptz '2024-06-01 12:00+00', 2)) x(t, v) WHERE t >= '2024-02-29 23:00+00' AND t < '2024-06-30 22:00+00' GROUP BY b ORDER BY b;

SELECT time_bucket_gapfill('1 month', t) AS b, sum(v) FROM (VALUES (timestamptz '2024-01-30 12:00+00', 1), (timestamptz '2024-04-01 12:00+00', 2)) x(t, v) WHERE t >= '2024-01-01 00:00+00' AND t < '2024-05-01 00:00+00' GROUP BY b ORDER BY b;

SELECT time_bucket_gapfill('1 hour', t, timestamptz '2024-01-01 00:00+00', timestamptz '2024-01-01 03:00+00') AS b, count(*) FROM (VALUES (timestamptz '2024-01-01 01:10+00', 1), (timestamptz '2024-01-01 05:10+00', 1)) x(t, v) GROUP BY b ORDER BY b;

SELECT time_bucket_gapfill('1 hour', t, start => '2024-01-01 00:00+00', finish => '2024-01-01 03:00+00') AS b, count(*) FROM (VALUES (timestamptz '2024-01-01 01:10+00', 1), (timestamptz '2024-01-01 01:20+00', 1)) x(t, v) GROUP BY b ORDER BY b;

SELECT time_bucket_gapfill('1 hour', t) AS b, count(*) FROM (VALUES (timestamptz '2024-01-01 01:10+00', 1), (timestamptz '2024-01-01 01:20+00', 1)) x(t, v) WHERE t > '2024-01-01 00:30+00' AND t <= '2024-01-01 03:00+00' GROUP BY b ORDER BY b;

SELECT time_bucket_gapfill('1 hour', t) AS b, count(*) FROM (VALUES (timestamptz '2024-01-01 01:10+00', 1), (timestamptz '2024-01-01 01:20+00', 1)) x(t, v) WHERE t BETWEEN '2024-01-01 00:00+00' AND '2024-01-01 03:00+00' GROUP BY b ORDER BY b;

SELECT time_bucket_gapfill('1 hour', t) AS b, count(*) FROM (VALUES (timestamptz '2024-01-01 01:10+00', 1), (timestamptz '2024-01-01 01:20+00', 1)) x(t, v) WHERE t BETWEEN '2024-01-01 00:00+00' AND '2024-01-01 03:00+00' AND v > 5 GROUP BY b ORDER BY b;

SELECT time_bucket_gapfill('1 hour', t) AS b, count(*) FROM (VALUES (timestamptz '2024-01-01 01:10+00', 1), (timestamptz '2024-01-01 01:20+00', 1)) x(t, v) GROUP BY b ORDER BY b;

SELECT time_bucket_gapfill('1 hour', t) AS b, sum(v) FROM (VALUES (timestamptz '2024-01-01 01:10+00', 1), (timestamptz '2024-01-01 01:20+00', 1)) x(t, v) WHERE t >= '2024-01-01 00:00+00' AND t < '2024-01-01 03:00+00' GROUP BY b HAVING sum(v) > 0 ORDER BY b;

SELECT time_bucket_gapfill('1 hour', t) AS b, sum(v) FROM (VALUES (timestamptz '2024-01-01 01:10+00', 1), (timestamptz '2024-01-01 01:20+00', 1)) x(t, v) WHERE t >= '2024-01-01 00:00+00' AND t < '2024-01-01 03:00+00' GROUP BY b ORDER BY b DESC LIMIT 2;

SELECT time_bucket_gapfill('1 hour', t) AS b, g, sum(v), lag(sum(v)) OVER (PARTITION BY g ORDER BY time_bucket_gapfill('1 hour', t)) FROM (VALUES (timestamptz '2024-01-01 01:10+00', 'a', 1), (timestamptz '2024-01-01 01:20+00', 'a', 1)) x(t, g, v) WHERE t >= '2024-01-01 00:00+00' AND t < '2024-01-01 03:00+00' GROUP BY b, g ORDER BY b;

SELECT time_bucket_gapfill('1 hour', t) AS b, sum(v) FROM (VALUES (timestamp '2024-01-01 01:10', 1), (timestamp '2024-01-01 01:20', 1)) x(t, v) WHERE t >= '2024-01-01 00:00' AND t < '2024-01-01 03:00' GROUP BY b ORDER BY b;

SELECT first(v, t), last(v, t) FROM (VALUES (1, 10), (2, 5), (3, NULL), (NULL, 1)) x(v, t);

SELECT first(v, t), last(v, t) FROM (VALUES (1, 10)) x(v, t) WHERE v > 5;

SELECT g, first(v, t), last(v, t) FROM (VALUES ('a', 1.5, timestamptz '2024-01-01 00:00+00'), ('a', 2.5, timestamptz '2024-01-02 00:00+00'), ('b', 3.5, timestamptz '2024-01-01 00:00+00')) x(g, v, t) GROUP BY g ORDER BY g;

SELECT histogram(v, 10, 0, 5) FROM (VALUES (1.0::float8)) x(v);

SELECT histogram(v, 0, 10, 0) FROM (VALUES (1.0::float8)) x(v);

SELECT time_bucket_gapfill('1 hour', t) AS b, locf(g) FROM (VALUES (timestamptz '2024-01-01 01:10+00', 'a'), (timestamptz '2024-01-01 01:20+00', 'a')) x(t, g) WHERE t >= '2024-01-01 00:00+00' AND t < '2024-01-01 03:00+00' GROUP BY b, g ORDER BY b;

SELECT time_bucket_gapfill('1 hour', t) AS b, locf(max(g)) FROM (VALUES (timestamptz '2024-01-01 01:10+00', 'a'), (timestamptz '2024-01-01 01:20+00', 'a')) x(t, g) WHERE t >= '2024-01-01 00:00+00' AND t < '2024-01-01 04:00+00' GROUP BY b ORDER BY b;
