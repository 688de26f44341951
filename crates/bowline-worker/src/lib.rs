//! Identity, session, outbox, slots and action drivers of a worker.
