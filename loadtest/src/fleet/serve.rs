//! One connection to an endpoint: calls one after the other. While one is worked on, a read is
//! under way, which tells when the client leaves.

use std::future::{Future, pending, poll_fn};
use std::io;
use std::net::TcpStream as StdStream;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use monoio::io::{AsyncWriteRentExt, OwnedWriteHalf, Splitable};
use monoio::net::TcpStream;
use serde_json::json;

use super::engine::{Engine, Slot};
use super::faults::Kind;
use super::question::Question;
use super::requests::{self, Request, Resource};
use super::{metrics, replies};
use crate::clock;
use crate::net::{Inbox, Incoming, Turn};
use crate::scenario::Endpoint;
use crate::stamp;

/// Longer than any run.
const FOREVER: Duration = Duration::from_secs(30 * 24 * 3600);

/// Why a connection ends.
enum End {
    /// The client left, or closes after this answer.
    Over,
    /// With a reset.
    Reset,
}

impl From<io::Error> for End {
    fn from(_lost: io::Error) -> End {
        End::Over
    }
}

/// A read that is under way beside other things.
struct Watch<'r, F> {
    read: Pin<&'r mut F>,
    came: bool,
}

impl<F: Future<Output = io::Result<()>>> Watch<'_, F> {
    /// What `wait` comes to, unless the client leaves first.
    async fn until<T>(&mut self, wait: impl Future<Output = T>) -> Result<T, End> {
        let mut wait = pin!(wait);
        poll_fn(|context| {
            if let Poll::Ready(output) = wait.as_mut().poll(context) {
                return Poll::Ready(Ok(output));
            }
            if !self.came {
                match self.read.as_mut().poll(context) {
                    Poll::Ready(Ok(())) => self.came = true,
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(End::Over)),
                    Poll::Pending => {}
                }
            }
            Poll::Pending
        })
        .await
    }

    /// The clock says `when`.
    async fn until_time(&mut self, when: u64) -> Result<(), End> {
        let now = clock::now();
        match when {
            u64::MAX => self.until(monoio::time::sleep(FOREVER)).await,
            when if when > now => {
                self.until(monoio::time::sleep(Duration::from_nanos(when - now)))
                    .await
            }
            _ => Ok(()),
        }
    }
}

/// Serves a connection to its end.
pub async fn serve(engine: Rc<Engine>, stream: StdStream) {
    let Ok(own) = stream.try_clone() else { return };
    if stream.set_nodelay(true).is_err()
        || stream.set_nonblocking(!crate::runtime::is_uring()).is_err()
    {
        return;
    }
    let Ok(stream) = TcpStream::from_std(stream) else {
        return;
    };
    let (read, mut outgoing) = stream.into_split();
    let mut incoming = Incoming::new(read, Inbox::default());
    if let Err(End::Reset) = converse(&engine, &mut incoming, &mut outgoing).await {
        // Dissolves the connection while it is still open: to drop it would be a clean end.
        let _ = rustix::net::connect_unspec(&own);
    }
}

async fn converse(
    engine: &Rc<Engine>,
    incoming: &mut Incoming,
    outgoing: &mut OwnedWriteHalf<TcpStream>,
) -> Result<(), End> {
    loop {
        let request = loop {
            match requests::parse(incoming.inbox.bytes()) {
                Ok(Some(request)) => break request,
                Ok(None) => incoming.fill().await?,
                Err(what) => {
                    let reply = replies::error(400, "bad_request", what);
                    outgoing.write_all(reply).await.0?;
                    return Err(End::Over);
                }
            }
        };
        let body = &incoming.inbox.bytes()[request.head..request.head + request.body];
        let question = Question::of(body);
        incoming.inbox.consume(request.head + request.body);
        let arrived = clock::now();
        let has_more = !incoming.inbox.bytes().is_empty();
        let mut read = pin!(incoming.fill());
        let mut watch = Watch {
            read: read.as_mut(),
            came: has_more,
        };
        let mut call = Call {
            engine,
            outgoing: &mut *outgoing,
            arrived,
        };
        call.respond(&request, question, &mut watch).await?;
        if request.close {
            return Err(End::Over);
        }
        // What is under way is the next request, or the end.
        if !watch.came {
            read.await?;
        }
    }
}

/// A request being answered.
struct Call<'c> {
    engine: &'c Rc<Engine>,
    outgoing: &'c mut OwnedWriteHalf<TcpStream>,
    arrived: u64,
}

impl Call<'_> {
    async fn send(&mut self, bytes: Vec<u8>) -> Result<Vec<u8>, End> {
        let (written, bytes) = self.outgoing.write_all(bytes).await;
        written?;
        Ok(bytes)
    }

    /// Waits while everything stands still; says if the call fails, with which status.
    async fn suffer<F>(&self, watch: &mut Watch<'_, F>) -> Result<Option<u16>, End>
    where
        F: Future<Output = io::Result<()>>,
    {
        loop {
            let since = clock::now() - self.engine.start;
            let Some(fault) = self.engine.spec.faults.at(since) else {
                return Ok(None);
            };
            match fault.kind {
                Kind::Status(status) => return Ok(Some(status)),
                Kind::Reset | Kind::Refuse => return Err(End::Reset),
                Kind::Slow(_) => return Ok(None),
                Kind::Stall => {
                    watch
                        .until_time(fault.until.saturating_add(self.engine.start))
                        .await?;
                }
            }
        }
    }

    async fn respond<F>(
        &mut self,
        request: &Request,
        question: Result<Question, String>,
        watch: &mut Watch<'_, F>,
    ) -> Result<(), End>
    where
        F: Future<Output = io::Result<()>>,
    {
        // Metrics are there to be looked at while all else fails.
        if request.resource == Resource::Metrics {
            let page = metrics::render(self.engine);
            let reply = replies::whole(200, "text/plain; version=0.0.4", page.as_bytes());
            return self.send(reply).await.map(drop);
        }
        if let Some(status) = self.suffer(watch).await? {
            let reply = replies::error(
                status,
                "simulated_failure",
                "this endpoint fails by schedule",
            );
            return self.send(reply).await.map(drop);
        }
        let reply = match request.resource {
            Resource::Call(endpoint) => match question {
                Ok(question) => return self.answer(endpoint, &question, watch).await,
                Err(what) => replies::error(400, "invalid_json", &what),
            },
            Resource::Models => replies::json(
                200,
                &json!({
                    "object": "list",
                    "data": [{"id": metrics::MODEL, "object": "model", "created": 0, "owned_by": "srpd-load"}],
                }),
            ),
            Resource::Health => replies::whole(200, "text/plain", b""),
            _ => replies::error(404, "unknown_url", "no such path"),
        };
        self.send(reply).await.map(drop)
    }

    /// Waits for a slot.
    async fn slot<F>(&self, watch: &mut Watch<'_, F>) -> Result<Slot, End>
    where
        F: Future<Output = io::Result<()>>,
    {
        let seat = match self.engine.ask() {
            Ok(slot) => return Ok(slot),
            Err(seat) => seat,
        };
        let given = watch.until(seat.work_or(pin!(pending::<()>()))).await;
        match given {
            Ok(Turn::Work(())) => Ok(self.engine.slot()),
            _ => {
                self.engine.leave(&seat);
                Err(End::Over)
            }
        }
    }

    async fn answer<F>(
        &mut self,
        endpoint: Endpoint,
        question: &Question,
        watch: &mut Watch<'_, F>,
    ) -> Result<(), End>
    where
        F: Future<Output = io::Result<()>>,
    {
        let answered = self.generate(endpoint, question, watch).await;
        let mut counts = self.engine.counts.borrow_mut();
        match &answered {
            Ok(()) => counts.finished += 1,
            Err(_) => counts.aborted += 1,
        }
        answered
    }

    async fn generate<F>(
        &mut self,
        endpoint: Endpoint,
        question: &Question,
        watch: &mut Watch<'_, F>,
    ) -> Result<(), End>
    where
        F: Future<Output = io::Result<()>>,
    {
        let slot = self.slot(watch).await?;
        let tokens = question.prompt_tokens();
        slot.hold(tokens);
        let read = self.engine.prefill(&question.prompt, tokens, clock::now());
        watch.until_time(read).await?;
        if endpoint == Endpoint::Embeddings {
            self.suffer(watch).await?;
            self.engine.first_token(clock::now() - self.arrived);
            return self
                .send(replies::answer(endpoint, question, 0))
                .await
                .map(drop);
        }
        let count = self.engine.answer_tokens(question.tokens);
        slot.hold(count as usize);
        if question.stream {
            return self.stream(endpoint, question, count, read, watch).await;
        }
        let mut due = read;
        for _ in 0..count {
            due += self.engine.decode(due);
        }
        watch.until_time(due).await?;
        self.suffer(watch).await?;
        self.engine.first_token(read.saturating_sub(self.arrived));
        self.engine.counts.borrow_mut().output_tokens += u64::from(count);
        self.send(replies::answer(endpoint, question, count))
            .await
            .map(drop)
    }

    /// Sends a stream, token by token, each when it is due.
    async fn stream<F>(
        &mut self,
        endpoint: Endpoint,
        question: &Question,
        count: u32,
        read: u64,
        watch: &mut Watch<'_, F>,
    ) -> Result<(), End>
    where
        F: Future<Output = io::Result<()>>,
    {
        let mut head = replies::STREAM_HEAD.to_vec();
        if endpoint == Endpoint::Chat {
            head.extend_from_slice(&replies::role());
        }
        let (mut event, stamp_at) = replies::token(endpoint, question, clock::system());
        let mut due = read;
        for number in 0..count {
            due += self.engine.decode(due);
            watch.until_time(due).await?;
            self.suffer(watch).await?;
            let now = clock::now();
            // Whatever held it up, the next token takes its time.
            due = due.max(now.saturating_sub(self.engine.decode(now)));
            if number == 0 {
                self.engine.first_token(now - self.arrived);
                head = self.send(head).await?;
            }
            stamp::write(&mut event, stamp_at, clock::now());
            event = self.send(event).await?;
            self.engine.counts.borrow_mut().output_tokens += 1;
        }
        self.send(replies::end(endpoint, question, count))
            .await
            .map(drop)
    }
}
