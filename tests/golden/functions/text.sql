SELECT 'abc' ~ '^a.c$' AS a, 'ABC' ~* 'abc' AS b, 'abc' !~ 'x' AS c, 'abc' !~* 'B' AS d, E'a\nc' ~ 'a.c' AS e, 'abc' ILIKE 'A%' AS f;

SELECT 'a' SIMILAR TO '(a|b)%' AS a, 'abc' SIMILAR TO 'abc' AS b, 'abc' SIMILAR TO 'a' AS c, 'abc' SIMILAR TO '%(b|d)%' AS d, 'a.c' SIMILAR TO 'a.c' AS e, 'abc' NOT SIMILAR TO 'a.c' AS f, '10%' SIMILAR TO '10#%' ESCAPE '#' AS g;

SELECT regexp_match('foobar', '(o+)(b)') AS a, regexp_match('foobar', 'o+') AS b, regexp_match('foobar', 'x') AS c, regexp_match('FOO', 'o+', 'i') AS d;

SELECT regexp_replace('a.b.c', '\.', '-') AS a, regexp_replace('a.b.c', '\.', '-', 'g') AS b, regexp_replace('cost', '(c)', '$1\1\1') AS c, regexp_replace('word', '\yw', 'W') AS d;

SELECT regexp_matches('foobarbequebaz', '(b[^b]+)(b[^b]+)', 'g') AS m;

SELECT regexp_split_to_array('a, b,c', ',\s*') AS a, regexp_like('abc', 'B', 'i') AS b, regexp_count('ababab', 'ab') AS c, regexp_substr('abcd', 'b.') AS d, regexp_instr('abcd', 'c') AS e;

SELECT part FROM regexp_split_to_table('a b c', ' ') AS part;

SELECT '\x00ff'::bytea AS a, 'abc'::bytea AS b, ('\x00ff'::bytea)::text AS c, encode('\x00ff'::bytea, 'hex') AS d, 'a\\b\001'::bytea AS e;

SELECT (1.0::float8)::text AS a, (timestamptz '2024-01-01 00:00:00+00')::text AS b, (interval '90 minutes')::text AS c, (ARRAY['a', 'b c', NULL])::text AS d, true::text AS e;

SELECT 'd269b633-813f-c60c-eee1-9b7ec3c1b174'::uuid AS a, ('D269B633-813F-C60C-EEE1-9B7EC3C1B174'::uuid)::text AS b, gen_random_uuid() <> gen_random_uuid() AS c;

-- error
SELECT 'x'::uuid;

-- error
SELECT 'a' ~ '(';

SELECT 'a%b' LIKE 'a\%b', 'axb' LIKE 'a\%b', 'a_b' LIKE 'a#_b' ESCAPE '#', 'axb' LIKE 'a#_b' ESCAPE '#';

SELECT 'A_B' ILIKE 'a#_b' ESCAPE '#', 'a\b' LIKE 'a\b' ESCAPE '', 'a%' LIKE 'a!%' ESCAPE '!';

SELECT 'a_b' NOT LIKE 'a#_b' ESCAPE '#';

SELECT 'abc' LIKE 'a%', 'abc' LIKE '_b_', 'abc' NOT LIKE 'b%', 'ABC' NOT ILIKE 'b%';

SELECT 'abc' ~~ 'a%', 'ABC' ~~* 'a%', 'abc' !~~ 'b%', 'abc' !~~* 'B%';

SELECT 'x' LIKE NULL, NULL LIKE 'x', 'a' LIKE 'a\\';

SELECT 'a' LIKE 'a\';

SELECT 'abc' LIKE ANY (ARRAY['x%', 'a%']), 'abc' LIKE ALL (ARRAY['a%', '%c']), 'abc' ILIKE ANY (ARRAY['A%']), 'abc' NOT LIKE ALL (ARRAY['x%','y%']);

SELECT format('Hello %s, %I and %L', 'World', 'a b', 'it''s');

SELECT format('%1$s %2$s %1$s', 'a', 'b'), format('%%'), format('%s', NULL), format('%L', NULL), format('|%10s|%-10s|', 'abc', 'abc'), format('%s %s', 1, 2.5);

SELECT format('%s', true), format('%s', ARRAY[1,2]), format('%s', timestamptz '2024-01-01 00:00:00+00');

-- error
SELECT format('%x', 1);

-- error
SELECT format('%s');

SELECT format('|%*s|', 10, 'foo'), format('|%-*s|', 10, 'foo');

SELECT split_part('a,b,c', ',', 2), split_part('a,b,c', ',', -1), split_part('a,b,c', ',', 4), split_part('a,b,c', ',', -4), split_part('abc', '', 1), split_part('abc', '', 2);

-- error
SELECT split_part('a,b,c', ',', 0);

SELECT translate('12345', '143', 'ax'), translate('abc', 'ab', ''), translate('abc', '', 'x');

SELECT overlay('Txxxxas' PLACING 'hom' FROM 2 FOR 4), overlay('abcdef' PLACING 'zz' FROM 3), overlay('abc' PLACING 'x' FROM 10);

SELECT quote_literal('it''s'), quote_literal('a\b'), quote_literal(42), quote_ident('a b'), quote_ident('abc'), quote_ident('Abc'), quote_ident('select'), quote_nullable(NULL), quote_nullable('x'), quote_literal(NULL);

SELECT * FROM string_to_table('a,b,,c', ',');

SELECT string_to_table('a,b', ',');

SELECT * FROM string_to_table('a,b,,c', ',', '');

SELECT string_to_array('a,b,,c', ','), string_to_array('a,b,,c', ',', ''), string_to_array('abc', NULL), string_to_array('', ','), string_to_array('abc', '');

SELECT array_to_string(ARRAY['a', NULL, 'b'], ','), array_to_string(ARRAY['a', NULL, 'b'], ',', '*'), array_to_string(ARRAY[1,2,3], '-'), array_to_string(ARRAY[1.5, 2], ';');

SELECT left('abcde', 2), left('abcde', -2), right('abcde', 2), right('abcde', -2), left('abc', 0), left('abc', -5);

SELECT substr('abcdef', 2), substr('abcdef', 2, 3), substr('abcdef', -1, 3), substr('abcdef', 0, 3), substring('abcdef' FROM 2 FOR 3), substring('abcdef' FROM 3), substring('abcdef' FOR 2), substring('abcdef', 0), substring('abcdef', -5, 7);

-- error
SELECT substr('abc', 1, -1);

SELECT substring('foobar' FROM 'o.b'), substring('foobar' FROM 'o(.)b'), substring('foobar', 'o+');

SELECT position('b' IN 'abc'), strpos('abc', 'c'), strpos('abc', 'x'), strpos('abc', ''), position('' IN 'abc');

SELECT lpad('hi', 5), lpad('hi', 5, 'xy'), rpad('hi', 5, 'xy'), lpad('hello', 3), rpad('hello', 3), lpad('hi', -1), lpad('hi', 5, '');

SELECT trim('  a '), trim(BOTH 'x' FROM 'xxaxx'), trim(TRAILING 'xy' FROM 'axyx'), ltrim('xxa', 'x'), rtrim('axx', 'x'), btrim('xyaxy', 'yx'), trim('xa', 'x');

SELECT initcap('hello WORLD foo-bar'), reverse('abc'), repeat('ab', 3), repeat('ab', -1), repeat('ab', 0);

SELECT length('äb'), char_length('äb'), character_length('äb'), octet_length('äb'), bit_length('äb');

SELECT ascii('a'), ascii('ä'), ascii(''), chr(97), chr(228);

-- error
SELECT concat();

SELECT concat('a', NULL, 1, true, 2.5), concat_ws(',', 'a', NULL, 'b'), concat_ws(NULL, 'a', 'b');

SELECT 'a' || 1, 1 || 'a', 'a' || NULL, 'x' || true;

-- error
SELECT 1 || 2;

SELECT replace('abcabc', 'b', 'x'), replace('abc', '', 'x'), starts_with('abc', 'ab'), 'abc' ^@ 'ab';

SELECT md5('abc'), sha256('abc'::bytea), encode(sha256('abc'), 'hex'), encode('abc'::bytea, 'base64'), decode('YWJj', 'base64');

SELECT to_hex(255), to_hex(255::bigint), to_hex(-1::bigint);

SELECT regexp_replace('ABC', 'b', 'x', 'i'), regexp_replace('abc', 'b', '[\&]');

SELECT 'abc' ~ 'a{1,2}', 'a{' ~ 'a\{', '' ~ '', 'a' ~ '';

-- error
SELECT to_ascii('a');

SELECT parse_ident('a."B c"'), parse_ident('"x".y');

SELECT string_agg(x, ',') FROM (VALUES ('b'), ('a'), (NULL)) t(x);

SELECT string_agg(x, ',' ORDER BY x) FROM (VALUES ('b'), ('a'), ('c')) t(x);

SELECT string_agg(DISTINCT x, ',') FROM (VALUES ('b'), ('a'), ('b')) t(x);

SELECT string_agg(DISTINCT x, ',' ORDER BY x DESC) FROM (VALUES ('b'), ('a'), ('b')) t(x);

SELECT string_agg(x::text, ',' ORDER BY x DESC) FROM (VALUES (1), (3), (2)) t(x);

SELECT string_agg(x, ',') FROM (VALUES ('b')) t(x) WHERE x = 'z';

SELECT 'abc' < 'abd', 'a' < 'B', 'ab' > 'a', 'Z' < 'a';

SELECT 'x'::varchar(3), 'abcdef'::varchar(3), 'abc'::text;

SELECT CAST('abc' AS varchar), 'abc'::character varying(2);

SELECT 'foo' COLLATE "C";

SELECT 'a' COLLATE "C" < 'B' COLLATE "C";

SELECT * FROM (VALUES ('b'), ('A'), ('a'), ('B')) t(x) ORDER BY x COLLATE "C";

SELECT regexp_split_to_array('hello', ''), regexp_split_to_array('a1b2c', '\d');

-- error
SELECT casefold('A');

-- error
SELECT to_bin(5);

SELECT string_to_array('1,2,3', ',')::int[];

SELECT ('{1,2,3}'::int[])[2], '{a,b}'::text[];

SELECT 'yes'::bool, 'off'::boolean, 't'::bool, '1'::bool, 1::bool, 0::boolean, true::int, false::text;

-- error
SELECT 'maybe'::bool;

SELECT ' 12 '::int, '-5'::bigint, '1e3'::float8;

-- error
SELECT 'abc'::int;

-- error
SELECT '12.5'::int;

-- error
SELECT ''::int;

-- error
SELECT 'abc'::float8;

-- error
SELECT 'x'::numeric;

-- error
SELECT '99999999999'::int;

-- error
SELECT '2024-13-01'::date;

-- error
SELECT '2024-02-30'::date;

-- error
SELECT 'foo'::timestamptz;

-- error
SELECT 'foo'::interval;

-- error
SELECT '25:00'::time;

-- error
SELECT 'x'::jsonb;

SELECT 1 = '1', 1 < '2', '2024-01-01' < date '2024-01-02', 1.5 = '1.5', true = 't';

-- error
SELECT 1 = 'a';

-- error
SELECT 1 = '1'::text;

-- error
SELECT 'a'::text > 1;

-- error
SELECT '10'::text = 10;

SELECT 1 + '2', '3' * 2, 1.5 + '1';

-- error
SELECT 1 + 'a';

-- error
SELECT '1' + '2';

-- error
SELECT 'a'::text + 1;

-- error
SELECT upper(1);

-- error
SELECT substr(12345, 2);

-- error
SELECT lower(true);

-- error
SELECT replace(1, 2, 3);

-- error
SELECT trim(5);

-- error
SELECT * FROM (VALUES ('1'), ('a')) t(x) WHERE x = 1;

SELECT 5 IN ('5', '6'), 'a' IN ('a', 'b'), 1 IN (1, NULL), 2 IN (1, NULL), 2 NOT IN (1, NULL);

-- error
SELECT '5'::text IN (5, 6);

SELECT 5 BETWEEN '1' AND '9';

-- error
SELECT coalesce(1, 'a');

SELECT coalesce(1, '2'), coalesce(NULL, 'x'), coalesce(NULL, NULL, 3);

SELECT CASE 1 WHEN 1 THEN 'one' WHEN 2 THEN 'two' END, CASE WHEN NULL THEN 1 END;

SELECT nullif(1, 1), nullif(1, 2), nullif('a', 'b'), nullif(1, NULL);

-- error
SELECT nullif(1, 'a'::text);

-- error
SELECT greatest(1, 'a'::text);

SELECT greatest(1, NULL, 3), least(NULL, 2), greatest(NULL, NULL), greatest('a', 'b'), least(1, 2.5);

SELECT greatest(1, NULL, 3), least(NULL, 2), greatest('a', 'b'), least(1, 2.5);

SELECT num_nulls(1, NULL, 'a'), num_nonnulls(1, NULL, 'a');

SELECT concat('a', 'b') AS x, pg_typeof('a'::text), pg_typeof(now()), pg_typeof(NULL), pg_typeof(1::bigint), pg_typeof(1.0::float8), pg_typeof(true), pg_typeof('{}'::jsonb), pg_typeof(interval '1 day'), pg_typeof(date '2024-01-01');

-- error
SELECT crc32('a');

-- error
SELECT uuid_generate_v4();

SELECT to_char(123, '999'), to_char(-1.5, 'S9.9'), to_char(1234567.891, '9G999G999D99'), to_char(0.5, '9.9'), to_char(12, 'FM0000');

-- error
SELECT to_number('abc', '999');
