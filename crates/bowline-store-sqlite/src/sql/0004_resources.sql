-- Declared resources, what tasks and elements hold of them, and which tasks ask for which.

CREATE TABLE resources (
    name TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    capacity INTEGER NOT NULL,
    units TEXT NOT NULL,
    out_of_service TEXT,
    changed_by TEXT NOT NULL,
    changed_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE task_resources (
    resource TEXT NOT NULL,
    task INTEGER NOT NULL,
    PRIMARY KEY (resource, task)
) WITHOUT ROWID;

ALTER TABLE tasks ADD COLUMN held TEXT;
ALTER TABLE elements ADD COLUMN held TEXT;
