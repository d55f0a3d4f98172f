//! One run: starts the fleet, has three lanes do their faults side by side, ends it in order.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use telemetry_tests::truth::{Arrivals, Kind, Pages, PoolRole, Program, Remote, Role};
use telemetry_tests::{Seed, TestManager};

use crate::dialled::{self, DialledLane};
use crate::faults::{Fault, Happened, OF_DIALLED, OF_LOOSE, OF_POOL};
use crate::loose::{LooseLane, Slot};
use crate::pool::PoolLane;
use crate::record::{Record, Watched};
use crate::table::{self, Truth};

/// Workers that no pool started, of each kind.
const LOOSE: usize = 2;
/// Workers that dial in, of each kind.
const DIALLED: usize = 2;
/// Between two faults of a lane.
const PACE: Duration = Duration::from_secs(2);
/// The same where time is short.
const QUICK_PACE: Duration = Duration::from_millis(300);

/// How often each fault is done where time is short.
const QUICK_ROUNDS: usize = 2;

/// What a run is started with.
pub(crate) struct Settings {
    pub(crate) python: PathBuf,
    pub(crate) seconds: u64,
    pub(crate) seed: u64,
    /// Each fault a few times, and no more.
    pub(crate) quick: bool,
    /// Workers of the pool.
    pub(crate) workers: usize,
    /// Events a second of each worker.
    pub(crate) rate: u32,
}

/// Which faults come next, and when it is enough.
struct Plan {
    /// Each once, or a few times, in an order of the seed's.
    first: VecDeque<Fault>,
    of: &'static [Fault],
    seed: Seed,
    until: Option<Instant>,
    pace: tokio::time::Interval,
}

impl Plan {
    fn new(of: &'static [Fault], settings: &Settings, mut seed: Seed) -> Self {
        let mut first = of.repeat(if settings.quick { QUICK_ROUNDS } else { 1 });
        for last in (1..first.len()).rev() {
            first.swap(last, seed.below(last + 1));
        }
        let pace = if settings.quick { QUICK_PACE } else { PACE };
        let mut pace = tokio::time::interval(pace);
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let until = Instant::now() + Duration::from_secs(settings.seconds);
        Self {
            first: first.into(),
            of,
            seed,
            until: (!settings.quick).then_some(until),
            pace,
        }
    }

    async fn next(&mut self) -> Option<Fault> {
        self.pace.tick().await;
        if let Some(fault) = self.first.pop_front() {
            return Some(fault);
        }
        let goes_on = self.until.is_some_and(|until| Instant::now() < until);
        goes_on.then(|| self.of[self.seed.below(self.of.len())])
    }
}

/// Runs it and prints the table; whether everything is as it should be.
pub(crate) async fn run(settings: &Settings) -> std::io::Result<bool> {
    let dir = tempfile::tempdir()?;
    let place = |name: &str| -> std::io::Result<PathBuf> {
        let path = dir.path().join(name);
        std::fs::create_dir(&path)?;
        Ok(path)
    };
    let pages = Pages::new(place("pages")?);
    let (of_pool, of_loose) = (place("arrived-pool")?, place("arrived-loose")?);
    let of_dialled = place("arrived-dialled")?;
    let program = |kind| Program {
        kind,
        pages: pages.clone(),
        rate: settings.rate,
    };
    let mut seed = Seed::new(settings.seed);
    let (record, over) = (Record::default(), Arc::new(AtomicBool::new(false)));
    let chaos = std::env::current_exe()?;

    let python = program(Kind::Python(settings.python.clone()));
    let role = Role {
        node: "with-a-pool".to_owned(),
        socket: dir.path().join("pool.sock"),
        arrivals: of_pool.clone(),
        accept: Some(dir.path().join("pool-door/manager.sock")),
        pool: Some(PoolRole {
            name: "pool".to_owned(),
            command: python.command(),
            env: python.env_of_orphans(),
            size: settings.workers,
            run_dir: dir.path().join("run"),
        }),
    };
    let manager = Remote::start(&chaos, &role).await;
    let watched = Watched::new("manager of the pool", manager.line().clone());
    let mut pool = PoolLane {
        manager: Some(manager),
        chaos: chaos.clone(),
        role,
        record: record.clone(),
        watched: Arc::clone(&watched),
        program: python.clone(),
        seed: Seed::new(seed.next_number()),
        quick: settings.quick,
    };

    let role = Role {
        node: "without-a-pool".to_owned(),
        socket: dir.path().join("loose.sock"),
        arrivals: of_loose.clone(),
        accept: None,
        pool: None,
    };
    let manager = Remote::start(&chaos, &role).await;
    let stolen = Arrivals::in_memory();
    let thief = TestManager::blind();
    thief
        .dispatcher()
        .attach("stolen", "snakepit.python.tool.*", stolen.handler())
        .expect("a free id");
    let rust = program(Kind::Rust(chaos.clone()));
    let kinds = [python, rust].into_iter().cycle();
    let kinds_dialled = kinds.clone().take(2 * DIALLED);
    let kinds = kinds.take(2 * LOOSE);
    let slots = kinds.enumerate();
    let slots = slots.map(|(number, program)| Slot::start(dir.path(), number, program));
    let mut loose = LooseLane {
        watched: Watched::new("manager without a pool", manager.line().clone()),
        manager: Some(manager),
        chaos: chaos.clone(),
        role,
        slots: slots.collect(),
        thief,
        stolen: stolen.clone(),
        record: record.clone(),
        seed: Seed::new(seed.next_number()),
    };
    loose.register_all().await;

    let door = dir.path().join("door/manager.sock");
    let role = Role {
        node: "dialled-in".to_owned(),
        socket: dir.path().join("dialled.sock"),
        arrivals: of_dialled.clone(),
        accept: Some(door.clone()),
        pool: None,
    };
    let manager = Remote::start(&chaos, &role).await;
    let slots = kinds_dialled.enumerate();
    let slots = slots.map(|(number, program)| dialled::Slot::start(&door, number, program));
    let mut dialled = DialledLane {
        watched: Watched::new("manager that is dialled", manager.line().clone()),
        manager: Some(manager),
        chaos,
        role,
        slots: slots.collect(),
        door,
        record: record.clone(),
        seed: Seed::new(seed.next_number()),
    };
    dialled.all_stream().await;

    let watches = [&watched, &loose.watched, &dialled.watched].map(|watched| {
        let watch = Arc::clone(watched).watch(record.clone(), pages.clone(), Arc::clone(&over));
        tokio::spawn(watch)
    });
    let mut plan = Plan::new(OF_POOL, settings, Seed::new(seed.next_number()));
    let pool_lane = async {
        while let Some(fault) = plan.next().await {
            record.injects(fault);
            tell(&record, fault, pool.inject(fault).await);
        }
        pool.end().await;
    };
    let mut plan = Plan::new(OF_LOOSE, settings, Seed::new(seed.next_number()));
    let loose_lane = async {
        while let Some(fault) = plan.next().await {
            record.injects(fault);
            tell(&record, fault, loose.inject(fault).await);
        }
        loose.end().await;
    };
    let mut plan = Plan::new(OF_DIALLED, settings, Seed::new(seed.next_number()));
    let dialled_lane = async {
        while let Some(fault) = plan.next().await {
            record.injects(fault);
            tell(&record, fault, dialled.inject(fault).await);
        }
        dialled.end().await;
    };
    tokio::join!(pool_lane, loose_lane, dialled_lane);
    over.store(true, Ordering::SeqCst);
    for watch in watches {
        watch.await.map_err(std::io::Error::other)?;
    }

    let arrivals: [&Path; 3] = [&of_pool, &of_loose, &of_dialled];
    let truth = Truth {
        pages: &pages,
        arrivals: &arrivals,
        stolen: &stolen,
    };
    Ok(table::print(&record, &truth))
}

/// Notes what came of a fault and says it.
fn tell(record: &Record, fault: Fault, result: Result<Happened, String>) {
    match result {
        Ok(happened) => {
            println!("{fault:<25} {}", happened.evidence);
            record.happened(fault, happened);
        }
        Err(why) => {
            println!("{fault:<25} did not happen: {why}");
            record.lock().faults.entry(fault).or_default().evidence = why;
        }
    }
}
