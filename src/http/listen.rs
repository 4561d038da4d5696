//! Binds the addresses to serve on, with errors that say what to do.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the kernel completes before they are accepted: a burst waits here instead of losing SYNs, which
/// would cost each client a second. The kernel bounds it by net.core.somaxconn.
const BACKLOG: i32 = 1024;

/// Why an address cannot be served on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// EADDRINUSE
    #[error(
        "cannot listen on {0}: something else does; stop it (`ss -ltnp` shows what it is) or set another \
         port in `listen`"
    )]
    InUse(SocketAddr),
    /// EACCES: a privileged port.
    #[error(
        "cannot listen on {0}: ports below 1024 need CAP_NET_BIND_SERVICE; start it by the systemd unit, \
         `setcap cap_net_bind_service=+ep` the binary, or set a port from 1024 in `listen`"
    )]
    Denied(SocketAddr),
    /// EADDRNOTAVAIL
    #[error(
        "cannot listen on {0}: no interface of this machine has that address; set one that `ip address` \
         shows in `listen`, or 0.0.0.0 for all"
    )]
    NotHere(SocketAddr),
    /// Anything else.
    #[error("cannot listen on {address}: {source}; set another address in `listen`")]
    Other {
        /// The address.
        address: SocketAddr,
        /// The kernel's error.
        source: io::Error,
    },
}

/// Binds all of these addresses, or none. Port 0 takes a free one. See [`bind_each`] for IPv6.
pub fn bind(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, BindError> {
    let mut listeners = Vec::with_capacity(addresses.len());
    for (address, bound) in bind_each(addresses) {
        match bound? {
            Some(listener) => listeners.push(listener),
            None => tracing::warn!(%address, "this machine has no IPv6; not listening on this address"),
        }
    }
    Ok(listeners)
}

/// Binds these addresses one after the other and returns the result for each; `None`: the address is left out.
///
/// `[::]` also takes IPv4 connections unless an IPv4 address with the same port is listed, too. On a kernel
/// without IPv6, `[::]` is left out if anything else is listed: the default configuration lists it.
pub fn bind_each(
    addresses: &[SocketAddr],
) -> impl Iterator<Item = (SocketAddr, Result<Option<TcpListener>, BindError>)> {
    addresses.iter().map(|&address| {
        let v4_too = addresses.iter().any(|other| other.is_ipv4() && other.port() == address.port());
        let others = addresses.iter().any(|other| other.ip() != address.ip());
        let bound = match listen(address, v4_too) {
            Ok(listener) => Ok(Some(listener)),
            Err(error) if is_no_ipv6(address, &error) && others => Ok(None),
            Err(error) => Err(explain(address, error)),
        };
        (address, bound)
    })
}

fn listen(address: SocketAddr, v6_only: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Without it a restart would wait a minute for old connections in TIME_WAIT.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(v6_only)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn is_no_ipv6(address: SocketAddr, error: &io::Error) -> bool {
    address.is_ipv6()
        && address.ip().is_unspecified()
        && error.raw_os_error() == Some(nix::errno::Errno::EAFNOSUPPORT as i32)
}

fn explain(address: SocketAddr, source: io::Error) -> BindError {
    match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse(address),
        io::ErrorKind::PermissionDenied => BindError::Denied(address),
        io::ErrorKind::AddrNotAvailable => BindError::NotHere(address),
        _ => BindError::Other { address, source },
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn both_families_share_a_port() {
        let v4 = bind(&["0.0.0.0:0".parse().unwrap()]).unwrap();
        let port = v4[0].local_addr().unwrap().port();
        drop(v4);
        let both = [format!("0.0.0.0:{port}"), format!("[::]:{port}")].map(|text| text.parse().unwrap());
        let listeners = bind(&both).unwrap();
        assert_eq!(listeners.len(), 2);
        TcpStream::connect(("127.0.0.1", port)).unwrap();
        TcpStream::connect(("::1", port)).unwrap();
    }

    #[test]
    fn ipv6_alone_takes_ipv4_too() {
        let listeners = bind(&["[::]:0".parse().unwrap()]).unwrap();
        let port = listeners[0].local_addr().unwrap().port();
        TcpStream::connect(("127.0.0.1", port)).unwrap();
    }

    #[test]
    fn errors_name_the_address_and_the_remedy() {
        let listeners = bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let taken = listeners[0].local_addr().unwrap();
        let error = bind(&[taken]).unwrap_err();
        assert!(matches!(error, BindError::InUse(address) if address == taken));
        assert!(error.to_string().contains(&taken.to_string()), "{error}");

        let error = bind(&["192.0.2.1:0".parse().unwrap()]).unwrap_err();
        assert!(matches!(error, BindError::NotHere(_)), "{error}");

        let denied = explain(taken, io::Error::from(io::ErrorKind::PermissionDenied));
        assert!(denied.to_string().contains("CAP_NET_BIND_SERVICE"), "{denied}");
    }
}
