//! A parallel map over the host's cores, for thousands of rings at a start.

use std::thread;

/// The least number of items worth a thread.
const WORTH: usize = 16;

/// Returns the results of `work` for `items`, in their order.
pub(crate) fn par_map<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let crew = cores.min(items.len() / WORTH);
    if crew <= 1 {
        return items.iter().map(work).collect();
    }
    let do_all = |part: &[T]| part.iter().map(&work).collect::<Vec<R>>();
    thread::scope(|scope| {
        let parts = items.chunks(items.len().div_ceil(crew));
        let parts: Vec<_> = parts.map(|part| scope.spawn(move || do_all(part))).collect();
        parts.into_iter().flat_map(|part| part.join().expect("work does not panic")).collect()
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn results_are_in_the_order_of_items() {
        for count in [0, 1, 15, 33, 1000] {
            let items: Vec<u32> = (0..count).collect();
            let doubled: Vec<u32> = items.iter().map(|item| item * 2).collect();
            assert_eq!(super::par_map(&items, |item| item * 2), doubled);
        }
    }
}
