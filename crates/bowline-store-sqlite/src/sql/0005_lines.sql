-- When a task took its ticket: priority counts from there. Of rows that were written before it is found at a take-over.

ALTER TABLE tasks ADD COLUMN ticket_at INTEGER;

-- Whether who asks for a resource rather goes to the worker that had it last: 'prefer' or 'exclusive'.

ALTER TABLE resources ADD COLUMN sticky TEXT;

-- What was set about namespaces: quotas and shares.

CREATE TABLE namespaces (
    name TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    room TEXT NOT NULL,
    changed_by TEXT NOT NULL,
    changed_at INTEGER NOT NULL
) WITHOUT ROWID;

-- When tasks began whose starts are counted under a key. At most as many as may begin within the key's time.

CREATE TABLE rates (
    namespace TEXT NOT NULL,
    key TEXT NOT NULL,
    per INTEGER NOT NULL,
    starts TEXT NOT NULL,
    PRIMARY KEY (namespace, key)
) WITHOUT ROWID;

-- Gangs of which a member has not ended: how far each is, and what its members have among themselves, as JSON.

CREATE TABLE gangs (
    id INTEGER PRIMARY KEY,
    version INTEGER NOT NULL,
    gang TEXT NOT NULL
);
