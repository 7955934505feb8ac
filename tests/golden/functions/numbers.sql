SELECT 0.1 + 0.2, 10.0 - 0.1, 1e2, 1e-3, 1.5e3, -0.5, .5, 5.;

SELECT pg_typeof(0.1::float8), pg_typeof(1.0 + 1.0::float8), pg_typeof(99999999999);

SELECT 7 / 2, -7 / 2, 7 % 3, -7 % 3, 7 % -3, 7.5 % 2, -7.5 % 2, mod(7, 3), mod(-7, 3), div(7, 2), div(-7.5, 2), mod(7.5, 2);

-- error
SELECT 1 / 0;

-- error
SELECT 1.0 / 0;

-- error
SELECT 1::float8 / 0;

-- error
SELECT 1 % 0;

-- error
SELECT mod(1, 0);

-- error
SELECT 0.0 / 0;

SELECT 2147483647::bigint + 1, 2147483647 + 1::bigint, 2147483648 + 1, 2147483647 * 2::bigint;

-- error
SELECT 9223372036854775807 + 1;

-- error
SELECT 9223372036854775807::bigint + 1::bigint;

-- error
SELECT (-9223372036854775807 - 1) / -1;

SELECT -(-2147483648);

-- error
SELECT 32767::smallint + 1::smallint;

-- error
SELECT 40000::smallint;

-- error
SELECT 3000000000::int;

-- error
SELECT 1e10::int;

-- error
SELECT 1e20::bigint;

-- error
SELECT 'NaN'::float8::int;

SELECT power(2, 10), 2 ^ 10, 2::float8 ^ 3, power(2, -1);

SELECT sqrt(2), sqrt(4), |/ 25.0, exp(1), ln(2), ln(2.0), log(100), log10(1000);

-- error
SELECT sqrt(-1);

-- error
SELECT ln(0);

-- error
SELECT ln(-1);

-- error
SELECT log(0.0);

-- error
SELECT power(0, -1);

SELECT abs(-5), abs(-5.5), abs(-5.5::float8), @ -5, sign(-5), sign(2.5), sign(0), sign(-2.5::float8);

SELECT ceil(1.2), ceil(-1.2), ceiling(1.2), floor(1.8), floor(-1.2), ceil(1.2::float8), floor(-1.2::float8), ceil(5), floor(5), trunc(1.8), trunc(-1.8), trunc(1.567, 2), trunc(1567.5, -2), trunc(1.8::float8);

SELECT round(2.5), round(3.5), round(-2.5), round(3.5::float8), round(2.567, 2), round(2.565, 2), round(1234.5, -2), round(5), round(2.4), round(1.5::float8);

SELECT round((5::float8)::numeric, 2), round((5.678::float8)::numeric, 2), round(sum(x)::numeric / count(*), 3) FROM (VALUES (1), (2), (4)) t(x);

SELECT 1.50::numeric(10,1), 2.345::numeric(10,2), (1.0/3)::numeric(10,4), 12345.678::numeric(7,2), 5::numeric(5,2);

-- error
SELECT 123456.789::numeric(5,2);

SELECT 1.10 + 2.205;

SELECT avg(x), sum(x), pg_typeof(avg(x)), pg_typeof(sum(x)) FROM (VALUES (1.5::float8), (2.25), (4)) t(x);

SELECT pg_typeof(sum(x)), sum(x) FROM (VALUES (1::smallint), (2::smallint)) t(x);

SELECT sum(x) FROM (VALUES (2147483647), (2147483647)) t(x);

SELECT avg(x), sum(x), min(x), count(x) FROM (VALUES (1)) t(x) WHERE x > 5;

SELECT stddev(x), variance(x), stddev_pop(x) FROM (VALUES (1)) t(x);

SELECT bool_and(x), bool_or(x), every(x) FROM (VALUES (true), (false), (NULL)) t(x);

SELECT bool_and(x), bool_or(x) FROM (VALUES (true)) t(x) WHERE NOT x;

SELECT bit_and(x), bit_or(x), bit_xor(x) FROM (VALUES (5), (3)) t(x);

SELECT any_value(x) FROM (VALUES (5)) t(x);

SELECT array_agg(x) FROM (VALUES (1)) t(x) WHERE x > 5;

SELECT array_agg(x ORDER BY y DESC NULLS LAST, x) FROM (VALUES (1, 2), (3, NULL), (2, 9)) t(x, y);

SELECT count(*) FILTER (WHERE x > 1), sum(x) FILTER (WHERE x > 5), count(x) FROM (VALUES (1), (2), (NULL)) t(x);

SELECT min(x), max(x) FROM (VALUES ('b'), ('a'), ('C')) t(x);

-- error
SELECT sum(x) FROM (VALUES ('a')) t(x);

-- error
SELECT sum(x) FROM (VALUES (true)) t(x);

-- error
SELECT avg(x) FROM (VALUES ('1')) t(x);

SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY x) FROM (VALUES (1.5), (2.5), (4.0)) t(x);

-- error
SELECT percentile_cont(1.5) WITHIN GROUP (ORDER BY x) FROM (VALUES (1)) t(x);

SELECT width_bucket(5.35, 0.024, 10.06, 5), width_bucket(0, 0, 10, 5), width_bucket(10, 0, 10, 5), width_bucket(-1, 0, 10, 5), width_bucket(5, 10, 0, 5), width_bucket(5.0::float8, 0, 10, 4);

-- error
SELECT width_bucket(5, 0, 10, 0);

-- error
SELECT width_bucket(5, 1, 1, 5);

SELECT random() BETWEEN 0 AND 1, pi(), degrees(pi()), radians(180), sin(1), cos(1), tan(1), cot(1), asin(1), acos(1), atan(1), atan2(1, 2), sinh(1), cosh(1), tanh(1), asinh(1), acosh(2), atanh(0.5);

SELECT gcd(12, 18), lcm(4, 6), factorial(5);

SELECT 5 & 3, 5 | 3, 5 # 3, ~5, 1 << 4, 256 >> 4;

-- error
SELECT 5!;

-- error
SELECT !!5;

SELECT 1 = 1.0, 1::float8 = 1.0, 1.0 = 1.00, 0.1 + 0.2 = 0.3, 0.1::float8 + 0.2::float8 = 0.3::float8, 'NaN'::float8 = 'NaN'::float8, 'NaN'::float8 > 1e300::float8, 'Infinity'::float8, '-inf'::float8;

SELECT 1.0::float8, 1.5::float4, 1e15::float8, 1e16::float8, 1e-5::float8, 0.1::float4::float8, 123456789.123::float8, 1e100::float8, 100000::float4;

SELECT (1.0::float8)::text, 1.5::float8::int, 0.5::float8::int, -0.5::float8::int, 1.5::numeric::int, 2.5::int, -2.5::int, 2.5::float8::bigint, 1.9::int::text;

SELECT -0.0::float8, 0 * -1.0::float8, 1/3.0::float8, 2.0::float8/3, 100::float8, 1e0::float8;

SELECT sum(x) FROM (VALUES (0.1::float8), (0.2)) t(x);

SELECT extract(hour FROM timestamp '2024-01-01 05:00') + 1;

SELECT 3 * 0.1, 1.1 * 1.1, 2 - 1.5, 1.5 + 1.5::float8, 1.5 * 2::float8, pg_typeof(1.5 * 2::float8);

SELECT 1.5 > 1, 1.5 > 1.5::float8, 2 BETWEEN 1.5 AND 2.5, 1.0 IN (1, 2), 0.1::float8 = 0.1;

SELECT float8 '1.5', double precision '2', real '1.5', int '5', bigint '5', smallint '5', integer '7', int4 '5', int8 '6', int2 '7', bool 'true', float '1.5';

SELECT 1::int2, 1::int4, 1::int8, 1::float4, 1::float, 1::real, 1::double precision, 1::float(10), 1::oid;

SELECT to_char(1234.5678, '9,999.99'), to_char(0.1 + 0.2, '0.00'), to_char(avg(x), '999.99') FROM (VALUES (1), (2), (4)) t(x);

SELECT 1_000;

SELECT 5 / 2::float, 5::float / 2, sum(5) / sum(2);

SELECT greatest(1, 2.5), least(1, 2.5::float8), coalesce(NULL, 1.5, 2), coalesce(1, 1.5), CASE WHEN true THEN 1 ELSE 2.5 END, nullif(1.5, 1);

SELECT * FROM (VALUES (1), (2.5)) t(x);

SELECT * FROM (VALUES (1), (2.5::float8)) t(x);

SELECT 1 AS x UNION ALL SELECT 2.5 ORDER BY x;

SELECT '1' AS x UNION ALL SELECT 2 ORDER BY x;

SELECT ARRAY[1, 2.5], ARRAY[1::float8, 2];

-- error
SELECT random(1, 10);

SELECT 12.0::int % 5, 1e3::int, 1.0::bigint;

SELECT 0.1 * 3 = 0.3, 1.1 + 2.2 = 3.3;

SELECT count(*) FROM (VALUES (0.1 + 0.2)) t(x) WHERE x = 0.3;

SELECT (0.7 * 100)::int, (1.005 * 1000)::bigint, floor(0.7 * 10);

SELECT x, x * 0.1, x / 10.0 FROM (VALUES (1::float8), (3)) t(x);

-- error
SELECT round(x::numeric, 2), round(CAST(x AS numeric), 1), x::numeric(10,2), trunc(x::numeric, 1) FROM (VALUES (1.2345::float8), (1e-7), (123456.789), (1e15)) t(x);
