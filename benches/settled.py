"""Waits until the store has had nothing to join for some seconds: settled.py DSN"""

import sys
import time

import psycopg

with psycopg.connect(sys.argv[1], autocommit=True) as connection:
    query = "SELECT coalesce(sum(runs), 0) FROM whence.jobs WHERE job = 'compaction'"
    before, quiet = None, 0
    while quiet < 8:
        time.sleep(1)
        runs = connection.execute(query).fetchone()[0]
        quiet = quiet + 1 if runs == before else 0
        before = runs
