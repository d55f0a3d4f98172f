//! Who watches what: the task behind all subscriptions.
//!
//! The task waits; whatever may touch a disk is done on a blocking thread, to which the table is lent
//! for the time.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

use super::notify::{Depth, Kind, Notify, Told};
use super::outbox::Outbox;
use super::{DirEvent, Inbox, Interest, LOOK_INTERVAL, SLOW_LOOK, Seen};

/// How often a directory that comes and goes while it is being attached to is tried at a time.
const MAX_ATTEMPTS: usize = 8;

/// What the task is asked for.
#[derive(Debug)]
pub(super) enum Command {
    Add {
        number: u64,
        directory: PathBuf,
        target: Target,
    },
    Remove {
        number: u64,
    },
}

/// Who is told of what.
#[derive(Debug)]
pub(super) enum Target {
    Directory {
        interest: Interest,
        outbox: Arc<Outbox>,
    },
    File {
        name: OsString,
        path: PathBuf,
        seen: watch::Sender<Seen>,
    },
}

/// One subscription.
#[derive(Debug)]
struct Subscriber {
    directory: PathBuf,
    target: Target,
    place: Place,
}

/// How a subscription learns of its directory.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// Not at all, so far.
    Nowhere,
    /// The directory itself is watched.
    Here(i32),
    /// It is not there; the nearest one above is watched for the next name on the way.
    Above(i32, OsString),
    /// By looking.
    Looks,
}

/// One directory that the system watches.
#[derive(Debug, Default)]
struct Watched {
    /// Subscribers of the whole directory.
    all: Vec<u64>,
    /// Subscribers of one name.
    by_name: HashMap<OsString, Vec<u64>>,
}

/// Everything the task knows.
#[derive(Debug, Default)]
struct Table {
    notify: Option<Notify>,
    subscribers: BTreeMap<u64, Subscriber>,
    watched: HashMap<i32, Watched>,
    /// Whether the log was told that the system does not tell.
    is_poverty_known: bool,
}

/// Serves subscriptions until nobody is left; by looking if nothing could be `opened`.
pub(super) async fn run(inbox: Arc<Inbox>, opened: io::Result<Notify>) {
    let mut table = Table::default();
    let notify = match opened {
        Ok(notify) => {
            table.notify = Some(notify.share());
            Some(notify)
        }
        Err(error) => {
            table.say_poverty(&error);
            None
        }
    };
    let mut slow_look = Instant::now() + SLOW_LOOK;
    let mut looked = Instant::now();
    loop {
        let next_look = match table.looks() {
            true => slow_look.min(looked + LOOK_INTERVAL),
            false => slow_look,
        };
        tokio::select! {
            () = inbox.wake.notified() => {}
            () = readable(notify.as_ref()) => {}
            () = sleep_until(next_look), if !table.subscribers.is_empty() => {}
        }
        let commands = {
            let mut asked = inbox.lock();
            if asked.closed {
                return;
            }
            std::mem::take(&mut asked.commands)
        };
        let now = Instant::now();
        let (is_look_due, is_slow_look_due) = (now >= next_look, now >= slow_look);
        if is_look_due {
            looked = now;
        }
        if is_slow_look_due {
            slow_look = now + SLOW_LOOK;
        }
        let worked = spawn_blocking(move || {
            table.read();
            for command in commands {
                table.obey(command);
            }
            if is_look_due {
                table.look(is_slow_look_due);
            }
            table
        });
        // It can only fail together with the runtime, or by a defect that the log shows.
        let Ok(lent) = worked.await else { return };
        table = lent;
    }
}

async fn readable(notify: Option<&Notify>) {
    match notify {
        Some(notify) => {
            if notify.readable().await.is_err() {
                // The runtime ends.
                std::future::pending::<()>().await;
            }
        }
        None => std::future::pending().await,
    }
}

impl Table {
    /// Whether somebody is told by looking.
    fn looks(&self) -> bool {
        let mut subscribers = self.subscribers.values();
        subscribers.any(|subscriber| subscriber.place == Place::Looks)
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Add {
                number,
                directory,
                target,
            } => {
                let subscriber = Subscriber {
                    directory,
                    target,
                    place: Place::Nowhere,
                };
                self.subscribers.insert(number, subscriber);
                self.attach(number);
            }
            Command::Remove { number } => {
                self.detach(number);
                self.subscribers.remove(&number);
            }
        }
    }

    /// Takes in what the system tells.
    fn read(&mut self) {
        let Some(notify) = &self.notify else { return };
        let reading = notify.read();
        for (watch, told) in reading.told {
            match told {
                Told::File(kind, name) => self.tell(watch, kind, &name),
                Told::Over => self.lose(watch),
            }
        }
        if reading.is_incomplete {
            let all: Vec<u64> = self.subscribers.keys().copied().collect();
            for number in all {
                self.attach(number);
            }
        }
    }

    /// Passes on what happened to one file.
    fn tell(&mut self, watch: i32, kind: Kind, name: &OsStr) {
        let Some(watched) = self.watched.get(&watch) else {
            return;
        };
        let mut nearer = Vec::new();
        let of_name = watched.by_name.get(name).into_iter().flatten();
        for number in watched.all.iter().chain(of_name) {
            let Some(subscriber) = self.subscribers.get(number) else {
                continue;
            };
            match &subscriber.place {
                Place::Here(_) => subscriber.tell(kind, name),
                _ => nearer.push(*number),
            }
        }
        for number in nearer {
            self.attach(number);
        }
    }

    /// A directory is not where it was.
    fn lose(&mut self, watch: i32) {
        let Some(watched) = self.watched.remove(&watch) else {
            return;
        };
        if let Some(notify) = &self.notify {
            // One that was moved is still watched, under a name that nobody asked for.
            notify.remove(watch);
        }
        for number in watched
            .all
            .into_iter()
            .chain(watched.by_name.into_values().flatten())
        {
            if let Some(subscriber) = self.subscribers.get_mut(&number) {
                if subscriber.place == Place::Here(watch) {
                    subscriber.gone();
                }
                subscriber.place = Place::Nowhere;
            }
            self.attach(number);
        }
    }

    /// Has a subscription watch its directory, or what is nearest to it, and look once.
    fn attach(&mut self, number: u64) {
        self.detach(number);
        let Some(subscriber) = self.subscribers.get(&number) else {
            return;
        };
        let directory = subscriber.directory.clone();
        let depth = subscriber.depth();
        let place = match self.approach(&directory, depth) {
            Ok(place) => place,
            Err(error) => {
                self.say_poverty(&error);
                Place::Looks
            }
        };
        let Some(subscriber) = self.subscribers.get_mut(&number) else {
            return;
        };
        subscriber.place = place.clone();
        match &place {
            Place::Here(watch) => {
                let watched = self.watched.entry(*watch).or_default();
                match &subscriber.target {
                    Target::Directory { .. } => watched.all.push(number),
                    Target::File { name, .. } => watched.add(name, number),
                }
            }
            Place::Above(watch, name) => {
                self.watched.entry(*watch).or_default().add(name, number);
            }
            Place::Nowhere | Place::Looks => {}
        }
        // What happened before the watch began is seen only by looking.
        if !matches!(place, Place::Above(..)) || matches!(subscriber.target, Target::File { .. }) {
            subscriber.look();
        }
    }

    /// Watches a directory or, while it is not there, the nearest one above it.
    fn approach(&self, directory: &Path, depth: Depth) -> io::Result<Place> {
        let Some(notify) = &self.notify else {
            return Ok(Place::Looks);
        };
        let mut nearest = Place::Nowhere;
        for _ in 0..MAX_ATTEMPTS {
            match notify.add(directory, depth) {
                Ok(watch) => {
                    self.forget_if_unused(&nearest, Some(watch));
                    return Ok(Place::Here(watch));
                }
                Err(error) if is_missing(&error) => {}
                Err(error) => return Err(error),
            }
            self.forget_if_unused(&nearest, None);
            let (place, next) = self.above(notify, directory)?;
            nearest = place;
            if !next.exists() {
                break;
            }
            // It came between the two calls.
        }
        Ok(nearest)
    }

    /// Watches the nearest directory above one that is not there; also the next one on the way.
    fn above(&self, notify: &Notify, directory: &Path) -> io::Result<(Place, PathBuf)> {
        let mut missing = directory;
        loop {
            let Some(name) = missing.file_name() else {
                return Err(io::ErrorKind::NotFound.into());
            };
            let parent = match missing.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                Some(_) => Path::new("."),
                None => return Err(io::ErrorKind::NotFound.into()),
            };
            match notify.add(parent, Depth::Arrivals) {
                Ok(watch) => {
                    return Ok((Place::Above(watch, name.to_owned()), missing.to_owned()));
                }
                Err(error) if is_missing(&error) => missing = parent,
                Err(error) => return Err(error),
            }
        }
    }

    /// Ends the system's watch over a place that nobody came to stay at.
    fn forget_if_unused(&self, place: &Place, now: Option<i32>) {
        if let (Place::Above(watch, _), Some(notify)) = (place, &self.notify)
            && now != Some(*watch)
            && !self.watched.contains_key(watch)
        {
            notify.remove(*watch);
        }
    }

    /// Ends a subscription's watch; that of the system with the last of its subscribers.
    fn detach(&mut self, number: u64) {
        let Some(subscriber) = self.subscribers.get_mut(&number) else {
            return;
        };
        let (watch, name) = match std::mem::replace(&mut subscriber.place, Place::Nowhere) {
            Place::Here(watch) => match &subscriber.target {
                Target::Directory { .. } => (watch, None),
                Target::File { name, .. } => (watch, Some(name.clone())),
            },
            Place::Above(watch, name) => (watch, Some(name)),
            Place::Nowhere | Place::Looks => return,
        };
        let Some(watched) = self.watched.get_mut(&watch) else {
            return;
        };
        watched.remove(name.as_deref(), number);
        if watched.all.is_empty() && watched.by_name.is_empty() {
            self.watched.remove(&watch);
            if let Some(notify) = &self.notify {
                notify.remove(watch);
            }
        }
    }

    /// Looks for those who are not told, and, now and then, at every followed file.
    fn look(&self, is_thorough: bool) {
        for subscriber in self.subscribers.values() {
            let is_file = matches!(subscriber.target, Target::File { .. });
            if subscriber.place == Place::Looks || (is_thorough && is_file) {
                subscriber.look();
            }
        }
    }

    /// Says once that the system does not tell.
    fn say_poverty(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.is_poverty_known, true) {
            tracing::warn!(
                %error,
                "directories cannot be watched; they are looked at four times a second (see \
                 fs.inotify.max_user_instances and max_user_watches)"
            );
        }
    }
}

/// Whether there is no directory at a path.
fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

impl Watched {
    fn add(&mut self, name: &OsStr, number: u64) {
        let of_name = self.by_name.entry(name.to_owned()).or_default();
        of_name.push(number);
    }

    fn remove(&mut self, name: Option<&OsStr>, number: u64) {
        let Some(name) = name else {
            self.all.retain(|other| *other != number);
            return;
        };
        if let Some(of_name) = self.by_name.get_mut(name) {
            of_name.retain(|other| *other != number);
            if of_name.is_empty() {
                self.by_name.remove(name);
            }
        }
    }
}

impl Subscriber {
    fn depth(&self) -> Depth {
        match &self.target {
            Target::Directory { interest, .. } if *interest == Interest::Writes => Depth::Writes,
            _ => Depth::Names,
        }
    }

    /// Something happened to one of its files.
    fn tell(&self, kind: Kind, name: &OsStr) {
        let Target::Directory { interest, outbox } = &self.target else {
            if kind != Kind::Written {
                self.look();
            }
            return;
        };
        let name = name.to_owned();
        match kind {
            Kind::Appeared => outbox.push(DirEvent::Appeared(name)),
            Kind::Vanished => outbox.push(DirEvent::Vanished(name)),
            Kind::Touched => outbox.push(DirEvent::Touched(name)),
            Kind::Written if *interest == Interest::Writes => {
                outbox.push(DirEvent::Written(name));
            }
            Kind::Written => {}
        }
    }

    /// Its directory is gone.
    fn gone(&self) {
        if let Target::Directory { outbox, .. } = &self.target {
            outbox.push(DirEvent::Gone);
        }
    }

    /// Looks, or has the subscriber look.
    fn look(&self) {
        match &self.target {
            Target::Directory { outbox, .. } => outbox.push(DirEvent::LookAgain),
            Target::File { path, seen, .. } => {
                let now = Seen::at(path);
                seen.send_if_modified(|seen| std::mem::replace(seen, now) != now);
            }
        }
    }
}
