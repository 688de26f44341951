-- Pools, drains and workers put aside; tokens bound to a pool; a store that was put back to an earlier
-- state says so until somebody accepts it.

ALTER TABLE workers ADD COLUMN pool TEXT;
ALTER TABLE workers ADD COLUMN drain TEXT;
ALTER TABLE workers ADD COLUMN aside TEXT;
ALTER TABLE tokens ADD COLUMN pool TEXT;
ALTER TABLE leadership ADD COLUMN seen_generation INTEGER;
ALTER TABLE leadership ADD COLUMN seen_commit INTEGER;
