//! srpd from end to end: a real process, real sockets, an upstream that does what the test says,
//! and `docs/SRP.md` as the measure. One binary, so that it links once.

mod admin;
mod attempts;
mod balance;
mod bodies;
mod breakers;
mod cli;
mod drain;
mod driver;
mod dumps;
mod edges;
mod errors;
mod exhaustion;
mod failover;
mod framing;
mod headers;
mod health;
mod large;
mod limits;
mod load;
mod market;
mod oddities;
mod pipelining;
mod rates;
mod reload;
mod residency;
mod secrets;
mod selftest;
mod slow;
mod smuggling;
mod streams;
mod supply;
mod support;
mod systemd;
mod tls;
mod upgrade;
