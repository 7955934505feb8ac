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
