SELECT '{"b": 1, "a": [1, 2.50], "b": 2}'::jsonb AS a, '{"b": 1,  "a":2}'::json AS b, '"\u00e9"'::jsonb AS c;

SELECT '[1, 2]'::jsonb @> '[1]'::jsonb AS a, '{"a": 1, "b": 2}'::jsonb @> '{"a": 1.0}' AS b, '[1]'::jsonb <@ '[1, 2]'::jsonb AS c;

SELECT '{"a": 1}'::jsonb ? 'a' AS a, '["a"]'::jsonb ? 'a' AS b, '{"a": 1}'::jsonb ?| ARRAY['b', 'a'] AS c, '{"a": 1}'::jsonb ?& ARRAY['a', 'b'] AS d;

SELECT '{"a": {"b": [10, 20]}}'::jsonb #> '{a,b,1}' AS a, '{"a": {"b": [10, 20]}}'::jsonb #>> '{a,b,0}' AS b,
'{"a": {"0": "x"}}'::jsonb #>> '{a,0}' AS c, '{"a": {"b": "x"}}'::jsonb #>> ARRAY['a', 'b'] AS d, '[1, 2, 3]'::jsonb -> -1 AS e, '{"a": null}'::jsonb ->> 'a' AS f;

SELECT '{"a": 1}'::jsonb || '{"b": 2}' AS a, '{"a": 1, "b": 2}'::jsonb - 'a' AS b, '["a", "b"]'::jsonb - 0 AS c, '{"a": {"b": 1}}'::jsonb #- '{a,b}' AS d;

SELECT jsonb_array_elements('[1, {"a": 2}, "x"]') AS element;

SELECT * FROM jsonb_array_elements_text('["x", 1, null]');

SELECT tag FROM jsonb_array_elements_text('["x", "y"]') AS tag;

SELECT * FROM jsonb_each('{"b": 1, "a": "x"}');

SELECT * FROM jsonb_each_text('{"b": 1, "a": "x"}') AS e(k, v) WHERE v <> '1';

SELECT * FROM jsonb_object_keys('{"b": 1, "aa": 2}') AS keys ORDER BY keys;

SELECT * FROM jsonb_array_elements('["x", "y"]') WITH ORDINALITY AS t(item, n);

SELECT t.id, x.value FROM (VALUES (1, '[1, 2]'::jsonb), (2, NULL::jsonb), (3, '[]'::jsonb)) AS t(id, doc), jsonb_array_elements(t.doc) AS x ORDER BY t.id, x.value::text;

SELECT t.id, x FROM (VALUES (1, '["a", "b"]'::jsonb), (2, NULL::jsonb), (3, '[]'::jsonb)) AS t(id, doc)
LEFT JOIN LATERAL jsonb_array_elements_text(t.doc) AS x ON true ORDER BY 1, 2;

SELECT jsonb_array_length('[1, 2]') AS a, jsonb_typeof('{}') AS b, jsonb_extract_path('{"a": {"b": 1}}', 'a') AS c, jsonb_extract_path_text('{"a": {"b": 1}}', 'a', 'b') AS d;

SELECT jsonb_pretty('{"b": [1, {}], "a": null}') AS pretty, jsonb_strip_nulls('{"a": null, "b": [null, {"c": null}]}') AS stripped;

SELECT jsonb_build_object('a', 1, 'b', ARRAY[1, 2], 'c', NULL, 'd', '{"x": 1}'::jsonb) AS a, jsonb_build_array(1, 'x', true) AS b, json_build_object('b', 1, 'a', 'x') AS c;

SELECT to_jsonb('x'::text) AS a, to_jsonb(1.5) AS b, to_jsonb(true) AS c, to_jsonb(timestamptz '2024-01-01 00:00:00+00') AS d, to_jsonb('{"b": 1, "a": 2}'::jsonb) AS e;

SELECT jsonb_agg(v ORDER BY v DESC) AS a, jsonb_agg(v) FILTER (WHERE v > 5) AS b, jsonb_object_agg(v, v * 2) AS c FROM (VALUES (1), (2)) AS x(v);

-- error
SELECT '{"a": }'::jsonb;

-- error
SELECT jsonb_array_length('{"a": 1}');

SELECT '{"a":1}'::jsonb -> 'a', '{"a":1}'::jsonb ->> 'a', '[1,2]'::jsonb -> 0, '[1,2]'::jsonb ->> -1, '{"a":{"b":2}}'::jsonb #> '{a,b}', '{"a":{"b":2}}'::jsonb #>> '{a,b}';

SELECT ('{"a":1}'::jsonb ->> 'a')::int + 1, ('{"a":true}'::jsonb -> 'a')::boolean, ('{"a":1}'::jsonb -> 'a')::int;

-- error
SELECT ('{"a":"x"}'::jsonb -> 'a')::int;

SELECT '{"a":1}'::jsonb -> 'x', '{"a":null}'::jsonb -> 'a', '{"a":null}'::jsonb ->> 'a', '"x"'::jsonb -> 'a', '[1]'::jsonb -> 5;

-- error
SELECT '{"a":1}'::jsonb['a'];

SELECT '{"a":1,"b":2}'::jsonb = '{"b":2,"a":1}'::jsonb, '1'::jsonb < '2'::jsonb;

SELECT jsonb_build_object('a', 1, 'b', now() IS NOT NULL), jsonb_build_object();

SELECT to_jsonb(ARRAY[1, 2]), to_jsonb(1), to_jsonb(NULL::text), to_jsonb(date '2024-01-01'), to_jsonb(interval '1 day'), to_jsonb(1.0::float8);

SELECT json_agg(x), jsonb_agg(x ORDER BY x DESC), json_object_agg(x, x * 2) FROM (VALUES (1), (2)) t(x);

-- error
SELECT * FROM jsonb_populate_record(NULL::record, '{}');

SELECT * FROM json_array_elements('[1,2]'), jsonb_object_keys('{"x":1}');

SELECT key, value FROM jsonb_each('{"a":1,"b":[2]}');

-- error
SELECT jsonb_array_elements('{"a":1}');

-- error
SELECT jsonb_object_keys('[1]');

SELECT '{"a":1}'::jsonb @> '{"a":1}', '{"a":1}'::jsonb ? 'a', '["a"]'::jsonb ?| ARRAY['a','b'], '{"a":1}'::jsonb ?& ARRAY['a','b'];

SELECT '{"a":1}'::jsonb || '{"a":2,"b":3}', '[1]'::jsonb || '[2]', '[1]'::jsonb || '2', '{"a":1}'::jsonb - 'a', '{"a":1,"b":2}'::jsonb - ARRAY['a','b'], '[1,2,3]'::jsonb - 1;

SELECT '{"a":1}'::json ->> 'a', '{"a": [1, 2]}'::json -> 'a', json_typeof('1'), json_array_length('[1,2]'), json_extract_path_text('{"a":{"b":"c"}}', 'a', 'b');

SELECT jsonb_typeof('null'), jsonb_typeof('1'), jsonb_typeof('"x"'), jsonb_typeof('[]'), jsonb_typeof('true');

SELECT '{"a":1}'::jsonb::text, '{"a":"x"}'::jsonb ->> 'a' || 'y', length('{"a":1}'::jsonb::text), '"abc"'::jsonb #>> '{}';

SELECT '{"b":1,"a":{"d":2,"c":3}}'::jsonb, '[1, 2.50, 1e3, -0, "a\u0041\n"]'::jsonb, '  {"a" :1}'::json;

-- error
SELECT '{"a":1}'::jsonb - 1;

SELECT jsonb_strip_nulls('{"a":null,"b":1}'), jsonb_pretty('[1]'), jsonb_array_length('[]');

SELECT '1'::jsonb::int, '"5"'::jsonb::text, 'true'::jsonb::boolean;

SELECT json_build_array(1, 'a', NULL);

SELECT (x ->> 'n')::float8, (x ->> 'n')::numeric(10,2) FROM (VALUES ('{"n":1.5}'::jsonb)) t(x);

SELECT x -> 'n' = '1' FROM (VALUES ('{"n":1}'::jsonb)) t(x);

-- error
SELECT json_value('{"a":1}', '$.a');
