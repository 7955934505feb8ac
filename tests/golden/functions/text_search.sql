SELECT to_tsvector('simple', 'The Quick brown fox, the lazy dog')::text AS a, to_tsvector('simple', '')::text AS b, to_tsvector('simple', NULL)::text AS c;

SELECT to_tsvector('simple', 'GET http://shop.example.com:8080/cart/items?id=7 took 12.5ms (HTTP/1.1 503)')::text AS a;

SELECT to_tsvector('simple', 'mail ops@example.com about cart-579f59597d-wc2lz, v1.2.3 of read-only /var/log/app.log at 10.0.0.7:443')::text AS a;

SELECT to_tsvector('simple', 'temp -5 +7 3.14 1e-5 1.2.3.4 -1.2.3 0x1F 42nd <b>bold</b> &amp; a_b_c')::text AS a, to_tsvector('simple', 'it''s a \ backslash')::text AS b;

SELECT to_tsvector('simple', '{"b": "x y", "a": ["z", 1, true, "x"], "c": {"d": "deep value"}}'::jsonb)::text AS a, to_tsvector('simple', '{"b": "x y", "a": ["z", 1, true, "x"]}'::json)::text AS b;

SELECT plainto_tsquery('simple', 'Connection refused')::text AS a, phraseto_tsquery('simple', 'read-only file system')::text AS b, plainto_tsquery('simple', '')::text AS c, plainto_tsquery('simple', 'see http://a.com/x?y')::text AS d;

SELECT to_tsquery('simple', '!(a | b) & c')::text AS a, to_tsquery('simple', '''Quoted words'' & pre:*')::text AS b, to_tsquery('simple', 'a <2> b <-> c')::text AS c, to_tsquery('simple', 'read-only & x')::text AS d, to_tsquery('simple', 'a | b & !c | d <-> e')::text AS e;

SELECT websearch_to_tsquery('simple', '"connection refused" or timeout -retry')::text AS a, websearch_to_tsquery('simple', 'read-only "file system"')::text AS b, websearch_to_tsquery('simple', 'a or b c')::text AS c, websearch_to_tsquery('simple', '-"x y" z')::text AS d;

SELECT to_tsvector('simple', 'connection to db refused') @@ plainto_tsquery('simple', 'Connection Refused') AS a, to_tsvector('simple', 'connection to db refused') @@ phraseto_tsquery('simple', 'connection refused') AS b, to_tsvector('simple', 'connection refused') @@ phraseto_tsquery('simple', 'connection refused') AS c, plainto_tsquery('simple', 'refused') @@ to_tsvector('simple', 'connection refused') AS d, to_tsvector('simple', 'x') @@ plainto_tsquery('simple', '') AS e;

SELECT to_tsvector('simple', 'connection to db refused') @@ to_tsquery('simple', 'conn:* & !timeout') AS a, to_tsvector('simple', 'a b c') @@ to_tsquery('simple', 'a <2> c') AS b, to_tsvector('simple', 'a b c') @@ to_tsquery('simple', 'a <-> (b <-> c)') AS c, to_tsvector('simple', 'a b c') @@ to_tsquery('simple', 'x | (c & a)') AS d, to_tsvector('simple', 'read-only') @@ to_tsquery('simple', 'only') AS e;

SELECT to_tsvector('simple', '{"note": "connection refused", "code": 503}'::jsonb) @@ plainto_tsquery('simple', 'refused') AS a, to_tsvector('simple', '{"refused": 1}'::jsonb) @@ plainto_tsquery('simple', 'refused') AS b, to_tsvector('simple', '["a", "b"]'::jsonb) @@ phraseto_tsquery('simple', 'a b') AS c;

-- error
SELECT to_tsquery('simple', 'a b');

-- error
SELECT to_tsquery('simple', '(a');

-- error
SELECT to_tsvector('klingon', 'a');
