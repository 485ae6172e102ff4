//! News between the parts of one process.

use tokio::sync::watch;

use crate::ports::{Topic, Wakeups};

/// One channel for each topic. Its value counts the nudges; who waits sees that
/// it changed, however often.
#[derive(Debug)]
pub struct LocalWakeups {
    work: watch::Sender<u64>,
    schedule: watch::Sender<u64>,
    cancel: watch::Sender<u64>,
}

impl Default for LocalWakeups {
    fn default() -> Self {
        let channel = || watch::channel(0).0;
        Self { work: channel(), schedule: channel(), cancel: channel() }
    }
}

impl LocalWakeups {
    fn channel(&self, topic: Topic) -> &watch::Sender<u64> {
        match topic {
            Topic::Work => &self.work,
            Topic::Schedule => &self.schedule,
            Topic::Cancel => &self.cancel,
        }
    }
}

impl Wakeups for LocalWakeups {
    fn nudge(&self, topic: Topic) {
        self.channel(topic).send_modify(|count| *count = count.wrapping_add(1));
    }

    fn listen(&self, topic: Topic) -> watch::Receiver<u64> {
        self.channel(topic).subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_nudge_reaches_who_listens_and_nobody_else() {
        let wakeups = LocalWakeups::default();
        let mut work = wakeups.listen(Topic::Work);
        let cancel = wakeups.listen(Topic::Cancel);
        wakeups.nudge(Topic::Work);
        wakeups.nudge(Topic::Work);
        work.changed().await.unwrap();
        assert!(!work.has_changed().unwrap(), "two nudges are one piece of news");
        assert!(!cancel.has_changed().unwrap());
    }
}
