//! The order of lines, shown: who waits for a resource is granted it in the order of tickets, whatever fails.
//!
//! | responsibility | module |
//! |---|---|
//! | whether what anyone outside can see kept the order: pure, and shown to find what is wrong | `order` |

#[allow(dead_code, reason = "the judge comes before the code that it judges, and before what feeds it")]
mod order;
