"""adbc-driver-postgresql. Usage: arrow.py PORT. Prints one JSON line of what it saw."""

import json
import sys
import traceback

import adbc_driver_postgresql.dbapi

seen = {}
address = f"postgresql://anyone@127.0.0.1:{sys.argv[1]}/whence"


def part(function):
    """Runs one part on a connection of its own; its failure belongs in the answer."""
    try:
        with adbc_driver_postgresql.dbapi.connect(address) as connection:
            seen[function.__name__] = function(connection)
    except Exception as error:
        traceback.print_exc()
        seen[function.__name__] = f"{type(error).__name__}: {error}"


@part
def query(connection):
    with connection.cursor() as cursor:
        cursor.execute("SELECT asset_id, timestamp, duration_ns, sampled FROM (SELECT *, true AS sampled FROM events) AS e LIMIT 1")
        table = cursor.fetch_arrow_table()
        return [[field.name, str(field.type)] for field in table.schema] + [table.num_rows]


@part
def parameter(connection):
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM events WHERE asset_id = $1 AND duration_ns > $2", ("checkout", 1))
        return cursor.fetchall()


@part
def types(connection):
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, payload, 1.5::float8 AS f, 1.5::numeric AS n, NULL::text AS t, ARRAY['a', 'b'] AS l FROM events LIMIT 1")
        table = cursor.fetch_arrow_table()
        return [[field.name, str(field.type)] for field in table.schema]


@part
def schema(connection):
    return [[field.name, str(field.type)] for field in connection.adbc_get_table_schema("events")][:3]


def names(depth, **filters):
    """Names at one depth of the tree of objects, as adbc_get_objects gives them."""
    def of(connection):
        found = []
        for catalog in connection.adbc_get_objects(depth=depth, **filters).read_all().to_pylist():
            for schema in catalog["catalog_db_schemas"] or [None]:
                for table in (schema or {}).get("db_schema_tables") or [None]:
                    for column in (table or {}).get("table_columns") or [None]:
                        found.append([catalog["catalog_name"], schema and schema["db_schema_name"],
                                      table and [table["table_name"], table["table_type"]],
                                      column and [column["column_name"], column["xdbc_type_name"], column["ordinal_position"]]])
        return found
    return of


@part
def catalogs(connection):
    return names("catalogs")(connection)


@part
def schemas(connection):
    return sorted(names("db_schemas")(connection))


@part
def tables(connection):
    return sorted(names("tables", db_schema_filter="public")(connection))


@part
def columns(connection):
    found = names("all", db_schema_filter="public", table_name_filter="correlations")(connection)
    # They come in no order, from PostgreSQL too.
    return sorted(found, key=lambda one: one[3][2])[:3]


@part
def table_types(connection):
    return sorted(connection.adbc_get_table_types())


@part
def schema_of_a_schema(connection):
    return [[field.name, str(field.type)] for field in connection.adbc_get_table_schema("jobs", db_schema_filter="whence")][:2]


print(json.dumps(seen, default=str), flush=True)
