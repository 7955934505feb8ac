"""SQLAlchemy: reflection and transactions. Usage: reflect.py PORT. Prints one JSON line of what it saw."""

import json
import sys
import traceback

import sqlalchemy

seen = {}
engine = sqlalchemy.create_engine(f"postgresql+psycopg://anyone@127.0.0.1:{sys.argv[1]}/whence")


def part(function):
    """Runs one part; its failure belongs in the answer."""
    try:
        seen[function.__name__] = function()
    except Exception as error:
        traceback.print_exc()
        seen[function.__name__] = f"{type(error).__name__}: {error}"


@part
def schemas():
    inspector = sqlalchemy.inspect(engine)
    return [sorted(inspector.get_schema_names()), sorted(inspector.get_table_names()), inspector.get_view_names(),
            inspector.default_schema_name]


@part
def reflected():
    tables = sqlalchemy.MetaData()
    tables.reflect(engine)
    events = tables.tables["events"]
    columns = {name: str(events.c[name].type) for name in ("id", "timestamp", "name", "payload", "duration_ns")}
    return [sorted(tables.tables), columns, [column.name for column in events.primary_key]]


@part
def details():
    inspector = sqlalchemy.inspect(engine)
    return [
        inspector.get_pk_constraint("events")["constrained_columns"],
        inspector.get_foreign_keys("events"),
        inspector.get_indexes("events"),
        inspector.get_unique_constraints("events"),
        inspector.get_check_constraints("events"),
        inspector.has_table("events"),
        inspector.has_table("nosuch"),
    ]


@part
def selected():
    events = sqlalchemy.Table("events", sqlalchemy.MetaData(), autoload_with=engine)
    with engine.connect() as connection:
        question = sqlalchemy.select(events.c.name, events.c.id).where(events.c.asset_id == "checkout").limit(1)
        name, identifier = connection.execute(question).one()
        streamed = connection.execution_options(stream_results=True, max_row_buffer=10).execute(
            sqlalchemy.text("SELECT g FROM generate_series(1, 100) AS t(g)"))
        return [name, type(identifier).__name__, sum(row[0] for row in streamed)]


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
