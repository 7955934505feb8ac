"""Times searches of `benches/texts.sh` through the PostgreSQL wire: texts.py DSN RUNS DATA PROCESS

PROCESS is the server's id, for its processor time; DATA the folder of the tables, for DuckDB.
"""

import os
import re
import statistics
import sys
import time

import psycopg

DSN, RUNS, DATA, PROCESS = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
# What chunks know is of no use to the second form: nothing follows from it.
SEARCHES = [
    ("a rare phrase", "body ILIKE '%certificate has expired%'"),
    ("a part of a rare word", "body LIKE '%ertificat%'"),
    ("a rare phrase, full-text", "to_tsvector('simple', body) @@ phraseto_tsquery('simple', 'certificate has expired')"),
    ("a key with a rare value", "payload->>'peer.certificate' = 'serial-0f6e-4711'"),
    ("a regular expression", "body ~ 'certificate.*aborted'"),
    ("in all attributes", "payload::text LIKE '%serial-0f6e%'"),
    ("a word that is nowhere", "body ILIKE '%segmentation fault%'"),
]


def processor_seconds():
    with open(f"/proc/{PROCESS}/stat", encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(cursor, sql):
    times = []
    cursor.execute(sql)
    rows = cursor.fetchone()[0]
    before = processor_seconds()
    for _ in range(RUNS):
        began = time.perf_counter()
        cursor.execute(sql)
        assert cursor.fetchone()[0] == rows
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times), (processor_seconds() - before) * 1000 / RUNS, rows


def main():
    try:
        import duckdb

        duck = duckdb.connect()
        duck.execute("SET TimeZone = 'UTC'")
    except ImportError:
        duck = None
    with psycopg.connect(DSN, autocommit=True) as connection:
        cursor = connection.cursor()
        cursor.execute("SET whence.cache = off")
        cursor.execute("SELECT count(*), sum(length(body)) FROM events")
        print("events, characters of bodies:", *cursor.fetchone(), flush=True)
        for name, condition in SEARCHES:
            sql = f"SELECT count(*) FROM events WHERE {condition}"
            pruned, cpu, rows = measure(cursor, sql)
            all_read, all_cpu, same = measure(cursor, f"{sql} OR severity = 'nowhere'")
            assert rows == same, (rows, same)
            plan = "\n".join(row[0] for row in cursor.execute(f"EXPLAIN ANALYZE {sql}") for row in [row[-1:]])
            groups = re.search(r"row_groups_pruned_text=([^,\]]*)", plan)
            line = f"{name:<26} {rows} rows {pruned:8.1f} ms, {cpu:7.1f} CPU; all read {all_read:8.1f} ms, {all_cpu:7.1f} CPU"
            if duck and "@@" not in condition:
                asked = condition.replace("payload->>'peer.certificate'", "payload::json->>'$.\"peer.certificate\"'")
                asked = asked.replace("body ~ 'certificate.*aborted'", "regexp_matches(body, 'certificate.*aborted')")
                files = f"read_parquet('{DATA}/events/*/*/*.parquet')"
                times = []
                for _ in range(RUNS):
                    began = time.perf_counter()
                    found = duck.execute(f"SELECT count(*) FROM {files} WHERE {asked}").fetchone()[0]
                    times.append((time.perf_counter() - began) * 1000)
                    assert found == rows, (found, rows)
                line += f"; DuckDB {statistics.median(times):8.1f} ms"
            print(line, "; row groups", groups.group(1) if groups else "not asked", flush=True)


main()
