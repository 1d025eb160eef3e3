//! Does the checker itself tell right from wrong? Histories that are right by construction, and ones
//! with one fault each, are judged by it and by checkers that others wrote.

mod corrupt;
mod cross_check;
mod generate;
mod oracle;
mod stories;
