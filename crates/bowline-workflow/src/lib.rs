//! The workflow language: parse, validate, evaluate, advance.
//!
//! **Invariant:** pure: text and values in, graphs and tasks out; no IO, no clock; every evaluation
//! has a bound on steps, depth and size, and the same input gives the same output.
