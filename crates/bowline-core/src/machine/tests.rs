//! The table of states and inputs, every pair of it.
