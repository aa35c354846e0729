//! Tasks that follow a set of definitions: where a definition stays, its task goes on untouched.

use std::{collections::HashMap, future::Future, hash::Hash};

use tokio::task::{AbortHandle, JoinSet};

/// One task for each key. They stop on drop.
pub(super) struct KeyedTasks<K, D> {
    running: HashMap<K, (D, AbortHandle)>,
    tasks: JoinSet<()>,
}

impl<K, D> Default for KeyedTasks<K, D> {
    fn default() -> Self {
        Self { running: HashMap::new(), tasks: JoinSet::new() }
    }
}

impl<K: Hash + Eq + Clone, D: PartialEq> KeyedTasks<K, D> {
    /// Stops the tasks whose definition is not `wanted` any more, and has `start` make a task for
    /// each that is new.
    pub(super) fn follow<F>(
        &mut self,
        wanted: impl IntoIterator<Item = (K, D)>,
        mut start: impl FnMut(&K, &D) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut before = std::mem::take(&mut self.running);
        for (key, definition) in wanted {
            let task = match before.remove(&key) {
                Some((same, task)) if same == definition => task,
                other => {
                    if let Some((_, task)) = other {
                        task.abort();
                    }
                    self.tasks.spawn(start(&key, &definition))
                }
            };
            self.running.insert(key, (definition, task));
        }
        before.into_values().for_each(|(_, task)| task.abort());
        // What has ended is not kept.
        while self.tasks.try_join_next().is_some() {}
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.running.len()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        sync::{Arc, Mutex},
    };

    use super::*;

    #[tokio::test]
    async fn what_stays_is_not_started_again_and_what_goes_is_stopped() {
        let started = Mutex::new(Vec::new());
        let alive = Arc::new(());
        let mut tasks = KeyedTasks::default();
        let mut follow = |wanted: &[(&'static str, u32)]| {
            started.lock().unwrap().clear();
            tasks.follow(wanted.iter().copied(), |key, definition| {
                started.lock().unwrap().push((*key, *definition));
                let alive = alive.clone();
                async move {
                    let _alive = alive;
                    pending::<()>().await;
                }
            });
            started.lock().unwrap().clone()
        };
        assert_eq!(follow(&[("a", 1), ("b", 1)]), [("a", 1), ("b", 1)]);
        assert_eq!(follow(&[("a", 1), ("b", 2), ("c", 1)]), [("b", 2), ("c", 1)]);
        assert_eq!(follow(&[("c", 1)]), []);
        tokio::task::yield_now().await;
        assert_eq!(follow(&[("c", 1)]), []);
        assert_eq!(Arc::strong_count(&alive), 2, "one task is left");
        assert_eq!((tasks.len(), tasks.tasks.len()), (1, 1), "and nothing of the others");
    }
}
