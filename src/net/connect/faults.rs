//! Faults that this machine finds in itself. None is ever a verdict: the probe is made again.

use std::io;

use nix::errno::Errno;

use crate::engine::LocalError;

/// The errors of `socket`, `setsockopt`, `connect` and `epoll_ctl`, with their kind and cause. An error that is not
/// listed is [`LocalError::Other`], which is no verdict, either.
const FAULTS: &[(Errno, LocalError, &str)] = &[
    (Errno::EMFILE, LocalError::Descriptors, "this process may open no more files"),
    (Errno::ENFILE, LocalError::Descriptors, "no process may"),
    (
        Errno::EADDRNOTAVAIL,
        LocalError::Ports,
        "every local port towards this one is taken, or no address fits",
    ),
    (Errno::EADDRINUSE, LocalError::Ports, "the same, as some kernels say it"),
    (Errno::ENOBUFS, LocalError::Memory, "no buffer, or a full queue"),
    (Errno::ENOMEM, LocalError::Memory, "no memory"),
    (Errno::EAGAIN, LocalError::Memory, "no entry left in a table of the kernel's"),
    (Errno::ENOSPC, LocalError::Memory, "epoll's, at /proc/sys/fs/epoll/max_user_watches"),
    (Errno::EPERM, LocalError::Denied, "the local firewall drops it"),
    (Errno::EACCES, LocalError::Denied, "a route or a security module prohibits it"),
    (Errno::ENETUNREACH, LocalError::NoRoute, "no route; or the interface is down"),
    (Errno::EHOSTUNREACH, LocalError::NoRoute, "an unreachable route; or the route has just gone"),
    (Errno::ENETDOWN, LocalError::NoRoute, "the interface is down"),
    (Errno::ENODEV, LocalError::NoRoute, "the interface is gone"),
    (Errno::ENXIO, LocalError::NoRoute, "the same"),
    (Errno::EINVAL, LocalError::NoRoute, "a zone with no interface, or one that is gone; a blackhole route"),
    (Errno::EAFNOSUPPORT, LocalError::NoRoute, "IPv6 is switched off"),
];

/// Returns the kind of a fault that occurred before anything could be sent.
pub(in crate::net) fn local_error(error: &io::Error) -> LocalError {
    let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
    FAULTS.iter().find(|(known, ..)| *known == errno).map_or(LocalError::Other, |&(_, fault, _)| fault)
}
