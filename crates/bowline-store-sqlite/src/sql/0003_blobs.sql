-- Which blobs are named: asked before one is collected.
CREATE INDEX artifacts_by_digest ON artifacts (digest);
