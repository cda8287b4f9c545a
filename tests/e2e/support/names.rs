//! A name server on loopback that says what the test says (RFC 1035, RFC 2782), over UDP.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

const A: u16 = 1;
const SRV: u16 = 33;
const INTERNET: u16 = 1;
const NO_SUCH_NAME: u8 = 3;

/// The TTL, and the data of each record.
type Records = (u32, Vec<Vec<u8>>);

#[derive(Default)]
struct Zone {
    /// By name in lower case and by type.
    records: HashMap<(String, u16), Records>,
    asked: HashMap<String, usize>,
    mute: bool,
    stop: bool,
}

/// The name server; it ends with this value.
pub struct Names {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
}

impl Names {
    /// One that knows no name yet.
    pub fn start() -> Names {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = socket.local_addr().expect("an address");
        let zone = Arc::new(Mutex::new(Zone::default()));
        let tick = Some(Duration::from_millis(50));
        socket.set_read_timeout(tick).expect("a time-out");
        let shared = Arc::clone(&zone);
        thread::spawn(move || serve(&socket, &shared));
        Names { address, zone }
    }

    /// The `[dns]` that asks this one.
    pub fn section(&self) -> String {
        format!("servers = [\"{}\"]", self.address)
    }

    fn zone(&self) -> MutexGuard<'_, Zone> {
        self.zone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a name resolves to from now on.
    pub fn resolve(&self, name: &str, ttl: u32, addresses: &[Ipv4Addr]) {
        let data = addresses.iter().map(|it| it.octets().to_vec()).collect();
        let key = (name.to_owned(), A);
        self.zone().records.insert(key, (ttl, data));
    }

    /// Which servers a service has from now on: priority, port and host.
    pub fn serve(&self, name: &str, ttl: u32, servers: &[(u16, u16, &str)]) {
        let data = servers.iter().map(|(priority, port, host)| {
            let mut data = Vec::new();
            for number in [*priority, 0, *port] {
                data.extend_from_slice(&number.to_be_bytes());
            }
            for label in host.split('.').filter(|label| !label.is_empty()) {
                data.push(label.len() as u8);
                data.extend_from_slice(label.as_bytes());
            }
            data.push(0);
            data
        });
        let key = (name.to_owned(), SRV);
        let data = data.collect();
        self.zone().records.insert(key, (ttl, data));
    }

    /// Whether it says nothing at all.
    pub fn mute(&self, mute: bool) {
        self.zone().mute = mute;
    }

    /// How often it was asked for a name.
    pub fn asked(&self, name: &str) -> usize {
        self.zone().asked.get(name).copied().unwrap_or(0)
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.zone().stop = true;
    }
}

fn serve(socket: &UdpSocket, zone: &Mutex<Zone>) {
    let mut buffer = [0; 1500];
    loop {
        let received = socket.recv_from(&mut buffer);
        let mut zone = zone.lock().unwrap_or_else(PoisonError::into_inner);
        if zone.stop {
            return;
        }
        let Ok((length, from)) = received else {
            continue;
        };
        if let Some(answer) = answer(&mut zone, &buffer[..length]) {
            let _ = socket.send_to(&answer, from);
        }
    }
}

/// The answer to one question, which is sent back as it came.
fn answer(zone: &mut Zone, query: &[u8]) -> Option<Vec<u8>> {
    let mut labels = Vec::new();
    let mut at = 12;
    while let Some(&length) = query.get(at).filter(|length| **length > 0) {
        let label = query.get(at + 1..at + 1 + usize::from(length))?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        at += 1 + usize::from(length);
    }
    let name = labels.join(".");
    let kind = u16::from_be_bytes([*query.get(at + 1)?, *query.get(at + 2)?]);
    let question = query.get(12..at + 5)?;
    *zone.asked.entry(name.clone()).or_default() += 1;
    if zone.mute {
        return None;
    }
    let known = zone.records.keys().any(|(known, _)| *known == name);
    let nothing = (0, Vec::new());
    let (ttl, data) = zone.records.get(&(name, kind)).unwrap_or(&nothing);
    let code = if known { 0 } else { NO_SUCH_NAME };
    let mut answer = query.get(..2)?.to_vec();
    // A response, authoritative, recursion desired and available.
    answer.extend_from_slice(&[0x85, 0x80 | code, 0, 1]);
    answer.extend_from_slice(&(data.len() as u16).to_be_bytes());
    answer.extend_from_slice(&[0; 4]);
    answer.extend_from_slice(question);
    for data in data {
        // The name of the question, by a pointer to it.
        answer.extend_from_slice(&[0xc0, 12]);
        answer.extend_from_slice(&kind.to_be_bytes());
        answer.extend_from_slice(&INTERNET.to_be_bytes());
        answer.extend_from_slice(&ttl.to_be_bytes());
        answer.extend_from_slice(&(data.len() as u16).to_be_bytes());
        answer.extend_from_slice(data);
    }
    Some(answer)
}
