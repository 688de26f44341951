-- The first lines of a task's history lie in its row, one JSON array a line: see tables/history.rs. Whoever has not
-- ended is found by having no time at which it ended: a column that most updates leave alone, and its index with it.

ALTER TABLE tasks ADD COLUMN lines TEXT;
UPDATE tasks SET ended_at = since WHERE ended_at IS NULL AND state >= 8;
UPDATE tasks SET ended_at = NULL WHERE ended_at IS NOT NULL AND state < 8;
DROP INDEX tasks_open;
CREATE INDEX tasks_open ON tasks (id) WHERE ended_at IS NULL;
