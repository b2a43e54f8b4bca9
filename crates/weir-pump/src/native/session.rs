//! What a broker remembers of our fetches, so that only what has changed is asked for (KIP-227).
//!
//! The first request names all partitions, and its answer the session. Later ones name what is wanted otherwise than
//! before and what is not wanted any more; the broker answers for all that it remembers, and leaves out where nothing is
//! new. What is not named stays wanted: a partition that is full, or waits, has to be forgotten, or its records come again.
//! Whenever the two sides may not agree, the next request is a full one that ends the session; so is every request to a
//! broker that keeps none.

use weir_wire::ErrorCode;

use super::producer::Place;

/// How a partition is to be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) offset: i64,
    /// The epoch of the leader that is asked.
    pub(super) leader_epoch: i32,
    /// The epoch in which the record before `offset` was written, -1 where it is not known or the broker does not ask.
    pub(super) last_epoch: i32,
    /// [`Source::serial`](super::source::Source::serial) at the time; the broker knows nothing of it.
    pub(super) serial: u64,
}

impl Wanted {
    fn is_as(&self, other: &Wanted) -> bool {
        (self.offset, self.leader_epoch, self.last_epoch) == (other.offset, other.leader_epoch, other.last_epoch)
    }
}

/// What a request says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) id: i32,
    /// 0: all that is wanted is named.
    pub(super) epoch: i32,
    pub(super) named: Vec<(Place, Wanted)>,
    pub(super) forgotten: Vec<Place>,
}

/// The session with one broker, of which one request at a time is on its way.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// 0 while there is none.
    id: i32,
    /// That of the next request, or of the one on its way.
    epoch: i32,
    /// What was wanted last, in order.
    held: Vec<(Place, Wanted)>,
    asked: bool,
    /// Full requests so far.
    turn: usize,
}

impl Session {
    /// Whether a request is on its way.
    pub(super) fn is_asked(&self) -> bool {
        self.asked
    }

    /// The request for these partitions, which are in order and each there once, and for no other.
    pub(super) fn request(&mut self, wanted: Vec<(Place, Wanted)>) -> Change {
        self.asked = true;
        let held = std::mem::replace(&mut self.held, wanted);
        if self.epoch == 0 {
            let mut named = self.held.clone();
            // From another one each time, so that none is always the last that there is room for. In a session the broker
            // sees to that.
            let count = named.len().max(1);
            named.rotate_left(self.turn % count);
            self.turn = self.turn.wrapping_add(1);
            return Change { id: self.id, epoch: 0, named, forgotten: Vec::new() };
        }
        let (mut named, mut forgotten) = (Vec::new(), Vec::new());
        let mut before = held.into_iter().peekable();
        for (place, wanted) in &self.held {
            while let Some((gone, _)) = before.next_if(|(held, _)| held < place) {
                forgotten.push(gone);
            }
            match before.next_if(|(held, _)| held == place) {
                Some((_, known)) if known.is_as(wanted) => {}
                _ => named.push((place.clone(), *wanted)),
            }
        }
        forgotten.extend(before.map(|(gone, _)| gone));
        Change { id: self.id, epoch: self.epoch, named, forgotten }
    }

    /// The answer to the request came, for a session of that number; whether it only says that the session is over, and the
    /// same can be asked again at once.
    pub(super) fn answered(&mut self, code: ErrorCode, id: i32) -> bool {
        self.asked = false;
        let full = self.epoch == 0;
        match code {
            ErrorCode::NONE if id > 0 && (full || id == self.id) => {
                self.id = id;
                self.epoch = self.epoch.checked_add(1).unwrap_or(1);
                false
            }
            ErrorCode::NONE => {
                (self.id, self.epoch) = (0, 0);
                false
            }
            ErrorCode::FETCH_SESSION_ID_NOT_FOUND => {
                (self.id, self.epoch) = (0, 0);
                !full
            }
            code => {
                self.epoch = 0;
                let session = [
                    ErrorCode::INVALID_FETCH_SESSION_EPOCH,
                    ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR,
                    ErrorCode::INCONSISTENT_TOPIC_ID,
                ];
                !full && session.contains(&code)
            }
        }
    }

    /// No answer came: whether the broker knows of the request nobody knows.
    pub(super) fn gone(&mut self) {
        self.asked = false;
        self.epoch = 0;
    }

    /// A partition of the request on its way, or answered last.
    pub(super) fn wanted(&self, topic: &str, partition: i32) -> Option<(&Place, &Wanted)> {
        let order = |(place, _): &(Place, Wanted)| (&*place.topic, place.partition).cmp(&(topic, partition));
        let (place, wanted) = &self.held[self.held.binary_search_by(order).ok()?];
        Some((place, wanted))
    }

    /// The partitions of that request.
    pub(super) fn all(&self) -> impl Iterator<Item = &Place> {
        self.held.iter().map(|(place, _)| place)
    }
}
