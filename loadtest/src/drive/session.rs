//! One connection's task: calls one after the other, a new connection where one has ended.

use std::future::pending;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use super::worker::{Job, Worker};
use crate::clock;
use crate::measure::{Failure, Interval, Metric, Tally};
use crate::net::{Connection, Inbox, Seat, Turn};
use crate::wire::{Answer, Broken, Pace, Seen, Sink};

/// How long a closed loop waits after a connection that failed.
const PAUSE: Duration = Duration::from_millis(10);

/// What a connection's task needs over and over.
struct Kit {
    worker: Rc<Worker>,
    target: usize,
    seat: Rc<Seat<Job>>,
    answer: Answer,
    request: Vec<u8>,
    body: Vec<u8>,
}

/// What comes after a connection has ended.
enum Then {
    /// A call, or nothing yet.
    Next(Option<Job>),
    /// Nothing any more.
    Leave,
}

/// Serves the seat until it is called away.
pub async fn run(worker: Rc<Worker>, target: usize, seat: Rc<Seat<Job>>) {
    let pace = Pace {
        stated: worker.scenario().pace,
    };
    let mut kit = Kit {
        answer: Answer::new(clock::system(), pace),
        worker,
        target,
        seat,
        request: Vec::new(),
        body: Vec::new(),
    };
    let mut next = kit.seat.take();
    let mut inbox = Inbox::default();
    loop {
        let job = match next.take() {
            Some(job) => job,
            None => match kit.seat.work_or(pin!(pending::<()>())).await {
                Turn::Work(job) => job,
                Turn::Other(()) | Turn::Called => break,
            },
        };
        kit.seat.set_deadline(kit.deadline(&job));
        let target = &kit.worker.scenario().targets[kit.target];
        let opening = Connection::open(target.address, target.tls.as_ref(), inbox);
        let opened = kit.seat.guard(pin!(opening)).await;
        inbox = Inbox::default();
        next = match opened {
            Some(Ok(mut connection)) => match kit.converse(&mut connection, job).await {
                Then::Leave => break,
                Then::Next(next) => {
                    inbox = connection.into_inbox();
                    next
                }
            },
            Some(Err(error)) => {
                let code = match error.kind() {
                    io::ErrorKind::ConnectionRefused => "connection_refused",
                    io::ErrorKind::InvalidData => "tls_failed",
                    _ => "connect_failed",
                };
                kit.fail(&job, clock::now(), 0, code).await
            }
            None => kit.fail(&job, clock::now(), 0, "timeout").await,
        };
    }
    kit.worker.leave();
}

impl Kit {
    fn deadline(&self, job: &Job) -> u64 {
        job.intended.saturating_add(self.worker.scenario().timeout)
    }

    /// Calls over one connection, until it can't be used for another.
    async fn converse(&mut self, connection: &mut Connection, first: Job) -> Then {
        let mut ready = Some(first);
        loop {
            let (job, sent, began) = {
                // While there is nothing to do, a read is under way: it tells of the end.
                let mut read = pin!(connection.incoming.fill());
                let job = match ready.take() {
                    Some(job) => job,
                    None => match self.seat.work_or(read.as_mut()).await {
                        Turn::Work(job) => job,
                        Turn::Other(_) => return Then::Next(None),
                        Turn::Called => return Then::Leave,
                    },
                };
                self.seat.set_deadline(self.deadline(&job));
                let shape = self.worker.scenario().shape(job.number);
                let template = &self.worker.lanes[self.target].templates[job.class];
                template.write(&shape, &mut self.request, &mut self.body);
                self.answer
                    .begin(self.worker.scenario().classes[job.class].stream);
                let sent = clock::now();
                let request = std::mem::take(&mut self.request);
                let sending = connection.outgoing.send(request);
                let began = match self.seat.guard(pin!(sending)).await {
                    None => Err("timeout"),
                    Some((Err(_), _)) => Err("connection_lost"),
                    Some((Ok(()), request)) => {
                        self.request = request;
                        self.read_in(self.seat.guard(read).await)
                    }
                };
                (job, sent, began)
            };
            let ended = match began {
                Ok(()) => self.receive(connection, &job).await,
                Err(code) => Err(code),
            };
            let status = self.answer.seen.head.map_or(0, |head| head.status);
            let keeps = match ended {
                Err(code) => return Then::Next(self.fail(&job, sent, status, code).await),
                Ok(keeps) => keeps,
            };
            let failure = self.answer.fault().map(|code| Failure {
                status,
                code: code.to_owned(),
            });
            let end = failure.map_or(Ok(()), Err);
            self.worker
                .conclude(self.target, &job, sent, &self.answer.seen, end);
            ready = self.worker.next(self.target, &self.seat);
            if !keeps {
                return Then::Next(ready);
            }
        }
    }

    /// What a read has brought, in words.
    fn read_in(&self, read: Option<io::Result<()>>) -> Result<(), &'static str> {
        match read {
            Some(Ok(())) => Ok(()),
            None => Err("timeout"),
            Some(Err(error)) => Err(match (error.kind(), self.answer.seen.first_byte) {
                (io::ErrorKind::ConnectionReset, _) => "connection_reset",
                (io::ErrorKind::UnexpectedEof, 0) => "closed_without_answer",
                (io::ErrorKind::UnexpectedEof, _) => "answer_truncated",
                _ => "connection_lost",
            }),
        }
    }

    /// Takes the answer in, of which something is there: whether the connection can be used again.
    async fn receive(
        &mut self,
        connection: &mut Connection,
        job: &Job,
    ) -> Result<bool, &'static str> {
        loop {
            connection.open_received().map_err(|_| "tls_failed")?;
            let inbox = connection.inbox();
            let now = clock::now();
            let answer = &mut self.answer;
            let fed = self.worker.with_tally(self.target, job, |tally, interval| {
                answer.feed(inbox.bytes(), now, &mut Times { tally, interval })
            });
            let (used, over) = fed.map_err(|Broken(what)| what)?;
            inbox.consume(used);
            if over {
                let closes = self.answer.seen.head.is_none_or(|head| head.close);
                return Ok(!closes && inbox.bytes().is_empty());
            }
            let read = self.seat.guard(pin!(connection.incoming.fill())).await;
            if let Err(code) = self.read_in(read) {
                // Where nothing says how long an answer is, its end is the connection's.
                return if code == "answer_truncated" && self.answer.close() {
                    Ok(false)
                } else {
                    Err(code)
                };
            }
        }
    }

    /// The call failed with its connection: what comes next.
    async fn fail(&mut self, job: &Job, sent: u64, status: u16, code: &str) -> Option<Job> {
        let seen = match status {
            0 => &Seen::default(),
            _ => &self.answer.seen,
        };
        let code = self
            .answer
            .seen
            .error
            .as_deref()
            .filter(|_| status != 0)
            .unwrap_or(code);
        let failure = Failure {
            status,
            code: code.to_owned(),
        };
        self.worker
            .conclude(self.target, job, sent, seen, Err(failure));
        if self.worker.is_closed() {
            monoio::time::sleep(PAUSE).await;
        }
        self.worker.next(self.target, &self.seat)
    }
}

/// Where the times of an answer's events go.
struct Times<'t> {
    tally: &'t mut Tally,
    interval: Option<&'t mut Interval>,
}

impl Sink for Times<'_> {
    fn gap(&mut self, nanos: u64) {
        self.tally.gap(nanos);
        if let Some(interval) = &mut self.interval {
            interval.record(Metric::Gap, nanos);
        }
    }

    fn added(&mut self, nanos: u64) {
        self.tally.added(nanos);
        if let Some(interval) = &mut self.interval {
            interval.record(Metric::Added, nanos);
        }
    }
}
