//! One worker: a thread with a membership of the group and a transactional producer, and the tasks of the partitions it
//! was given.
//!
//! It works in sessions. A session owns everything that is not committed; when anything goes wrong it is dropped whole,
//! and the next one takes up what is committed: the coordinator undoes what was open, the stores follow their changelogs
//! to the end, and their positions say where reading goes on. So there is one way to begin, after a start, a crash, a
//! rebalance and an error alike.
//!
//! Every round does the same, in this order: look whether the views have changed, read, answer a rebalance, let the
//! tasks work, commit if it is time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use weir_kafka::{Admin, Failure, Membership, MembershipOptions, Moved, TransactionError, TransactionalWriter};
use weir_state::Position;
use weir_view::{Sieve, StageInput};

use crate::board::TaskStatus;
use crate::incomings::{Incomings, Reading};
use crate::parts::{Part, runnable, written};
use crate::restore::{Behind, restore_all};
use crate::shared::Shared;
use crate::task::{Step, Trouble, Working, changelog, now_ms};
use crate::views::View;

/// How long to wait for records when there is nothing else to do.
const IDLE: Duration = Duration::from_millis(100);
/// How long to wait for records while a task waits for an input.
const SHORT: Duration = Duration::from_millis(5);
/// Records read before the tasks are let to work.
const READ: usize = 2_000;
/// Records a task processes before the next one has its turn.
const TURN: usize = 2_000;
/// Records that do not concern a task which it passes over at once.
const SKIP: u64 = 500;
/// Records written after which a transaction is committed.
const FULL: usize = 200_000;
/// Records and bytes of one partition that wait in memory before the client is told to stop.
const BUFFER: (usize, usize) = (20_000, 16 << 20);
/// How long a task rests that something outside is missing for.
const STALL: Duration = Duration::from_millis(50);
/// Time between two looks at whether a view that is blocked can run.
const LOOK: Duration = Duration::from_secs(1);
/// How often the board is written.
const PUBLISH: Duration = Duration::from_millis(200);
/// The share of the session timeout that a transaction is kept open for where ends take long.
const PACE_SHARE: f64 = 0.2;
/// The share of the session timeout that a transaction may take.
const TRANSACTION_SHARE: f64 = 0.8;

/// Runs a worker until the router stops.
pub fn run(shared: &Shared, worker: usize) {
    let mut failures = 0u32;
    let mut kept = None;
    while !shared.is_stopping() {
        if shared.views.number() == 0 {
            shared.pause(Duration::from_millis(10));
            continue;
        }
        let began = Instant::now();
        match session(shared, worker, &mut kept) {
            Ok(()) => failures = 0,
            Err(Trouble::Fatal(reason)) => return shared.board.fail(worker, reason),
            Err(trouble) => {
                failures = if began.elapsed() > Duration::from_secs(60) { 1 } else { failures + 1 };
                tracing::warn!(worker, %trouble, failures, "what was open is undone and taken up again");
                shared.board.set_waits(worker, Some(trouble.to_string()));
                let backoff = Duration::from_millis(50) * 2u32.saturating_pow(failures.min(6));
                shared.pause(backoff.min(Duration::from_secs(2)));
            }
        }
        shared.board.set_tasks(worker, BTreeMap::new());
    }
}

/// A membership that goes on from one session to the next, and the topics it is of.
type Kept = Option<(Membership, Vec<String>)>;

/// One session: until the views change, something goes wrong, or the router stops.
fn session(shared: &Shared, worker: usize, kept: &mut Kept) -> Result<(), Trouble> {
    let config = &shared.config;
    let set = shared.views.current();
    let admin = Admin::new(&config.cluster)?;
    let (runnable, blocked) = runnable(&set, &admin)?;
    let cluster = admin.cluster_id()?;
    let name = format!("{}.{}.{worker}", config.group, config.instance);
    shared.ends.ask(&admin, &name)?;
    // The producer first: becoming the owner of its id undoes what a predecessor left open.
    let timeout = config.session_timeout.mul_f64(TRANSACTION_SHARE);
    let writer = TransactionalWriter::open_untold(&config.cluster, &name, timeout)?;
    let options = MembershipOptions {
        group: config.group.clone(),
        instance: config.static_members.then(|| name.clone()),
        session_timeout: config.session_timeout,
    };
    let stages = runnable.iter().flat_map(|part| &part.view.stages()[part.stage].inputs);
    let mut topics: Vec<String> = stages.map(|input| input.relation.topic.clone()).collect();
    topics.sort_unstable();
    topics.dedup();
    // A static member that comes anew is given what it had before (KIP-345): of other topics only one that stays hears.
    let member = match kept.take().filter(|(_, known)| *known != topics) {
        Some((member, _)) => member,
        None => Membership::join(&config.cluster, &options)?,
    };
    member.subscribe(&topics.iter().map(String::as_str).collect::<Vec<_>>())?;
    shared.board.set_waits(worker, None);
    let any_blocked = !blocked.is_empty();
    let mut session = Session {
        shared,
        worker,
        cluster,
        name,
        number: set.number,
        parts: runnable,
        member: &member,
        writer,
        sources: Vec::new(),
        places: HashMap::new(),
        tasks: Vec::new(),
        stores: Vec::new(),
        written: BTreeSet::new(),
        opened: None,
        cut: false,
        pace: config.commit_interval,
        published: None,
        look: any_blocked.then(|| Instant::now() + LOOK),
        resting: false,
        retry: Vec::new(),
        blocked,
        unfit: BTreeMap::new(),
    };
    session.tell_blocked();
    let ended = session.work(&admin);
    drop(session);
    *kept = ended.is_ok().then_some((member, topics));
    ended
}

struct Session<'s, 'm> {
    shared: &'s Shared,
    worker: usize,
    /// The id of the cluster: a copy of the state of another one is not taken for its own.
    cluster: String,
    name: String,
    /// The number of the set of views it works for.
    number: u64,
    parts: Vec<Part>,
    member: &'m Membership,
    writer: TransactionalWriter,
    sources: Vec<Incomings<'m>>,
    /// Where a partition stands among the sources.
    places: HashMap<String, BTreeMap<i32, usize>>,
    tasks: Vec<Working>,
    /// The names of the stores it has.
    stores: Vec<String>,
    /// The partitions that its tasks write.
    written: BTreeSet<(String, i32)>,
    opened: Option<Instant>,
    /// Whether it has to be committed before anything else is done.
    cut: bool,
    /// How long a transaction is open before it is committed.
    pace: Duration,
    published: Option<Instant>,
    /// When to look again whether a view that is blocked can run.
    look: Option<Instant>,
    /// Whether some task waits for an input though another has something.
    resting: bool,
    /// When each task that stalls is tried again.
    retry: Vec<Option<Instant>>,
    /// Views whose topics are not as they must be, and why.
    blocked: BTreeMap<String, String>,
    /// Views that do not go with the state they have, and why.
    unfit: BTreeMap<String, String>,
}

impl<'m> Session<'_, 'm> {
    /// The coordinator ends an epoch for two reasons: a newer owner, or a transaction that took too long. One that was
    /// shorter than its timeout leaves only the first, and two that fence each other for ever would be the worst.
    fn judge(&self, error: TransactionError) -> Trouble {
        let timeout = self.shared.config.session_timeout.mul_f64(TRANSACTION_SHARE);
        if error.failure == Failure::Fenced && self.opened.is_none_or(|opened| opened.elapsed() < timeout) {
            let name = &self.name;
            return Trouble::Fatal(format!(
                "fenced: another living process uses the transactional id {name}; give every router an instance name of its own"
            ));
        }
        Trouble::Transaction(error)
    }

    fn judged(&self, trouble: Trouble) -> Trouble {
        match trouble {
            Trouble::Transaction(error) => self.judge(error),
            other => other,
        }
    }

    fn work(&mut self, admin: &Admin) -> Result<(), Trouble> {
        loop {
            if self.shared.is_stopping() || self.shared.views.number() != self.number {
                self.commit()?;
                self.save(true)?;
                return Ok(());
            }
            if self.look.is_some_and(|at| at <= Instant::now()) {
                let (now, blocked) = runnable(&self.shared.views.current(), admin)?;
                self.blocked = blocked;
                self.tell_blocked();
                if now.len() != self.parts.len() {
                    self.commit()?;
                    return Ok(());
                }
                self.look = Some(Instant::now() + LOOK);
            }
            self.read()?;
            while let Some(moved) = self.member.next_moved() {
                self.moved(moved, admin)?;
            }
            self.renew(admin).and_then(|()| self.process()).map_err(|trouble| self.judged(trouble))?;
            let cut = std::mem::take(&mut self.cut);
            if cut || self.due_in() == Some(Duration::ZERO) {
                self.commit()?;
            }
            self.publish();
        }
    }

    /// Where a connection was lost, the writer becomes the owner of its id anew with the next transaction.
    fn renew(&mut self, admin: &Admin) -> Result<(), Trouble> {
        if self.opened.is_none() && self.writer.is_to_renew() {
            self.shared.ends.ask(admin, &self.name)?;
            self.writer.renew()?;
            self.shared.ends.mend(admin, &self.written);
        }
        Ok(())
    }

    fn due_in(&self) -> Option<Duration> {
        let opened = self.opened?;
        if self.writer.sent() >= FULL {
            return Some(Duration::ZERO);
        }
        Some(self.pace.saturating_sub(opened.elapsed()))
    }

    /// Takes in what there is, waiting for the first record no longer than until something else is due.
    fn read(&mut self) -> Result<(), Trouble> {
        let most = if self.resting { SHORT } else { IDLE };
        let mut wait = self.due_in().map_or(most, |due| due.min(most));
        if self.busy() {
            wait = Duration::ZERO;
        }
        let mut last: Option<usize> = None;
        for _ in 0..READ {
            let Some(record) = self.member.poll(wait)? else { break };
            wait = Duration::ZERO;
            let place = match last {
                Some(place) if self.sources[place].buffer.back().is_some_and(|known| known.is_of(&record)) => place,
                _ => match self.places.get(record.topic()).and_then(|at| at.get(&record.partition())) {
                    Some(place) => *place,
                    None => continue,
                },
            };
            last = Some(place);
            self.sources[place].push(record);
        }
        let standings = self.member.standings();
        for standing in standings {
            let place = self.places.get(&standing.topic).and_then(|at| at.get(&standing.partition));
            let Some(source) = place.and_then(|place| self.sources.get_mut(*place)) else { continue };
            source.lag = (standing.end - source.next.max(standing.fetched)).max(0);
            source.stands(&standing);
        }
        self.throttle()
    }

    /// Whether a task could go on without another record.
    fn busy(&self) -> bool {
        !self.resting && self.sources.iter().any(|source| !source.buffer.is_empty())
    }

    /// Tells the client to stop reading partitions that nobody takes from fast enough, and to go on.
    fn throttle(&mut self) -> Result<(), Trouble> {
        let (mut stop, mut go) = (Vec::new(), Vec::new());
        for source in &mut self.sources {
            let full = source.buffer.len() > BUFFER.0 || source.bytes > BUFFER.1;
            let low = source.buffer.len() < BUFFER.0 / 2 && source.bytes < BUFFER.1 / 2;
            if full && !source.paused {
                source.paused = true;
                stop.push((source.topic.as_str(), source.partition));
            } else if low && source.paused {
                source.paused = false;
                go.push((source.topic.as_str(), source.partition));
            }
        }
        self.member.pause(&stop, true)?;
        Ok(self.member.pause(&go, false)?)
    }

    fn moved(&mut self, moved: Moved, admin: &Admin) -> Result<(), Trouble> {
        match moved {
            Moved::Revoked { lost } => {
                if !lost {
                    self.commit()?;
                    self.save(true)?;
                }
                self.drop_tasks();
                if lost {
                    return Err(Trouble::State("the partitions were lost to another member".to_owned()));
                }
                Ok(self.member.give_back()?)
            }
            Moved::Assigned(list) => self.take(&list, admin),
        }
    }

    fn tell_blocked(&self) {
        let all = self.blocked.iter().chain(&self.unfit).map(|(view, reason)| (view.clone(), reason.clone()));
        self.shared.board.set_blocked(self.worker, all.collect());
    }

    /// What is not saved is restored by whoever has the task next: that may be another worker of this process by now, over whose
    /// state nothing older must be written.
    fn drop_tasks(&mut self) {
        self.tasks.clear();
        self.stores.drain(..).for_each(|name| self.shared.owned.give_back(&name));
        self.sources.clear();
        self.places.clear();
        self.retry.clear();
        self.published = None;
    }

    /// Makes a task of every view for every partition that all of its inputs were given of, brings its state up to date,
    /// and reads on from where it stands.
    fn take(&mut self, list: &[(String, i32)], admin: &Admin) -> Result<(), Trouble> {
        self.drop_tasks();
        let mut owned: HashMap<&str, Vec<i32>> = HashMap::new();
        for (topic, partition) in list {
            owned.entry(topic).or_default().push(*partition);
        }
        let parts = self.parts.clone();
        let mut wanted = Vec::new();
        for part in &parts {
            let stage = &part.view.stages()[part.stage];
            for partition in 0..part.partitions {
                let of = |topic: &str| owned.get(topic).is_some_and(|partitions| partitions.contains(&partition));
                if stage.inputs.iter().all(|input| of(&input.relation.topic)) {
                    wanted.push((part, stage, partition));
                }
            }
        }
        tracing::info!(worker = self.worker, tasks = wanted.len(), "partitions assigned");
        self.unfit.clear();
        let mut behind = Vec::new();
        for (_, stage, partition) in &wanted {
            let topic = changelog(stage);
            let name = format!("{}.{topic}-{partition}", self.cluster);
            self.shared.owned.take(&name);
            let store = self.shared.folder.store(&name)?;
            self.stores.push(name);
            behind.push(Behind { store, topic, partition: *partition, restored: 0 });
        }
        self.shared.board.set_waits(self.worker, Some("state is being restored".to_owned()));
        let alive = || {
            // Nothing is assigned yet, so that this only tells the group that the member lives.
            drop(self.member.poll(Duration::ZERO));
            !self.shared.is_stopping()
        };
        let places = written(wanted.iter().map(|(part, _, partition)| (*part, *partition)));
        self.shared.ends.mend(admin, &places);
        let tell = |reason| {
            self.shared.board.set_waits(self.worker, Some(reason));
            self.shared.ends.mend(admin, &places);
        };
        restore_all(admin, &self.shared.config.cluster, &self.shared.folder, &mut behind, &alive, &tell)?;
        self.written = places;
        for ((Part { view, stage: number, .. }, stage, partition), Behind { store, restored, .. }) in
            wanted.into_iter().zip(behind)
        {
            if restored > 0 {
                tracing::info!(view = view.id, partition, entries = restored, "state restored");
                self.shared.board.add_restored(&view.id, restored);
            }
            let sources: Vec<(usize, usize)> =
                stage.inputs.iter().map(|input| self.source(view, input, partition)).collect();
            match Working::new(view, *number, partition, store, &sources) {
                Ok(task) => self.tasks.push(task),
                Err(reason) => drop(self.unfit.insert(view.id.clone(), reason)),
            }
        }
        self.shared.board.set_waits(self.worker, None);
        self.tell_blocked();
        self.retry = vec![None; self.tasks.len()];
        self.ask();
        // Each partition from where the task stands that is furthest back.
        let mut from: Vec<Option<i64>> = vec![None; self.sources.len()];
        for cursor in self.tasks.iter().flat_map(|task| &task.cursors) {
            let at = &mut from[cursor.source];
            *at = Some(at.map_or(cursor.next, |known| known.min(cursor.next)));
        }
        let mut positions = Vec::new();
        for (source, from) in self.sources.iter_mut().zip(from) {
            let Some(from) = from else { continue };
            source.next = from;
            positions.push((source.topic.as_str(), source.partition, (from > 0).then_some(from)));
        }
        Ok(self.member.read_from(&positions)?)
    }

    /// The indexes of a partition among those that come in, and of the way an input reads it.
    fn source(&mut self, view: &View, input: &StageInput, partition: i32) -> (usize, usize) {
        let (topic, next) = (&input.relation.topic, self.sources.len());
        let place = *self.places.entry(topic.clone()).or_default().entry(partition).or_insert(next);
        if place == next {
            self.sources.push(Incomings::new(topic, partition));
        }
        let readings = &mut self.sources[place].readings;
        let known = readings.iter().position(|reading| reading.is_of(input, view.on_schema_change));
        let reading = known.unwrap_or_else(|| {
            readings.push(Reading::new(input, view.on_schema_change, &self.shared.registry));
            readings.len() - 1
        });
        (place, reading)
    }

    /// Tells each way of reading what its tasks ask of a record, so that all is found out in one walk.
    fn ask(&mut self) {
        for (place, source) in self.sources.iter_mut().enumerate() {
            for (index, reading) in source.readings.iter_mut().enumerate() {
                let mut conditions = Vec::new();
                for task in &mut self.tasks {
                    let of = task.cursors.first().is_some_and(|c| (c.source, c.reading) == (place, index));
                    if of && conditions.len() < Sieve::MOST && task.condition().is_some() {
                        task.number = Some(conditions.len());
                        conditions.push(task.condition().cloned());
                    }
                }
                reading.ask(&conditions.iter().map(Option::as_ref).collect::<Vec<_>>());
            }
        }
    }

    /// Lets every task do what it can.
    fn process(&mut self) -> Result<(), Trouble> {
        self.resting = false;
        let (max_idle, interval) = (self.shared.config.max_idle, self.pace);
        let mut looks = 0_u32;
        for (task, retry) in self.tasks.iter_mut().zip(&mut self.retry) {
            if retry.is_some_and(|at| at > Instant::now()) {
                self.resting = true;
                continue;
            }
            for _ in 0..TURN {
                looks += 1;
                // Not at each record: a look at the clock costs as much as a small view.
                if looks.is_multiple_of(64) && self.opened.is_some_and(|opened| opened.elapsed() >= interval) {
                    break;
                }
                if task.skip(&mut self.sources, SKIP) > 0 {
                    if self.opened.is_none() {
                        self.writer.begin()?;
                        self.opened = Some(Instant::now());
                    }
                    task.stalled = None;
                    continue;
                }
                let chosen = task.choose(&mut self.sources, max_idle);
                let step = match chosen {
                    Ok(None) => Step::Rests,
                    Err(reason) => Step::Stalls(reason),
                    Ok(Some(input)) => {
                        // Begun with the first thing to do: none is ever committed empty.
                        if self.opened.is_none() {
                            self.writer.begin()?;
                            self.opened = Some(Instant::now());
                        }
                        task.step(input, &self.sources, &mut self.writer)?
                    }
                };
                match step {
                    Step::Took => task.stalled = None,
                    Step::Rests => {
                        task.stalled = None;
                        self.resting |= task.has_something(&self.sources);
                        break;
                    }
                    Step::Cut => {
                        self.cut = true;
                        break;
                    }
                    Step::Stalls(reason) => {
                        task.stalled = Some(reason);
                        *retry = Some(Instant::now() + STALL);
                        self.resting = true;
                        break;
                    }
                }
            }
        }
        // What every task has used is let go.
        let mut used: Vec<u64> = vec![u64::MAX; self.sources.len()];
        for cursor in self.tasks.iter().flat_map(|task| &task.cursors) {
            used[cursor.source] = used[cursor.source].min(cursor.at);
        }
        for (source, used) in self.sources.iter_mut().zip(used) {
            source.let_go(used);
        }
        Ok(())
    }

    /// Commits output, state and positions together; then the local stores follow.
    fn commit(&mut self) -> Result<(), Trouble> {
        if self.opened.is_none() {
            return Ok(());
        }
        if !self.tasks.iter().any(|task| task.touched) {
            // A task that was to have something stalled instead: there is nothing to commit.
            self.writer.abort()?;
            self.opened = None;
            return Ok(());
        }
        let began = Instant::now();
        let mut logs = Vec::new();
        for index in 0..self.tasks.len() {
            if self.tasks[index].touched {
                let logged = self.tasks[index].log(&mut self.writer);
                logs.push((index, logged.map_err(|trouble| self.judged(trouble))?));
            }
        }
        let mut positions: Vec<Option<i64>> = vec![None; self.sources.len()];
        for cursor in self.tasks.iter().flat_map(|task| &task.cursors) {
            let at = &mut positions[cursor.source];
            *at = Some(at.map_or(cursor.next, |known| known.min(cursor.next)));
        }
        let positions: Vec<(&str, i32, i64)> = (self.sources.iter().zip(&positions))
            .filter_map(|(source, at)| Some((source.topic.as_str(), source.partition, (*at)?)))
            .collect();
        self.writer.send_positions(self.member, &positions).map_err(|error| self.judge(error))?;
        self.writer.commit().map_err(|error| self.judge(error))?;
        self.opened = None;
        for (index, count) in logs {
            let task = &mut self.tasks[index];
            // Behind the records lies the marker of their transaction. What an owner that is past has left between them, and was undone,
            // is not counted: the place is at most too low, and then that much is read again.
            let next = task.store.position().map_or(0, |at| at.next) + count + 1;
            task.store.commit(Position { next, at_ms: now_ms() });
            self.shared.board.add(&task.view.id, &std::mem::take(&mut task.counts));
            task.touched = false;
        }
        self.save(false)?;
        // Many views make a transaction of many partitions, whose end takes long: less of the time goes into ends then.
        let most = self.shared.config.session_timeout.mul_f64(PACE_SHARE);
        self.pace = (began.elapsed() * 2).min(most).max(self.shared.config.commit_interval);
        Ok(())
    }

    /// Writes what the stores of the tasks have committed to the disk, where it is time or has to be.
    fn save(&mut self, all: bool) -> Result<(), weir_state::Error> {
        self.shared.folder.save(&mut self.tasks.iter_mut().map(|task| &mut task.store).collect::<Vec<_>>(), all)
    }

    fn publish(&mut self) {
        if self.published.is_some_and(|at| at.elapsed() < PUBLISH) {
            return;
        }
        self.published = Some(Instant::now());
        let mut tasks: BTreeMap<String, Vec<TaskStatus>> = BTreeMap::new();
        for task in &self.tasks {
            let mut status = TaskStatus {
                stage: task.stage,
                partition: task.partition,
                worker: self.worker,
                lag: 0,
                waits: task.stalled.clone(),
                positions: BTreeMap::new(),
            };
            for cursor in &task.cursors {
                let source = &self.sources[cursor.source];
                status.lag += source.lag + (source.first + source.buffer.len() as u64).saturating_sub(cursor.at) as i64;
                status.positions.insert(source.topic.clone(), cursor.next);
            }
            tasks.entry(task.view.id.clone()).or_default().push(status);
        }
        self.shared.board.set_tasks(self.worker, tasks);
    }
}

impl Drop for Session<'_, '_> {
    fn drop(&mut self) {
        self.drop_tasks();
    }
}
