//! The office as a whole: the desk with explicit times, then the thread over real sockets.

mod desk;
mod office;
mod supply;
