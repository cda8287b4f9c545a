//! A session against stock rustls in memory: whatever the cuts, whoever speaks when.

use std::io::{Read, Write};
use std::sync::Arc;

use proptest::prelude::*;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConnection, Connection, ServerConnection, SupportedProtocolVersion};

use super::session::{FRUITLESS_BYTES_MAX, FRUITLESS_RECORDS_MAX};
use super::testing::Authority;
use super::{Broken, Received, Session};
use crate::net::Buffer;
use crate::net::buffer::{LARGE, SMALL};

/// Both ends of a connection, and what is on its way between them.
struct Pair {
    ours: Session,
    /// The buffer that a read has, and how many bytes it is waiting for.
    lent: Option<Buffer>,
    stock: Connection,
    to_ours: Vec<u8>,
    to_stock: Vec<u8>,
    ours_got: Vec<u8>,
    stock_got: Vec<u8>,
    ours_saw_end: bool,
}

impl Pair {
    fn new(ours: Session, stock: Connection) -> Pair {
        Pair {
            ours,
            lent: None,
            stock,
            to_ours: Vec::new(),
            to_stock: Vec::new(),
            ours_got: Vec::new(),
            stock_got: Vec::new(),
            ours_saw_end: false,
        }
    }

    /// Ours as the server or the client, and stock rustls as the other.
    fn of(
        authority: &Authority,
        serves: bool,
        version: &'static SupportedProtocolVersion,
        fragment: Option<usize>,
    ) -> Pair {
        if serves {
            let mut config = authority.stock_client(&[version], None);
            config.max_fragment_size = fragment;
            let name = ServerName::try_from("localhost").unwrap();
            let stock = ClientConnection::new(Arc::new(config), name).unwrap();
            Pair::new(Session::server(&authority.server()).unwrap(), stock.into())
        } else {
            let mut config = authority.stock_server(&[version], &["localhost"], false);
            config.max_fragment_size = fragment;
            let stock = ServerConnection::new(Arc::new(config)).unwrap();
            Pair::new(Session::client(&authority.client()).unwrap(), stock.into())
        }
    }

    /// Takes in, on our side, as many bytes as have come, at most `limit`.
    fn deliver(&mut self, limit: usize) {
        let mut buffer = match self.lent.take() {
            Some(buffer) => buffer,
            None => self.ours.lend(1, false),
        };
        let n = limit.min(self.to_ours.len()).min(buffer.room());
        buffer.extend(&self.to_ours[..n]);
        self.to_ours.drain(..n);
        self.ours.give_back(buffer);
    }

    fn shake(&mut self, limit: usize) -> Result<(), Broken> {
        for _ in 0..100_000 {
            let shaken = self.ours.shake();
            self.flush_ours();
            let done = shaken?.is_none();
            self.run_stock();
            if done && !self.stock.is_handshaking() {
                return Ok(());
            }
            self.deliver(limit);
        }
        panic!("the handshake has no end");
    }

    fn flush_ours(&mut self) {
        if let Some(words) = self.ours.take_outgoing() {
            self.to_stock.extend_from_slice(words.readable());
        }
    }

    /// Lets stock rustls read and write what it can.
    fn run_stock(&mut self) {
        let mut bytes = &self.to_stock[..];
        let mut scratch = vec![0; LARGE];
        while !bytes.is_empty() {
            self.stock.read_tls(&mut bytes).unwrap();
            self.stock.process_new_packets().unwrap();
            while let Ok(n @ 1..) = self.stock.reader().read(&mut scratch) {
                self.stock_got.extend_from_slice(&scratch[..n]);
            }
        }
        self.to_stock.clear();
        self.flush_stock();
    }

    fn flush_stock(&mut self) {
        while self.stock.wants_write() {
            self.stock.write_tls(&mut self.to_ours).unwrap();
        }
    }

    fn stock_sends(&mut self, data: &[u8]) {
        for piece in data.chunks(SMALL) {
            self.stock.writer().write_all(piece).unwrap();
            self.flush_stock();
        }
    }

    fn ours_sends(&mut self, data: &[u8]) {
        let mut out = Buffer::small();
        self.ours.protect(data, &mut out).unwrap();
        self.to_stock.extend_from_slice(out.readable());
    }

    /// Receives on our side into a buffer with `room`. True if there was anything.
    fn ours_receives(&mut self, room: usize) -> Result<bool, Broken> {
        if self.lent.is_some() {
            return Ok(false);
        }
        let mut plain = Buffer::with_capacity(SMALL);
        plain.extend(&vec![0; plain.room().saturating_sub(room)]);
        let already = plain.len();
        let received = self.ours.receive(&mut plain)?;
        self.ours_got
            .extend_from_slice(&plain.readable()[already..]);
        match received {
            Received::Data(n) => assert_eq!(plain.len() - already, n),
            Received::Lacking(n) => {
                assert!(n > 0);
                assert_eq!(plain.len(), already);
                let lent = self.ours.lend(n, false);
                assert!(lent.room() >= n);
                self.lent = Some(lent);
                return Ok(false);
            }
            Received::End => {
                self.ours_saw_end = true;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Until nothing is on its way any more.
    fn settle(&mut self) -> Result<(), Broken> {
        loop {
            while self.ours_receives(SMALL)? {}
            self.flush_ours();
            self.run_stock();
            if self.to_ours.is_empty() {
                return Ok(());
            }
            self.deliver(usize::MAX);
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    OursSends(usize),
    StockSends(usize),
    StockUpdatesItsKeys,
    StockRuns,
    Delivers(usize),
    Receives(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (1..40_000usize).prop_map(Op::OursSends),
        (1..300usize).prop_map(Op::OursSends),
        (1..40_000usize).prop_map(Op::StockSends),
        (1..300usize).prop_map(Op::StockSends),
        Just(Op::StockUpdatesItsKeys),
        Just(Op::StockRuns),
        (1..20_000usize).prop_map(Op::Delivers),
        (1..60usize).prop_map(Op::Delivers),
        (1..20_000usize).prop_map(Op::Receives),
        (1..100usize).prop_map(Op::Receives),
    ]
}

fn version(old: bool) -> &'static SupportedProtocolVersion {
    if old { &TLS12 } else { &TLS13 }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn whatever_the_cuts_each_side_gets_what_the_other_sent(
        serves in any::<bool>(),
        old in any::<bool>(),
        fragment in prop_oneof![Just(None), (32..64usize).prop_map(Some)],
        cut in prop_oneof![1..30usize, 30..20_000usize],
        ops in prop::collection::vec(op(), 1..40),
    ) {
        let mut pair = Pair::of(&Authority::make(), serves, version(old), fragment);
        pair.shake(cut).unwrap();
        let (mut by_ours, mut by_stock) = (Vec::new(), Vec::new());
        let mut next = 0u8;
        let mut data = |length: usize| -> Vec<u8> {
            next = next.wrapping_add(101);
            (0..length).map(|at| (at as u8).wrapping_mul(7) ^ next).collect()
        };
        for op in ops {
            match op {
                Op::OursSends(n) => {
                    let sent = data(n);
                    pair.ours_sends(&sent);
                    by_ours.extend(sent);
                }
                Op::StockSends(n) => {
                    let sent = data(n);
                    pair.stock_sends(&sent);
                    by_stock.extend(sent);
                }
                // Stock rustls has no plaintext limit to run into here, and no TLS 1.2 updates.
                Op::StockUpdatesItsKeys if !old => {
                    pair.stock.refresh_traffic_keys().unwrap();
                    pair.flush_stock();
                }
                Op::StockUpdatesItsKeys => {}
                Op::StockRuns => pair.run_stock(),
                Op::Delivers(n) => pair.deliver(n),
                Op::Receives(room) => drop(pair.ours_receives(room).unwrap()),
            }
        }
        pair.settle().unwrap();
        let mut out = Buffer::default();
        pair.ours.close(&mut out).unwrap();
        pair.to_stock.extend_from_slice(out.readable());
        pair.stock.send_close_notify();
        pair.settle().unwrap();
        prop_assert!(pair.ours_got == by_stock);
        prop_assert!(pair.stock_got == by_ours);
        prop_assert!(pair.ours_saw_end);
        prop_assert!(pair.stock.process_new_packets().unwrap().peer_has_closed());
        prop_assert!(matches!(pair.ours.protect(b"late", &mut out), Err(Broken::Ended)));
    }

    #[test]
    fn damage_is_noticed(
        serves in any::<bool>(),
        old in any::<bool>(),
        at in any::<prop::sample::Index>(),
        bit in 0..8u32,
    ) {
        let mut pair = Pair::of(&Authority::make(), serves, version(old), None);
        pair.shake(usize::MAX).unwrap();
        pair.settle().unwrap();
        pair.stock_sends(&[b'x'; 1000]);
        let at = at.index(pair.to_ours.len());
        pair.to_ours[at] ^= 1 << bit;
        // Either an error, or a length that waits for more, or what nobody looks at: a version, and
        // in TLS 1.3 the outer type, which is authenticated as what it must be (RFC 8446 section
        // 5.2).
        let _ = pair.settle();
        prop_assert!(pair.ours_got.is_empty() || pair.ours_got == [b'x'; 1000]);
        if !pair.ours_got.is_empty() {
            prop_assert!(at == 2 || (at == 0 && !old), "byte {}", at);
        }
    }

    #[test]
    fn no_garbage_whatsoever_is_taken_for_a_handshake(
        serves in any::<bool>(),
        mut garbage in prop::collection::vec(any::<u8>(), 1..3000),
        alike in any::<bool>(),
        cut in 1..3000usize,
    ) {
        let authority = Authority::make();
        if alike {
            let begin = [22, 3, 1, 0, 40, if serves { 1 } else { 2 }];
            let n = begin.len().min(garbage.len());
            garbage[..n].copy_from_slice(&begin[..n]);
        }
        let mut ours = match serves {
            true => Session::server(&authority.server()).unwrap(),
            false => Session::client(&authority.client()).unwrap(),
        };
        ours.shake().unwrap();
        for piece in garbage.chunks(cut) {
            let mut buffer = ours.lend(piece.len(), false);
            buffer.extend(piece);
            ours.give_back(buffer);
            if ours.shake().is_err() {
                break;
            }
        }
        prop_assert!(ours.is_shaking());
    }
}

#[test]
fn data_can_be_sent_while_a_part_of_a_ticket_is_held() {
    let mut pair = Pair::of(&Authority::make(), false, &TLS13, Some(40));
    pair.shake(usize::MAX).unwrap();
    assert!(pair.to_ours.len() > 200, "tickets in many records");
    for turn in 0..pair.to_ours.len() {
        pair.deliver(1);
        assert!(!pair.ours_receives(SMALL).unwrap());
        pair.ours_sends(&[turn as u8; 3]);
    }
    pair.run_stock();
    assert_eq!(pair.stock_got.len() % 3, 0);
    assert!(pair.stock_got.len() > 600);
    pair.stock_sends(b"data");
    pair.settle().unwrap();
    assert_eq!(pair.ours_got, b"data");
}

#[test]
fn one_side_may_go_on_after_the_other_has_said_good_bye() {
    for (serves, old) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut pair = Pair::of(&Authority::make(), serves, version(old), None);
        pair.shake(usize::MAX).unwrap();
        pair.settle().unwrap();
        pair.stock_sends(b"last");
        pair.stock.send_close_notify();
        pair.flush_stock();
        // What comes after it is no business of anybody's.
        pair.to_ours.extend_from_slice(b"GET / HTTP/1.1");
        pair.settle().unwrap();
        assert_eq!(pair.ours_got, b"last");
        assert!(pair.ours_saw_end);
        pair.ours_sends(b"answer");
        pair.run_stock();
        assert_eq!(pair.stock_got, b"answer");
    }
}

#[test]
fn what_came_before_an_error_is_received_and_then_the_error() {
    for old in [false, true] {
        let mut pair = Pair::of(&Authority::make(), true, version(old), None);
        pair.shake(usize::MAX).unwrap();
        pair.settle().unwrap();
        pair.stock_sends(b"good");
        pair.to_ours.extend_from_slice(&[23, 3, 3, 0, 40]);
        pair.to_ours.extend_from_slice(&[b'x'; 40]);
        let fault = pair.settle().unwrap_err();
        assert!(matches!(fault, Broken::Protocol(_)), "{fault}");
        assert_eq!(pair.ours_got, b"good");
        assert!(matches!(pair.settle(), Err(Broken::Ended)));
    }
}

#[test]
fn tickets_and_key_updates_without_data_come_to_an_end() {
    let authority = Authority::make();
    let mut config = authority.stock_server(&[&TLS13], &["localhost"], false);
    config.send_tls13_tickets = FRUITLESS_RECORDS_MAX + 1;
    let stock = ServerConnection::new(Arc::new(config)).unwrap();
    let mut pair = Pair::new(Session::client(&authority.client()).unwrap(), stock.into());
    pair.shake(usize::MAX).unwrap();
    assert!(matches!(pair.settle(), Err(Broken::Fruitless)));
    assert!(matches!(pair.settle(), Err(Broken::Ended)));

    // One byte of data doesn't make up for thirty updates of keys.
    let mut pair = Pair::of(&authority, true, &TLS13, None);
    pair.shake(usize::MAX).unwrap();
    let mut updates = 0;
    let ended = loop {
        for _ in 0..30 {
            pair.stock.refresh_traffic_keys().unwrap();
            pair.flush_stock();
        }
        updates += 30;
        pair.stock_sends(b"!");
        match pair.settle() {
            Ok(()) => assert!(updates < 2 * FRUITLESS_RECORDS_MAX),
            Err(broken) => break broken,
        }
    };
    assert!(matches!(ended, Broken::Fruitless), "{ended}");
    assert!(updates > FRUITLESS_RECORDS_MAX / 2);

    // But data does.
    let mut pair = Pair::of(&authority, true, &TLS13, None);
    pair.shake(usize::MAX).unwrap();
    for _ in 0..3 * FRUITLESS_RECORDS_MAX {
        pair.stock.refresh_traffic_keys().unwrap();
        pair.stock_sends(&[b'x'; 2000]);
        pair.settle().unwrap();
    }
}

#[test]
fn a_handshake_has_a_bound_in_records_and_bytes() {
    let authority = Authority::make();
    // The beginning of a ClientHello that is long, in records of one byte, or of many.
    let begin = [1, 0, 0xff, 0xf0, 3, 3];
    for size in [1usize, 1000, 16_000] {
        let mut ours = Session::server(&authority.server()).unwrap();
        let mut sent = 0;
        let broken = loop {
            let body: Vec<u8> = begin
                .into_iter()
                .chain([0; 16_000])
                .skip(sent)
                .take(size)
                .collect();
            let mut buffer = ours.lend(size + 5, false);
            buffer.extend(&[22, 3, 1, (size >> 8) as u8, size as u8]);
            buffer.extend(&body);
            buffer.extend(&vec![0; size - body.len()]);
            ours.give_back(buffer);
            sent += size;
            match ours.shake() {
                Ok(missing) => assert!(missing.is_some()),
                Err(broken) => break broken,
            }
        };
        assert!(matches!(
            broken,
            Broken::Fruitless | Broken::Oversized | Broken::Protocol(_)
        ));
        assert!(
            sent <= FRUITLESS_BYTES_MAX.min(size * (FRUITLESS_RECORDS_MAX + 1)),
            "{sent}"
        );
    }
}
