SELECT interval '1 day' * 3 AS a, 2 * interval '1 hour 30 minutes' AS b, interval '1 month' / 2 AS c, interval '1 day' * 0.5 AS d, interval '1 month 1 day' * -1 AS e;

SELECT timestamptz '2024-01-03 02:00:00+00' - timestamptz '2024-01-01 00:00:00+00' AS a, timestamp '2024-01-31 00:00:00' + interval '1 month' AS b,
date '2024-02-29' + interval '90 minutes' AS c, date '2024-03-01' - date '2024-02-01' AS d, timestamptz '2024-01-01 00:00:00+00' || '!' AS e;

SELECT date_trunc('day', timestamptz '2024-07-01 23:30:00+00', 'Europe/Berlin') AS a, date_trunc('month', timestamptz '2024-02-29 23:30:00+00', 'America/New_York') AS b, date_trunc('week', timestamptz '2024-03-31 12:00:00+00', 'Europe/Berlin') AS c;

SELECT timestamptz '2024-07-01 12:00:00+00' AT TIME ZONE 'Europe/Berlin' AS a, timestamp '2024-07-01 12:00:00' AT TIME ZONE 'Europe/Berlin' AS b, timestamp '2024-10-27 02:30:00' AT TIME ZONE 'Europe/Berlin' AS c, timestamp '2024-03-31 02:30:00' AT TIME ZONE 'Europe/Berlin' AS d;

SELECT to_char(timestamp '2024-03-05 14:07:09.123456', 'YYYY-MM-DD HH24:MI:SS.US') AS a, to_char(timestamp '2024-03-05 14:07:09.123456', 'Mon Month Dy Day DDD Q IYYY-IW ID AM') AS b, to_char(timestamp '2024-03-05 00:07:09', 'FMHH12:MI:SS am, FMDDth FMMonth YY') AS c, to_char(timestamptz '2024-03-05 14:07:09+00', '"Week" WW YYYY-MM-DD"T"HH24:MI:SSOF') AS d;

SELECT to_char(1234.5, 'FM999,999.00') AS a, to_char(-0.1, '99.99') AS b, to_char(485, '9,999') AS c, to_char(12, '9990999.9') AS d, to_char(148.5, 'FM999.999') AS e, to_char(-485, '999MI') AS f, to_char(485, 'S999') AS g, to_char(485, '99') AS h, to_char(0, '0.00') AS i;

SELECT to_char(interval '1 day 26 hours 5 minutes', 'DD HH24:MI:SS') AS a;

SELECT localtimestamp IS NOT NULL AS a, clock_timestamp() >= now() AS b, pg_sleep(0.001) IS NULL AS c, statement_timestamp() = now() AS d;

SELECT extract(hour FROM timestamp '2024-01-01 05:06:07') AS a, date_part('dow', timestamp '2024-01-07 00:00:00') AS b, date_trunc('hour', timestamp '2024-01-01 05:06:07') AS c;

-- error
SELECT timestamptz '2024-07-01 12:00:00+00' AT TIME ZONE 'Mars/Olympus';
