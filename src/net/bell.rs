//! A bell that any thread can ring to have a core look at something now, rather than at its next
//! call or tick.

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream as Socket;

use monoio::io::AsyncReadRent;
use monoio::net::UnixStream;

/// Rings that are heard as one, if they come close together.
const HEARD_MAX: usize = 64;

/// The end that rings.
#[derive(Debug)]
pub struct Bell(Socket);

/// The end that hears.
#[derive(Debug)]
pub struct Ear(Socket);

impl Bell {
    /// A bell and its ear.
    ///
    /// # Errors
    /// No descriptors are left.
    pub fn pair() -> io::Result<(Bell, Ear)> {
        let (bell, ear) = Socket::pair()?;
        bell.set_nonblocking(true)?;
        ear.set_nonblocking(true)?;
        Ok((Bell(bell), Ear(ear)))
    }

    /// Rings. One that has not been heard yet rings for all.
    pub fn ring(&self) {
        // Full: it will be heard. Closed: nobody is there any more.
        let _ = (&self.0).write(&[1]);
    }

    /// Rings for the last time: the ear's wait ends.
    pub fn close(&self) {
        // Fails only if the other end is gone already.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

impl Ear {
    /// Whether it has been rung since the last time: for tests without a driver.
    #[cfg(test)]
    pub fn take_rings(&self) -> bool {
        let mut rings = [0; HEARD_MAX];
        let mut socket = &self.0;
        std::iter::from_fn(|| io::Read::read(&mut socket, &mut rings).ok()).count() > 0
    }

    /// Calls `heard` after each ring, until the bell is closed.
    ///
    /// # Errors
    /// The driver doesn't take the socket.
    pub async fn listen(self, mut heard: impl FnMut()) -> io::Result<()> {
        let mut ear = UnixStream::from_std(self.0)?;
        let mut rings = vec![0; HEARD_MAX];
        loop {
            let result;
            (result, rings) = ear.read(rings).await;
            if !matches!(result, Ok(count) if count > 0) {
                return Ok(());
            }
            heard();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;
    use std::time::{Duration, Instant};

    use super::super::testing::on_each_driver;
    use super::*;

    #[test]
    fn a_ring_from_another_thread_is_heard_at_once() {
        on_each_driver(|| async {
            let (bell, ear) = Bell::pair().unwrap();
            let heard = Rc::new(Cell::new(None));
            let listening = monoio::spawn(ear.listen({
                let heard = Rc::clone(&heard);
                move || heard.set(Some(Instant::now()))
            }));
            let rung = std::thread::spawn(move || {
                let rung = Instant::now();
                bell.ring();
                std::thread::sleep(Duration::from_millis(20));
                // More than any socket takes, and nobody is kept waiting.
                (0..100_000).for_each(|_| bell.ring());
                bell.close();
                rung
            });
            while heard.get().is_none() {
                monoio::time::sleep(Duration::from_millis(1)).await;
            }
            listening.await.unwrap();
            let rung = rung.join().unwrap();
            assert!(heard.get().is_some_and(|at| at >= rung));
        });
    }
}
