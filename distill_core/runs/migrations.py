"""The run store's tables as numbered steps; a step that has shipped is never edited, a change is a new step.

The file's `user_version` says how many steps it has had.
"""

import sqlite3

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE runs (
            number INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of submission
            id TEXT NOT NULL UNIQUE,
            config TEXT NOT NULL,                      -- RunConfig as JSON
            state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'finished', 'failed', 'stopped', 'lost')),
            reason TEXT NOT NULL DEFAULT '',
            created REAL NOT NULL,                     -- times are seconds since the epoch
            started REAL,
            ended REAL,
            device TEXT,                               -- the one taken, never 'auto'
            phase TEXT NOT NULL DEFAULT '',
            phase_detail TEXT NOT NULL DEFAULT '',
            step INTEGER NOT NULL DEFAULT 0,
            stop_requested REAL,
            heartbeat REAL,
            pid INTEGER,
            pid_started REAL,
            token TEXT,
            model_path TEXT
        )
        """,
        "CREATE INDEX runs_by_state ON runs (state, number)",
        """
        CREATE TABLE metrics (
            cursor INTEGER PRIMARY KEY AUTOINCREMENT,  -- grows in the order of writing
            run_number INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
            step INTEGER NOT NULL,
            name TEXT NOT NULL,
            value REAL                                 -- NULL stands for nan
        )
        """,
        "CREATE INDEX metrics_by_run ON metrics (run_number, cursor)",
    ),
    (
        """
        CREATE TABLE data_used (                       -- none for runs of before this step
            run_number INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
            split TEXT NOT NULL,
            source TEXT NOT NULL,                      -- in words
            examples INTEGER NOT NULL,
            fingerprint TEXT NOT NULL,                 -- SHA-256 of the examples
            PRIMARY KEY (run_number, split)
        )
        """,
    ),
    (
        """
        CREATE TABLE runs_3 (                          -- as before, with pauses and places in the queue
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            config TEXT NOT NULL,
            state TEXT NOT NULL CHECK
                (state IN ('queued', 'running', 'paused', 'finished', 'failed', 'stopped', 'lost')),
            reason TEXT NOT NULL DEFAULT '',
            created REAL NOT NULL,
            started REAL,                              -- of the latest attempt, as is its end
            ended REAL,
            device TEXT,
            phase TEXT NOT NULL DEFAULT '',
            phase_detail TEXT NOT NULL DEFAULT '',
            step INTEGER NOT NULL DEFAULT 0,
            stop_requested REAL,
            heartbeat REAL,
            pid INTEGER,
            pid_started REAL,
            token TEXT,
            model_path TEXT,
            position REAL NOT NULL,                    -- place in the queue
            wish TEXT CHECK (wish IN ('stop', 'pause')),
            seconds_before REAL NOT NULL DEFAULT 0     -- that earlier attempts took
        )
        """,
        """
        INSERT INTO runs_3 SELECT number, id, config, state, reason, created, started, ended, device, phase,
            phase_detail, step, stop_requested, heartbeat, pid, pid_started, token, model_path, number,
            CASE WHEN stop_requested IS NULL THEN NULL ELSE 'stop' END, 0 FROM runs
        """,
        "DROP TABLE runs",
        "ALTER TABLE runs_3 RENAME TO runs",
        "CREATE INDEX runs_by_state ON runs (state, number)",
    ),
    (
        "ALTER TABLE runs ADD COLUMN renamed TEXT",  # NULL: called as its settings say
        "ALTER TABLE runs ADD COLUMN note TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE runs ADD COLUMN tags TEXT NOT NULL DEFAULT '[]'",  # JSON, a list of texts
    ),
    (  # what was evaluated, a few points among many; queries that name the same condition use it
        """
        CREATE INDEX evaluations ON metrics (run_number, name, cursor, step, value)
            WHERE (name GLOB 'validation/*' OR name GLOB 'agreement/*')
        """,
    ),
)
VERSION = len(MIGRATIONS)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a store up to VERSION in one transaction; a second process doing the same finds it done."""
    connection.execute("BEGIN IMMEDIATE")
    done: int = connection.execute("PRAGMA user_version").fetchone()[0]
    for step in MIGRATIONS[done:]:
        for statement in step:
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {max(done, VERSION)}")
    connection.execute("COMMIT")
