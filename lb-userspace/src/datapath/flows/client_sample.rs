//! A random sample of the clients whose flows a sweep visits: it shows where answers go without a
//! list of a million clients.

use std::net::IpAddr;

/// The size of the sample.
const SIZE: usize = 16;

/// A uniform sample: every visited client has the same chance to be in it (Vitter's algorithm R).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientSample {
    met: u64,
    clients: Vec<IpAddr>,
}

impl ClientSample {
    /// Visits a client. `client` is called only if it gets a place.
    pub(crate) fn meet(&mut self, client: impl FnOnce() -> Option<IpAddr>) {
        self.met += 1;
        if self.clients.len() < SIZE {
            self.clients.extend(client());
        } else if let Some(place) = self.clients.get_mut(fastrand::u64(..self.met) as usize)
            && let Some(client) = client()
        {
            *place = client;
        }
    }

    #[must_use]
    pub fn clients(&self) -> &[IpAddr] {
        &self.clients
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn of_few_all_are_drawn_and_of_many_any() {
        let mut few = ClientSample::default();
        (0..5).for_each(|number| few.meet(|| Some(client(number))));
        assert_eq!(few.clients(), (0..5).map(client).collect::<Vec<_>>());
        let late = |_| {
            let mut many = ClientSample::default();
            (0..1000).for_each(|number| many.meet(|| Some(client(number))));
            assert_eq!(many.clients().len(), SIZE);
            many.clients().iter().filter(|&&it| it >= client(500)).count()
        };
        // Half of 1600, plus or minus nine standard deviations.
        let late: usize = (0..100).map(late).sum();
        assert!((620..980).contains(&late), "{late} of the later half");
    }
}
