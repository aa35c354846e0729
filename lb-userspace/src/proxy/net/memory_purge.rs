//! Memory that many connections needed goes back to the host when they are gone.
//!
//! The allocator keeps what a thread frees until that thread asks for more, which an idle worker
//! does not.

use std::{rc::Rc, time::Duration};

use libmimalloc_sys::mi_collect;
use tokio::time::sleep;

use super::drain::LiveCount;

const OFTEN: Duration = Duration::from_secs(1);
/// Also while connections stay, whose requests may have been large.
const AT_LEAST_EVERY: u32 = 30;

/// Gives back the calling worker's free memory when a good part of its connections has gone, for
/// ever.
pub(crate) async fn keep_purged(count: Rc<LiveCount>) {
    let (mut most, mut rounds) = (0, 0);
    loop {
        sleep(OFTEN).await;
        let live = count.live();
        most = live.max(most);
        rounds += 1;
        // All of it is looked at, which is not worth while for a few.
        if live < most - most / 4 || rounds == AT_LEAST_EVERY {
            // SAFETY: It may be called at any time; where another allocator is used it finds
            // nothing.
            unsafe { mi_collect(true) };
            (most, rounds) = (live, 0);
        }
    }
}
