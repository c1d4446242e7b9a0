//! HAProxy told by its runtime API who serves: the fronts that composed runs, and those that people run themselves. One
//! task keeps one HAProxy; what it has confirmed is what the plan waits for.

mod keeper;
mod path;
mod pool;
mod reach;
mod runtime;

pub use path::Haproxies;
