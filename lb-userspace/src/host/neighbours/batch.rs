//! Chooses the servers whose routes are looked up next, if there are too many for all at once.

use std::{collections::BTreeSet, net::IpAddr};

/// Known servers that are looked up at a time. A lookup takes ten or twenty microseconds, during
/// which nothing else is done. If there are more servers, each look continues with the next ones.
const AT_ONCE: usize = 2048;

/// Returns the `servers` to look up, and those that stay as they are known. Unknown servers are
/// always looked up; `last` is the last server of the look before.
pub fn next_batch(
    servers: BTreeSet<IpAddr>,
    is_known: impl Fn(&IpAddr) -> bool,
    last: Option<IpAddr>,
) -> (Vec<IpAddr>, Vec<IpAddr>) {
    let (mut known, unknown): (Vec<_>, Vec<_>) = servers.into_iter().partition(is_known);
    let first = known.partition_point(|server| Some(*server) <= last);
    known.rotate_left(first);
    let later = known.split_off(known.len().min(AT_ONCE));
    let due = unknown.into_iter().chain(known).collect();
    (due, later)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(n: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(n).into()
    }

    #[test]
    fn of_many_servers_each_has_its_turn_and_the_unknown_always() {
        let count = 2 * AT_ONCE as u32 + 10;
        let servers: BTreeSet<_> = (0..count).map(server).collect();
        let (mut asked, mut last) = (BTreeSet::new(), None);
        for _ in 0..3 {
            let (due, later) = next_batch(servers.clone(), |it| *it != server(0), last);
            assert_eq!(due[0], server(0), "unknown");
            assert_eq!((due.len(), due.len() + later.len()), (AT_ONCE + 1, servers.len()));
            last = due.last().copied();
            asked.extend(due);
        }
        assert_eq!(asked, servers);
    }

    #[test]
    fn of_few_servers_all_are_asked_for() {
        let (due, later) = next_batch((0..5).map(server).collect(), |_| true, Some(server(2)));
        assert_eq!((due.len(), later.len()), (5, 0));
    }
}
