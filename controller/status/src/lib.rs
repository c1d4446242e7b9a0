//! STATUS GOES OUT, COMMANDS COME IN: the status store that everybody looks at, what people ask the loop for, and who is told what
//! became of rollouts. How the API serves it is `composed-api`'s.

pub mod commands;
pub mod notifications;
pub mod store;
