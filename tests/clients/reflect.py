"""SQLAlchemy: everything its inspector reads, reflection of all tables, and use of what was reflected.
Usage: reflect.py PORT USER. Prints one JSON line of what it saw."""

import json
import sys
import traceback

import sqlalchemy
from sqlalchemy.engine.reflection import ObjectKind

seen = {}
engine = sqlalchemy.create_engine(f"postgresql+psycopg://{sys.argv[2]}@127.0.0.1:{sys.argv[1]}/whence")


def part(function):
    """Runs one part; its failure belongs in the answer."""
    try:
        seen[function.__name__] = function()
    except Exception as error:
        traceback.print_exc()
        seen[function.__name__] = f"{type(error).__name__}: {error}"


def columns(inspector, table, schema=None):
    return [[str(value) if key == "type" else value for key, value in sorted(column.items())]
            for column in inspector.get_columns(table, schema)]


@part
def names():
    inspector = sqlalchemy.inspect(engine)
    return {
        "schemas": sorted(inspector.get_schema_names()),
        "default": inspector.default_schema_name,
        "tables": sorted(inspector.get_table_names()),
        "tables of a schema": sorted(inspector.get_table_names("whence")),
        "views": sorted(inspector.get_view_names()),
        "materialized": inspector.get_materialized_view_names(),
        "temporary": [inspector.get_temp_table_names(), inspector.get_temp_view_names()],
        "sequences": inspector.get_sequence_names(),
        "enums": inspector.get_enums(),
        "domains": inspector.get_domains(),
        "there": [inspector.has_table("events"), inspector.has_table("service_red"), inspector.has_schema("whence")],
        "not there": [inspector.has_table("nosuch"), inspector.has_table("jobs"), inspector.has_schema("nosuch")],
    }


@part
def details():
    inspector = sqlalchemy.inspect(engine)
    tables = ["events", "metrics", "correlations", "asset_metadata", "service_red"]
    return {table: {
        "columns": columns(inspector, table),
        "primary key": inspector.get_pk_constraint(table),
        "foreign keys": inspector.get_foreign_keys(table),
        "indexes": inspector.get_indexes(table),
        "unique": inspector.get_unique_constraints(table),
        "checks": inspector.get_check_constraints(table),
        "comment": inspector.get_table_comment(table),
        "options": inspector.get_table_options(table),
    } for table in tables}


@part
def several_at_once():
    inspector = sqlalchemy.inspect(engine)
    return sorted(str(key) for key in inspector.get_multi_columns(schema="whence", kind=ObjectKind.ANY))


@part
def of_a_schema():
    return columns(sqlalchemy.inspect(engine), "ingest_ledger", "whence")


@part
def not_there():
    try:
        sqlalchemy.inspect(engine).get_columns("nosuch")
    except sqlalchemy.exc.NoSuchTableError as error:
        return str(error)


@part
def reflected():
    tables = sqlalchemy.MetaData()
    tables.reflect(engine, views=True)
    tables.reflect(engine, schema="whence")
    return sorted([name, [[column.name, str(column.type), column.nullable, column.comment] for column in table.columns]]
                  for name, table in tables.tables.items())


@part
def definition():
    return sqlalchemy.inspect(engine).get_view_definition("service_red").strip()[:6]


@part
def selected():
    events = sqlalchemy.Table("events", sqlalchemy.MetaData(), autoload_with=engine)
    with engine.connect() as connection:
        question = sqlalchemy.select(events.c.name, events.c.id).where(events.c.asset_id == "checkout").limit(1)
        rows = connection.execute(question).all()
        among = sqlalchemy.select(sqlalchemy.func.count()).select_from(events).where(events.c.name.in_(["pay", "x"]))
        streamed = connection.execution_options(stream_results=True, max_row_buffer=10).execute(
            sqlalchemy.text("SELECT g FROM generate_series(1, :most) AS t(g)"), {"most": 100})
        return [[[name, type(identifier).__name__] for name, identifier in rows], connection.scalar(among) > 0,
                sum(row[0] for row in streamed)]


@part
def savepoints():
    with engine.begin() as connection:
        try:
            with connection.begin_nested():
                connection.execute(sqlalchemy.text("SELECT nope FROM events"))
        except sqlalchemy.exc.ProgrammingError:
            pass
        with connection.begin_nested():
            return connection.execute(sqlalchemy.text("SELECT 2")).scalar()


print(json.dumps(seen, default=str), flush=True)
