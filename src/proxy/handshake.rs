//! What a connection begins with where TLS is spoken: the handshake, within its time, counted by
//! how it ended. Nothing of it is logged here: an exposed port must not let strangers fill the
//! log.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::client::Client;
use super::core::Core;
use super::settle::Attempt;
use crate::net::stream::Unopened;
use crate::net::tls::{Cause, cause, flaw};
use crate::net::{Conn, Ends, ServerTls};
use crate::tables::Fact;
use crate::telemetry::Handshake;

/// A client at the door.
pub enum Welcome {
    /// Let in: after a handshake, or as it is where the instance speaks plaintext.
    In(Conn),
    /// It asked in plaintext where TLS is spoken: there is nothing for it but an answer.
    Plain(Conn),
    /// Its handshake came to nothing.
    Out,
}

/// Lets a client in.
pub async fn welcome(core: &Core, conn: Conn) -> Welcome {
    let routes = core.routes();
    match &routes.tls {
        None => Welcome::In(conn),
        // Boxed: what it needs while it lasts would stay a part of every connection.
        Some(tls) => Box::pin(shake(core, conn, tls, routes.timeouts.head)).await,
    }
}

async fn shake(core: &Core, conn: Conn, tls: &ServerTls, limit: Duration) -> Welcome {
    conn.deadline.set(core.now() + limit, Ends::Handshake);
    let Unopened { error, conn } = match conn.accept_tls(tls).await {
        Ok(conn) => {
            core.metrics.client_handshake(opened(&conn));
            conn.deadline.clear();
            return Welcome::In(conn);
        }
        Err(unopened) => unopened,
    };
    core.metrics.client_handshake(failed(&error));
    match cause(&error) {
        Cause::Plaintext => return Welcome::Plain(conn),
        Cause::Gone | Cause::Timeout => {}
        // An alert says why, and is to be read.
        _ => {
            Client::new(conn, &core.routes().limits)
                .close(core.recently())
                .await
        }
    }
    Welcome::Out
}

/// Connects to one of the attempt's addresses, and begins TLS where its endpoint asks for it, all
/// within the limit.
///
/// # Errors
/// `TimedOut`, what the kernel says, or what is wrong with the other side's TLS.
pub async fn call_on(
    core: &Core,
    attempt: &Attempt<'_>,
    address: SocketAddr,
    limit: Duration,
) -> io::Result<Conn> {
    let until = core.now() + limit;
    let conn = core.dial(address, limit).await?;
    let Some(tls) = &attempt.endpoint().tls else {
        return Ok(conn);
    };
    conn.deadline.set(until, Ends::All);
    let (provider, endpoint) = (attempt.provider().id, attempt.endpoint().id);
    let error = match conn.connect_tls(tls).await {
        Ok(conn) => {
            core.metrics.provider_handshake(provider, opened(&conn));
            return Ok(conn);
        }
        Err(error) => error,
    };
    let result = failed(&error);
    core.metrics.provider_handshake(provider, result);
    // That a provider is not there is nothing to be told: its breaker knows what to do.
    if !matches!(result, Handshake::TimedOut | Handshake::Gone) {
        core.report(Fact::Unshaken {
            provider,
            endpoint,
            why: flaw(&error),
            at: core.recently(),
        });
    }
    Err(error)
}

fn opened(conn: &Conn) -> Handshake {
    match conn.tls() {
        Some(opening) if opening.resumed => Handshake::Resumed,
        _ => Handshake::Full,
    }
}

fn failed(error: &io::Error) -> Handshake {
    match cause(error) {
        Cause::Timeout => Handshake::TimedOut,
        Cause::Gone => Handshake::Gone,
        Cause::NotTls | Cause::Plaintext => Handshake::NotTls,
        Cause::NothingInCommon => Handshake::NoCommonVersion,
        Cause::Certificate => Handshake::BadCertificate,
        Cause::Refused => Handshake::Refused,
        Cause::Protocol => Handshake::Other,
    }
}
