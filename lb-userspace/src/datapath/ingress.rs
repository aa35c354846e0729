//! Finds the interface by which a TCP connection came in.

use std::{
    ffi::CStr,
    io,
    mem::{size_of, size_of_val},
    os::fd::{AsRawFd, BorrowedFd},
};

/// `IPV6_2292PKTOPTIONS` (include/uapi/linux/in6.h): on a TCP socket it returns the options of its
/// SYN, as control messages. It also works for IPv4 addresses on an IPv6 socket.
const PACKET_OPTIONS: libc::c_int = 6;

/// Returns the name of the interface by which the peer's SYN reached `socket`, an accepted IPv6 TCP
/// socket.
///
/// # Errors
/// As from `getsockopt(2)`; `NotFound` if the kernel does not say, or the interface is gone.
pub fn ingress_interface(socket: BorrowedFd<'_>) -> io::Result<String> {
    let index = ingress_index(socket)?;
    let mut name = [0; libc::IF_NAMESIZE];
    // SAFETY: `name` has the IF_NAMESIZE bytes that if_indextoname(3) requires.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr()) };
    if found.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: if_indextoname has filled `name` with a zero-terminated string.
    let name = unsafe { CStr::from_ptr(name.as_ptr()) };
    Ok(name.to_string_lossy().into_owned())
}

fn ingress_index(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let yes: libc::c_int = 1;
    // SAFETY: the option's value is an int, as `yes` is.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IPV6,
            libc::IPV6_RECVPKTINFO,
            (&raw const yes).cast(),
            size_of_val(&yes) as libc::socklen_t,
        )
    };
    if set < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut control = Control([0; 256]);
    let mut length = size_of::<Control>() as libc::socklen_t;
    // SAFETY: `control` has the room for `length` bytes.
    let got = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IPV6,
            PACKET_OPTIONS,
            (&raw mut control).cast(),
            &raw mut length,
        )
    };
    if got < 0 {
        return Err(io::Error::last_os_error());
    }
    packet_info(&control.0[..length as usize])
}

/// A buffer aligned as control messages are.
#[repr(align(8))]
struct Control([u8; 256]);

/// Returns the interface in the first `IPV6_PKTINFO` among `messages`. Each message is a `cmsghdr`
/// (length with itself as a long, level and type as ints) and its data, padded to longs.
fn packet_info(mut messages: &[u8]) -> io::Result<u32> {
    const HEAD: usize = size_of::<libc::cmsghdr>();
    const WORD: usize = size_of::<usize>();
    /// The offset in `struct in6_pktinfo`, after the address.
    const INDEX: usize = 16;
    let int = |bytes: &[u8], at: usize| -> Option<u32> {
        Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
    };
    while let Some(length) = messages.first_chunk().map(|it| usize::from_ne_bytes(*it)) {
        let is_wanted = int(messages, WORD) == Some(libc::IPPROTO_IPV6 as u32)
            && int(messages, WORD + 4) == Some(libc::IPV6_PKTINFO as u32);
        let index = int(messages, HEAD + INDEX).filter(|index| is_wanted && *index != 0);
        if let Some(index) = index {
            return Ok(index);
        }
        let next = length.next_multiple_of(WORD).max(HEAD);
        messages = messages.get(next..).unwrap_or_default();
    }
    Err(io::ErrorKind::NotFound.into())
}

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, TcpStream},
        os::fd::AsFd,
    };

    use super::*;

    #[test]
    fn loopback_is_named_in_both_families() {
        let listener = TcpListener::bind("[::]:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        for address in ["127.0.0.1", "::1"] {
            let _client = TcpStream::connect((address, port)).unwrap();
            let (accepted, _) = listener.accept().unwrap();
            assert_eq!(ingress_interface(accepted.as_fd()).unwrap(), "lo", "{address}");
        }
    }

    #[test]
    fn messages_without_it_are_passed_over() {
        assert!(packet_info(&[]).is_err());
        assert!(packet_info(&[0; 7]).is_err());
        assert!(packet_info(&[0; 64]).is_err());
        let message = |kind: i32, index: u32| {
            let mut bytes = 36_usize.to_ne_bytes().to_vec();
            bytes.extend(libc::IPPROTO_IPV6.to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend([0; 16]);
            bytes.extend(index.to_ne_bytes());
            bytes.extend([0; 4]);
            bytes
        };
        let two = [message(libc::IPV6_HOPLIMIT, 7), message(libc::IPV6_PKTINFO, 3)].concat();
        assert_eq!(packet_info(&two).unwrap(), 3);
    }
}
