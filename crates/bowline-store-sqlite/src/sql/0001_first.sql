-- The first form of the store. Times are microseconds since 1970 UTC; states, phases and ends are
-- numbered as in codec.rs; what has a shape of its own is JSON text. A single task's rows have the
-- element -1.

CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value NOT NULL
) WITHOUT ROWID;

CREATE TABLE leadership (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    epoch INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    commit_no INTEGER NOT NULL,
    now INTEGER NOT NULL,
    swept_commit INTEGER,
    swept_place INTEGER
);
INSERT INTO leadership VALUES (1, 0, 0, 0, 0, NULL, NULL);

CREATE TABLE counters (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    task INTEGER NOT NULL,
    run INTEGER NOT NULL,
    ticket INTEGER NOT NULL,
    worker INTEGER NOT NULL
);

CREATE TABLE tasks (
    id INTEGER PRIMARY KEY,
    version INTEGER NOT NULL,
    namespace TEXT NOT NULL,
    name TEXT,
    action TEXT NOT NULL,
    priority INTEGER NOT NULL,
    run INTEGER,
    node INTEGER,
    step TEXT,
    created_by TEXT NOT NULL,
    submitted_at INTEGER NOT NULL,
    round INTEGER NOT NULL,
    round_at INTEGER NOT NULL,
    ticket INTEGER NOT NULL,
    paused TEXT,
    array TEXT,
    state INTEGER NOT NULL,
    since INTEGER NOT NULL,
    phase INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    worker INTEGER,
    until INTEGER,
    failures INTEGER NOT NULL,
    losses INTEGER NOT NULL,
    outcome TEXT,
    waiting_at INTEGER,
    ready_at INTEGER,
    started_at INTEGER,
    ended_at INTEGER
);
CREATE INDEX tasks_by_namespace ON tasks (namespace, id);
CREATE INDEX tasks_by_run ON tasks (run, node, id) WHERE run IS NOT NULL;
CREATE INDEX tasks_by_worker ON tasks (worker, id) WHERE worker IS NOT NULL;
CREATE INDEX tasks_open ON tasks (id) WHERE state < 8;
CREATE INDEX tasks_ended ON tasks (ended_at, id) WHERE ended_at IS NOT NULL AND run IS NULL;

CREATE TABLE task_specs (
    task INTEGER PRIMARY KEY,
    spec TEXT NOT NULL
);

CREATE TABLE task_works (
    task INTEGER NOT NULL,
    place INTEGER NOT NULL,
    work TEXT NOT NULL,
    PRIMARY KEY (task, place)
) WITHOUT ROWID;

CREATE TABLE task_labels (
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    task INTEGER NOT NULL,
    PRIMARY KEY (key, value, task)
) WITHOUT ROWID;

CREATE TABLE task_needs (
    needed INTEGER NOT NULL,
    task INTEGER NOT NULL,
    PRIMARY KEY (needed, task)
) WITHOUT ROWID;

CREATE TABLE elements (
    task INTEGER NOT NULL,
    element INTEGER NOT NULL,
    version INTEGER NOT NULL,
    state INTEGER NOT NULL,
    since INTEGER NOT NULL,
    phase INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    worker INTEGER,
    until INTEGER,
    failures INTEGER NOT NULL,
    losses INTEGER NOT NULL,
    outcome TEXT,
    waiting_at INTEGER,
    ready_at INTEGER,
    started_at INTEGER,
    ended_at INTEGER,
    PRIMARY KEY (task, element)
) WITHOUT ROWID;

CREATE TABLE attempts (
    task INTEGER NOT NULL,
    element INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    version INTEGER NOT NULL,
    round INTEGER NOT NULL,
    worker INTEGER,
    incarnation INTEGER NOT NULL,
    session INTEGER NOT NULL,
    assigned_at INTEGER NOT NULL,
    started_at INTEGER,
    ended_at INTEGER,
    how INTEGER,
    outcome TEXT,
    PRIMARY KEY (task, element, generation, attempt)
) WITHOUT ROWID;

CREATE TABLE results (
    task INTEGER NOT NULL,
    element INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    json TEXT NOT NULL,
    PRIMARY KEY (task, element, generation, attempt)
) WITHOUT ROWID;

CREATE TABLE artifacts (
    task INTEGER NOT NULL,
    element INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (task, element, generation, attempt, name)
) WITHOUT ROWID;

CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    version INTEGER NOT NULL,
    namespace TEXT NOT NULL,
    workflow TEXT NOT NULL,
    state TEXT NOT NULL,
    created_by TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    outcome TEXT,
    result TEXT,
    paused TEXT,
    due_version INTEGER NOT NULL
);
CREATE INDEX runs_by_namespace ON runs (namespace, id);
CREATE INDEX runs_open ON runs (id) WHERE state IN ('running', 'stopping', 'finishing');
CREATE INDEX runs_ended ON runs (ended_at, id) WHERE ended_at IS NOT NULL;

CREATE TABLE run_specs (
    run INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    inputs TEXT NOT NULL,
    graph TEXT NOT NULL
);

CREATE TABLE nodes (
    run INTEGER NOT NULL,
    node INTEGER NOT NULL,
    version INTEGER NOT NULL,
    state TEXT NOT NULL,
    outcome TEXT,
    due_version INTEGER NOT NULL,
    PRIMARY KEY (run, node)
) WITHOUT ROWID;

CREATE TABLE workers (
    id INTEGER PRIMARY KEY,
    version INTEGER NOT NULL,
    name TEXT NOT NULL UNIQUE,
    key BLOB NOT NULL,
    incarnation INTEGER NOT NULL,
    seat TEXT,
    offer TEXT,
    paused TEXT,
    enrolled_at INTEGER NOT NULL
);

CREATE TABLE keys (
    namespace TEXT NOT NULL,
    key TEXT NOT NULL,
    body BLOB NOT NULL,
    made TEXT NOT NULL,
    at INTEGER NOT NULL,
    looked_at INTEGER NOT NULL,
    PRIMARY KEY (namespace, key)
) WITHOUT ROWID;
CREATE INDEX keys_by_look ON keys (looked_at, namespace, key);

-- The empty namespace stands for everything.
CREATE TABLE pauses (
    namespace TEXT PRIMARY KEY,
    mark TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE tokens (
    hash BLOB PRIMARY KEY,
    name TEXT NOT NULL,
    role TEXT NOT NULL
) WITHOUT ROWID;

-- seq is the commit's number, shifted left by 24, with the line's place in that commit.
CREATE TABLE task_history (
    task INTEGER NOT NULL,
    element INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    namespace TEXT,
    at INTEGER NOT NULL,
    what TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (task, element, seq)
) WITHOUT ROWID;

CREATE TABLE other_history (
    subject TEXT NOT NULL,
    seq INTEGER NOT NULL,
    namespace TEXT,
    at INTEGER NOT NULL,
    what TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (subject, seq)
) WITHOUT ROWID;

CREATE TABLE events (
    commit_no INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    count INTEGER NOT NULL,
    lines TEXT NOT NULL
);
