-- The first attempt of a task as a whole lies in the task's row: see tables/firsts.rs. What it is, and what was written of
-- it last: its generation, shifted left by 32, with its version. What is in the table of attempts stays there.

ALTER TABLE tasks ADD COLUMN first_key INTEGER;
ALTER TABLE tasks ADD COLUMN first TEXT;
