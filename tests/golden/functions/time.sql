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

SELECT to_date('2024-03-05', 'YYYY-MM-DD'), to_date('05 Mar 2024', 'DD Mon YYYY'), to_date('20240305', 'YYYYMMDD'), to_date('March 5, 2024', 'Month DD, YYYY'), to_date('2024-064', 'YYYY-DDD');

SELECT to_timestamp('2024-03-05 14:07:09.123', 'YYYY-MM-DD HH24:MI:SS.MS'), to_timestamp('2024-03-05 14:07:09.123456', 'YYYY-MM-DD HH24:MI:SS.US');

SELECT to_timestamp('05/03/24 02:07 PM', 'DD/MM/YY HH12:MI AM'), to_timestamp('2024-03-05T14:07:09+02:00', 'YYYY-MM-DD"T"HH24:MI:SSTZH:TZM');

SELECT to_timestamp(1709647629), to_timestamp(1709647629.5), to_timestamp(-1), to_timestamp(NULL), to_timestamp(0);

-- error
SELECT to_date('2024-13-05', 'YYYY-MM-DD');

-- error
SELECT to_date('2024-02-30', 'YYYY-MM-DD');

-- error
SELECT to_date('x', 'YYYY');

SELECT to_date('', 'YYYY-MM-DD');

SELECT to_date(NULL, 'YYYY');

SELECT to_date('2024', 'YYYY'), to_date('24', 'YY'), to_date('70', 'YY'), to_date('99', 'YY'), to_date('5', 'Y'), to_date('124', 'YYY'), to_date('2,024', 'Y,YYY');

SELECT to_date('2024-W10', 'IYYY-"W"IW'), to_date('2024-10-3', 'IYYY-IW-ID'), to_date('2024 10', 'YYYY WW'), to_date('2460375', 'J');

SELECT to_timestamp('2024-03-05 14', 'FXYYYY-MM-DD HH24'), to_timestamp('2024/03/05', 'YYYY-MM-DD'), to_timestamp('  2024   03 05', 'YYYY MM DD'), to_timestamp('2024 3 5', 'FMYYYY FMMM FMDD');

SELECT to_timestamp('2024/03/05', 'FXYYYY-MM-DD');

-- error
SELECT to_timestamp('15', 'HH12');

SELECT to_timestamp('12 AM', 'HH AM'), to_timestamp('12 PM', 'HH PM'), to_timestamp('1 p.m.', 'HH P.M.');

SELECT to_timestamp('3600', 'SSSS'), to_timestamp('2024 3rd', 'YYYY DDth'), to_timestamp('Tue 5 MAR 2024', 'DY DD MON YYYY'), to_timestamp('Tuesday 5 march 2024', 'Day DD month YYYY');

SELECT to_timestamp('2024-03-05 10:00', 'YYYY-MM-DD HH24:MI'), to_timestamp('2024-03-05 10:00:00.5', 'YYYY-MM-DD HH24:MI:SS.US'), to_timestamp('2024-03-05 10:00:00.12', 'YYYY-MM-DD HH24:MI:SS.MS'), to_timestamp('2024-03-05 10:00:00.123456', 'YYYY-MM-DD HH24:MI:SS.FF6'), to_timestamp('2024-03-05 10:00:00.123', 'YYYY-MM-DD HH24:MI:SS.FF3');

SELECT to_timestamp('100 BC', 'YYYY BC'), to_timestamp('III 2024', 'RM YYYY'), to_timestamp('21 24', 'CC YY');

SELECT age(timestamp '2024-03-05', timestamp '2023-01-10'), age(timestamptz '2024-03-31 00:00+00', timestamptz '2024-02-29 00:00+00'), age(timestamp '2023-01-10', timestamp '2024-03-05 12:30:00'), age(date '2024-01-31', date '2023-12-31');

SELECT age(timestamp '2024-01-31') IS NOT NULL, age(timestamp '2001-04-10', timestamp '1957-06-13');

SELECT make_date(2024, 3, 5), make_timestamp(2024, 3, 5, 14, 7, 9.5), make_time(8, 15, 23.5), make_timestamptz(2024, 3, 5, 14, 7, 9.5), make_timestamptz(2024, 7, 5, 14, 7, 9.5, 'Europe/Berlin');

-- error
SELECT make_date(2024, 13, 5);

SELECT make_interval(days => 10), make_interval(1, 2, 3, 4, 5, 6, 7.5), make_interval(hours => 2, mins => 30), make_interval(), make_interval(secs => 90.25), make_interval(weeks => 2);

SELECT justify_days(interval '35 days'), justify_hours(interval '27 hours'), justify_interval(interval '1 mon -1 hour'), justify_interval(interval '-35 days 27 hours');

SELECT date_part('hour', timestamp '2024-03-05 14:07:09'), date_part('epoch', timestamptz '2024-03-05 14:07:09.5+00'), date_part('dow', date '2024-03-05'), date_part('epoch', interval '1 day 1 hour'), date_part('days', interval '1 mon 5 days');

SELECT extract(dow FROM timestamp '2024-03-10 00:00'), extract(isodow FROM timestamp '2024-03-10 00:00'), extract(week FROM date '2024-12-30'), extract(isoyear FROM date '2024-12-30'), extract(doy FROM date '2024-12-31'), extract(year FROM date '2024-12-31'), extract(quarter FROM date '2024-12-31');

SELECT extract(microseconds FROM timestamp '2024-03-05 14:07:09.5'), extract(minute FROM timestamp '2024-03-05 14:07:09.5'), extract(hour FROM time '14:07:09'), extract(month FROM date '2024-03-05'), extract(day FROM date '2024-03-05');

SELECT extract(epoch FROM date '2024-01-01'), extract(day FROM interval '40 days'), extract(month FROM interval '14 months'), extract(year FROM interval '14 months'), extract(hour FROM interval '27 hours');

SELECT extract(epoch FROM timestamptz '2024-03-05 14:07:09.5+00')::int, floor(extract(epoch FROM timestamptz '2024-03-05 14:07:09+00')/300)*300;

-- error
SELECT extract(foo FROM date '2024-03-05');

SELECT extract('hour' FROM timestamp '2024-03-05 14:07:09');

-- error
SELECT date_part('foo', now());

SELECT date '2024-03-05' - date '2024-02-01', date '2024-03-05' + 7, date '2024-03-05' - 7, 7 + date '2024-03-05', date '2024-03-05' + interval '1 day', date '2024-03-05' - interval '1 hour', date '2024-03-05' + time '10:00';

SELECT pg_typeof(date '2024-03-05' + 1), pg_typeof(date '2024-03-05' + interval '1 day'), pg_typeof(timestamp '2024-03-05' - timestamp '2024-03-01'), pg_typeof(now() - interval '1 day');

SELECT timestamp '2024-03-05 10:00' - timestamp '2024-03-01', timestamptz '2024-03-05 10:00+00' - timestamptz '2024-03-05 12:00+00', timestamp '2024-03-05' - date '2024-03-01', interval '1 day' / 2, interval '10 minutes' * 1.5, interval '1 hour' - interval '90 minutes', -interval '1 day', interval '1 day' + interval '3 hours';

-- error
SELECT interval '1 day' / 0;

SELECT time '10:00' + interval '1 hour', time '10:00' - time '08:30', time '23:00' + interval '2 hours', interval '1 hour' + time '10:00';

-- error
SELECT timestamp '2024-03-05' + 1;

-- error
SELECT timestamptz '2024-03-05 00:00+00' - 1;

-- error
SELECT now() - 1;

SELECT interval '1 day' > interval '23 hours', interval '1 month' = interval '30 days', interval '24 hours' = interval '1 day', interval '1 year' > interval '360 days';

SELECT now() - interval '1 hour' < now(), (timestamptz '2024-03-05 10:00+00' - timestamptz '2024-03-05 09:00+00') > interval '30 minutes', (timestamptz '2024-03-05 10:00+00' - timestamptz '2024-03-05 09:00+00') = interval '1 hour';

SELECT max(t) - min(t) FROM (VALUES (timestamptz '2024-03-05 10:00+00'), (timestamptz '2024-03-06 12:30+00')) x(t);

SELECT avg(b - a), sum(b - a), max(b - a) FROM (VALUES (timestamptz '2024-03-05 10:00+00', timestamptz '2024-03-05 11:00+00'), (timestamptz '2024-03-05 10:00+00', timestamptz '2024-03-05 12:00+00')) x(a, b);

SELECT timestamptz '2024-03-05 14:07:09+02', timestamptz '2024-03-05 14:07:09 Europe/Berlin', timestamptz '2024-03-05T14:07:09Z', timestamptz '2024-03-05 14:07:09', timestamptz '2024-03-05', timestamp '2024-03-05 14:07', timestamp '2024-03-05T14:07:09.123456789';

SELECT timestamptz '2024-03-05 14:07:09 EST', timestamptz '2024-03-05 14:07:09 PST8PDT', timestamptz '2024-03-05 14:07:09 UTC', timestamptz '2024-03-05 14:07:09-0530';

SELECT timestamptz 'Mar 5 2024 10:00', timestamptz '5 March 2024', date 'March 5, 2024', date '20240305', timestamp '20240305T101112', timestamptz '2024-03-05 10:00 PM';

SELECT '2024-03-05 14:07:09+02'::timestamp, '2024-03-05 10:00'::date, '2024-03-05'::timestamptz, '10:30'::time, '2024-03-05 10:30'::time;

SELECT 'infinity'::timestamptz, '-infinity'::timestamp;

SELECT isfinite('infinity'::timestamptz), isfinite(now()), isfinite(interval '1 day'), isfinite(date '2024-01-01');

SELECT 'epoch'::timestamptz;

SELECT current_date = now()::date, current_time IS NOT NULL;

SELECT date_trunc('week', timestamp '2024-03-05 10:00'), date_trunc('quarter', date '2024-03-05'), date_trunc('milliseconds', timestamp '2024-03-05 10:00:00.123456'), date_trunc('year', timestamptz '2024-03-05 10:00+00');

-- error
SELECT date_trunc('foo', now());

SELECT date_trunc('day', date '2024-03-05'), pg_typeof(date_trunc('day', date '2024-03-05'));

SELECT date_trunc('HOUR', timestamp '2024-03-05 10:20:30'), date_trunc('minutes', timestamp '2024-03-05 10:20:30'), date_trunc('days', timestamp '2024-03-05 10:20:30');

SELECT date_bin('15 minutes', timestamp '2024-03-05 10:20:30', timestamp '2024-01-01'), date_bin('1 hour', timestamptz '2024-03-05 10:20:30+00', timestamptz '2024-01-01 00:10+00'), date_bin(interval '5 days', timestamp '2024-03-05', timestamp '2024-03-10');

SELECT interval '1 year 2 months 3 days 04:05:06.789', interval '1 week', interval '1.5 days', interval '-1 day +02:03', interval '1h 30m', interval '90' minute, interval '5' day, interval '1 day 2 hours', interval '100 ms', interval '1.5 hours', interval '0.5 months', interval '5 us';

SELECT interval '10' second, interval '3' hour;

SELECT interval '5m', interval '5min', interval '5 mins', interval '30s', interval '30 sec', interval '2h', interval '1d', interval '1w', interval '1y', interval '3 mon', interval '1 decade', interval '1 century';

SELECT interval '5', interval '1:30', interval '1:30:15', interval '-1:30';

SELECT '1 day'::interval, '5 minutes'::interval::text, interval '25 hours', interval '1 month -1 day', interval '-1 month', interval '13 months', interval '100 days', interval '-90 minutes', interval '0', interval '1 day -1 hour';

SELECT timestamp '2024-01-31' + interval '1 month', timestamp '2024-03-31' - interval '1 month', timestamp '2024-02-29' + interval '1 year', timestamptz '2024-03-30 12:00+00' + interval '1 day', date '2024-01-31' + interval '1 month';

SELECT (date '2024-03-05', date '2024-03-10') OVERLAPS (date '2024-03-08', date '2024-03-20'), (date '2024-03-05', interval '10 days') OVERLAPS (date '2024-03-08', interval '1 day'), (timestamp '2024-03-05', timestamp '2024-03-10') OVERLAPS (timestamp '2024-03-10', timestamp '2024-03-12');

SELECT timestamptz '2024-07-01 12:00+00' AT TIME ZONE 'UTC', timestamptz '2024-07-01 12:00+00' AT TIME ZONE 'EST', timezone('UTC', timestamptz '2024-07-01 12:00+00');

-- error
SELECT timestamptz '2024-07-01 12:00+00' AT LOCAL;

SELECT (timestamptz '2024-07-01 12:00+00')::date, (timestamptz '2024-07-01 23:00+00' AT TIME ZONE 'Europe/Berlin')::date, (timestamptz '2024-07-01 12:00+00')::time, (timestamp '2024-07-01 12:00:00')::timestamptz, (date '2024-07-01')::timestamp, (date '2024-07-01')::timestamptz;

SELECT timestamptz '2024-07-01 12:00+00'::text, (timestamp '2024-07-01 12:00:00.10')::text, (date '2024-07-01')::text, (time '12:00')::text;

SELECT * FROM generate_series(timestamp '2024-03-05 00:00', timestamp '2024-03-05 06:00', interval '2 hours') AS t;

SELECT * FROM generate_series(timestamptz '2024-03-05 00:00+00', timestamptz '2024-03-05 06:00+00', '2 hours') AS t;

SELECT generate_series(1, 10, 3), generate_series(3, 1, -1);

SELECT * FROM generate_series(5, 1);

-- error
SELECT * FROM generate_series(1, 5, 0);

SELECT time '10:00' < time '11:00', '10:00:00'::time, time '10:00:00.123', time '24:00';

SELECT current_time IS NOT NULL;

SELECT to_char(timestamptz '2024-07-01 12:00:00.123456+00', 'YYYY-MM-DD HH24:MI:SS.MS TZ'), to_char(date '2024-07-01', 'Dy DD Mon YYYY'), to_char(interval '1 hour 5 minutes', 'HH24:MI'), to_char(timestamp '2024-07-01 00:30', 'HH12:MI AM'), to_char(timestamp '2024-07-01 00:30:00.123456', 'FF3 FF6 SSSS'), to_char(now(), 'YYYY') = extract(year from now())::text, to_char(timestamp '2024-07-01', 'TMMonth TMDay'), to_char(timestamp '2024-07-01','yyyy-mm-dd hh24:mi:ss');

SELECT timestamptz '2024-07-01 12:00+00' BETWEEN '2024-07-01T00:00:00Z' AND '2024-07-02T00:00:00Z', timestamptz '2024-07-01 12:00+00' > '2024-07-01', '2024-07-01 12:00:00'::timestamp = timestamptz '2024-07-01 12:00+00', date '2024-07-01' = timestamp '2024-07-01 00:00', date '2024-07-01' < now();

-- error
SELECT timestamptz '2024-07-01 12:00+00' = 'foo';

-- error
SELECT timestamptz '2024-07-01 12:00+00' > 5;

-- error
SELECT now() = 5;

-- error
SELECT date '2024-07-01' = 20240701;

SELECT date_part('year', '2024-07-01'::date)::int, extract(year from '2024-07-01'::date)::text || 'x';

SELECT to_timestamp(1709647629)::date, to_timestamp(1709647629) AT TIME ZONE 'UTC', to_timestamp('1709647629'::double precision), to_timestamp(1709647629.123456789);

-- error
SELECT 1709647629::timestamp;

-- error
SELECT '1709647629'::timestamptz;

-- error
SELECT avg(d) FROM (VALUES (date '2024-01-02')) t(d);

-- error
SELECT sum(t) FROM (VALUES (timestamp '2024-01-02')) t(t);

SELECT timestamp '0001-01-01 00:00', timestamp '9999-12-31 23:59:59.999999', date '0044-03-15 BC';

SELECT date_add(timestamptz '2024-03-30 12:00+00', interval '1 day'), date_subtract(timestamptz '2024-03-30 12:00+00', interval '1 day');

-- error
SELECT date_diff('day', date '2024-01-01', date '2024-01-02');

-- error
SELECT datediff('day', date '2024-01-01', date '2024-01-02');

SELECT timezone('Europe/Berlin', timestamp '2024-07-01 12:00');

-- error
SELECT unix_timestamp();

SELECT current_timestamp AT TIME ZONE 'UTC' IS NOT NULL;
