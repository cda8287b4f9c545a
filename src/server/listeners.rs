//! Which socket goes to which core: those that were handed to this process come first, and what is
//! missing is bound.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener};

use super::StartError;
use crate::config::Instance;
use crate::net::handed::{Handed, Plane};
use crate::net::listener;
use crate::worker::Share;

/// Every listening socket of the instance.
pub struct Listeners {
    /// Where clients are served.
    pub data: Vec<SocketAddr>,
    /// For each core, one socket per address, or more.
    pub shares: Vec<Vec<Share>>,
    /// Where operators are served.
    pub admin: SocketAddr,
    /// Its socket.
    pub admin_listener: TcpListener,
    /// All of them once more, for whoever comes after this process.
    pub all: Vec<Handed>,
    /// Whether the service manager kept sockets that nobody wants any more.
    pub outdated: bool,
}

/// Takes over what was handed, and binds the rest.
///
/// # Errors
/// An address can't be listened on.
pub fn gather(
    instance: &Instance,
    handed: Vec<Handed>,
    cores: usize,
) -> Result<Listeners, StartError> {
    let (data, admin): (Vec<_>, Vec<_>) = handed
        .into_iter()
        .partition(|socket| socket.plane == Plane::Data);
    let mut sockets = if data.iter().any(|socket| socket.lent) {
        activated(data)?
    } else {
        configured(&instance.listen, data, cores)?
    };
    let (admin, outdated) = admin_socket(instance.admin, admin)?;
    let mut listeners = Listeners {
        data: Vec::new(),
        shares: (0..cores).map(|_| Vec::new()).collect(),
        admin: admin
            .address()
            .map_err(bind("instance.admin", instance.admin))?,
        admin_listener: duplicate(&admin)?.listener,
        all: vec![admin],
        outdated: outdated || sockets.outdated,
    };
    for group in &mut sockets.groups {
        listeners.data.push(group.address);
        for socket in &group.sockets {
            // Whoever bound it, and whatever the service manager has set.
            listener::prepare(&socket.listener).map_err(StartError::Socket)?;
        }
        for (core, socket) in share_out(group.sockets.len(), cores) {
            let Handed { listener, lent, .. } = duplicate(&group.sockets[socket])?;
            listeners.shares[core].push(Share { listener, lent });
        }
        listeners.all.append(&mut group.sockets);
    }
    Ok(listeners)
}

/// Which core accepts on which of so many sockets of an address: each socket has a core, so that
/// nobody waits in vain in it, and each core a socket, be it shared.
fn share_out(sockets: usize, cores: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..sockets.max(cores)).map(move |n| (n % cores, n % sockets))
}

/// The sockets of one address.
struct Group {
    address: SocketAddr,
    sockets: Vec<Handed>,
}

struct Sockets {
    groups: Vec<Group>,
    outdated: bool,
}

/// With sockets of the service manager, they are all: the configuration's addresses are not used.
fn activated(data: Vec<Handed>) -> Result<Sockets, StartError> {
    let mut groups: Vec<Group> = Vec::new();
    let mut outdated = false;
    for socket in data {
        if !socket.lent {
            outdated |= socket.kept;
            continue;
        }
        let address = socket.address().map_err(StartError::Socket)?;
        match groups.iter_mut().find(|group| group.address == address) {
            Some(group) => group.sockets.push(socket),
            None => groups.push(Group {
                address,
                sockets: vec![socket],
            }),
        }
    }
    Ok(Sockets { groups, outdated })
}

/// Those that the configuration asks for: as far as they were handed over, the same ones.
fn configured(
    addresses: &[SocketAddr],
    data: Vec<Handed>,
    cores: usize,
) -> Result<Sockets, StartError> {
    let mut handed: VecDeque<Handed> = data.into();
    let mut groups = Vec::new();
    for &wanted in addresses {
        let failed = bind("instance.listen", wanted);
        let mut sockets = take_matching(&mut handed, wanted);
        let address = match sockets.first() {
            Some(socket) => socket.address().map_err(&failed)?,
            None => wanted,
        };
        if sockets.len() < cores {
            match listener::bind(address, cores - sockets.len()) {
                Ok(more) => sockets.extend(more.into_iter().map(|listener| Handed {
                    plane: Plane::Data,
                    lent: false,
                    kept: false,
                    listener,
                })),
                Err(error) if sockets.is_empty() => return Err(failed(error)),
                // The others are another user's: cores share them.
                Err(error) => tracing::info!(%address, %error, "cores share listening sockets"),
            }
        }
        let address = sockets[0].address().map_err(&failed)?;
        groups.push(Group { address, sockets });
    }
    let outdated = handed.iter().any(|socket| socket.kept);
    for socket in handed {
        if let Ok(address) = socket.address() {
            tracing::info!(%address, "no longer listened on");
        }
    }
    Ok(Sockets { groups, outdated })
}

/// Takes the sockets out that listen where `wanted` says; port 0 is any.
fn take_matching(handed: &mut VecDeque<Handed>, wanted: SocketAddr) -> Vec<Handed> {
    let mut address = wanted;
    let mut taken = Vec::new();
    for _ in 0..handed.len() {
        let Some(socket) = handed.pop_front() else {
            break;
        };
        match socket.address() {
            Ok(found) if is_wanted(found, address) => {
                address = found;
                taken.push(socket);
            }
            _ => handed.push_back(socket),
        }
    }
    taken
}

fn is_wanted(found: SocketAddr, wanted: SocketAddr) -> bool {
    found.ip() == wanted.ip() && (wanted.port() == 0 || found.port() == wanted.port())
}

/// The admin plane's socket, and whether one was kept in vain.
fn admin_socket(wanted: SocketAddr, handed: Vec<Handed>) -> Result<(Handed, bool), StartError> {
    let fits = |socket: &Handed| {
        socket.lent || socket.address().is_ok_and(|found| is_wanted(found, wanted))
    };
    let (mut fit, rest): (Vec<_>, Vec<_>) = handed.into_iter().partition(fits);
    let outdated = rest.iter().any(|socket| socket.kept);
    fit.sort_by_key(|socket| !socket.lent);
    if let Some(socket) = fit.into_iter().next() {
        return Ok((socket, outdated));
    }
    let listener = TcpListener::bind(wanted).map_err(bind("instance.admin", wanted))?;
    let bound = Handed {
        plane: Plane::Admin,
        lent: false,
        kept: false,
        listener,
    };
    Ok((bound, outdated))
}

fn duplicate(socket: &Handed) -> Result<Handed, StartError> {
    socket.duplicate().map_err(StartError::Socket)
}

fn bind(key: &'static str, address: SocketAddr) -> impl Fn(io::Error) -> StartError {
    move |error| StartError::Bind {
        key,
        address,
        error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_socket_has_a_core_and_every_core_a_socket() {
        for sockets in 1..9 {
            for cores in 1..9 {
                let shared: Vec<_> = share_out(sockets, cores).collect();
                assert_eq!(shared.len(), sockets.max(cores), "none twice at a core");
                assert!((0..cores).all(|core| shared.iter().any(|it| it.0 == core)));
                assert!((0..sockets).all(|socket| shared.iter().any(|it| it.1 == socket)));
            }
        }
        let same: Vec<_> = share_out(3, 3).collect();
        assert_eq!(same, [(0, 0), (1, 1), (2, 2)], "index-matched");
    }

    fn data(listener: TcpListener, lent: bool, kept: bool) -> Handed {
        Handed {
            plane: Plane::Data,
            lent,
            kept,
            listener,
        }
    }

    fn any() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    fn addresses(sockets: &Sockets) -> Vec<(SocketAddr, usize)> {
        let groups = sockets.groups.iter();
        groups
            .map(|group| (group.address, group.sockets.len()))
            .collect()
    }

    #[test]
    fn what_was_handed_over_is_used_and_the_rest_is_bound() {
        let handed: Vec<_> = listener::bind(any(), 2).unwrap();
        let stranger = listener::bind(any(), 1).unwrap().remove(0);
        let address = handed[0].local_addr().unwrap();
        let mut given: Vec<_> = handed
            .into_iter()
            .map(|listener| data(listener, false, true))
            .collect();
        given.insert(1, data(stranger, false, true));
        let sockets = configured(&[address], given, 3).unwrap();
        assert_eq!(addresses(&sockets), [(address, 3)]);
        assert!(
            sockets.outdated,
            "one is of no address of the configuration"
        );
        let fewer = sockets.groups.into_iter().flat_map(|group| group.sockets);
        let sockets = configured(&[address, any()], fewer.collect(), 1).unwrap();
        assert_eq!(addresses(&sockets)[0], (address, 3), "none is closed");
        assert_eq!(addresses(&sockets)[1].1, 1);
        assert!(!sockets.outdated);
    }

    #[test]
    fn where_no_more_can_be_bound_cores_share() {
        // Without SO_REUSEPORT, as the service manager makes them.
        let alone = TcpListener::bind(any()).unwrap();
        let address = alone.local_addr().unwrap();
        let sockets = configured(&[address], vec![data(alone, false, false)], 4).unwrap();
        assert_eq!(addresses(&sockets), [(address, 1)]);
    }

    #[test]
    fn sockets_of_the_service_manager_are_all() {
        let (one, other) = (
            TcpListener::bind(any()).unwrap(),
            TcpListener::bind(any()).unwrap(),
        );
        let kept = TcpListener::bind(any()).unwrap();
        let expected = [&one, &other].map(|it| (it.local_addr().unwrap(), 1));
        let given = vec![
            data(one, true, false),
            data(kept, false, true),
            data(other, true, false),
        ];
        let sockets = activated(given).unwrap();
        assert_eq!(addresses(&sockets), expected);
        assert!(sockets.outdated);
    }
}
