"""Waits until the store has had nothing to join for some seconds: settled.py DSN"""

import sys
import time

import psycopg

with psycopg.connect(sys.argv[1], autocommit=True) as connection:
    # A job that runs has no duration yet, and one may take longer than the seconds waited for.
    query = "SELECT runs, last_duration_ms IS NULL FROM whence.jobs WHERE job = 'compaction'"
    before, quiet = None, 0
    while quiet < 15:
        time.sleep(1)
        jobs = connection.execute(query).fetchall()
        runs, running = sum(runs for runs, _ in jobs), any(running for _, running in jobs)
        quiet = quiet + 1 if runs == before and not running else 0
        before = runs

# What was joined is deleted a minute later: other engines, which read all files, would read it twice until then.
time.sleep(65)
