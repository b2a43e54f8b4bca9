//! The language and its operators: cases as files, the views of the retail mesh, and random histories against an oracle.

mod cases;
mod expressions;
mod oracle;
mod retail;
