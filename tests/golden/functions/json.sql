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
