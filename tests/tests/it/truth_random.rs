//! Hundreds of random things done to streams and registrations, from a seed: nothing is counted
//! twice, no total falls, and at the end every account is the truth.
//!
//! `TRUTH_SEED=n` repeats a run; a failure names its seed. `TRUTH_ROUNDS=125` does a thousand things, in
//! three times the time.

use std::sync::Arc;
use std::time::Instant;

use telemetry_core::Outcome;
use telemetry_server::{WorkerContext, WorkerId, stream::StreamState};
use telemetry_tests::truth::{
    Arrivals, Counted, EVENT, Laws, TAG, Verdict, by_incarnation, incarnations, judge, pools,
};
use telemetry_tests::{PATIENCE, Proxy, Seed, TestManager, Worker, eventually, within, worker};

const WORKERS: u32 = 8;
/// Each round does one thing to every worker.
const ROUNDS: usize = 42;
/// Rounds between two restarts of the manager.
const RESTARTS: usize = 12;
/// Most events of a worker before each thing that is done to it.
const EVENTS: usize = 30;

/// One worker, and how it is registered.
struct Member {
    number: u32,
    worker: Worker,
    cable: Proxy,
    seed: Seed,
    /// What it emitted.
    emitted: u64,
    /// Which of its two ids and of the two pools it has.
    id: usize,
    pool: usize,
    /// What was done to it.
    done: [u64; 7],
}

/// What all of them share.
struct World {
    manager: TestManager,
    thief: TestManager,
    arrivals: Arrivals,
}

impl World {
    fn manager(arrivals: &Arrivals) -> TestManager {
        let manager = TestManager::blind();
        manager
            .dispatcher()
            .attach("arrivals", "snakepit.python.tool.*", arrivals.handler())
            .expect("a free id");
        manager
    }
}

impl Member {
    fn start(number: u32, seed: u64) -> Self {
        let worker = worker().id(format!("w-{number}")).queue(65_536).start();
        let cable = Proxy::start(worker.dir().join("cable.sock"), worker.socket())
            .expect("a free path for a cable");
        Self {
            number,
            worker,
            cable,
            seed: Seed::new(seed ^ ((u64::from(number) + 1) << 32)),
            emitted: 0,
            id: 0,
            pool: 0,
            done: [0; 7],
        }
    }

    fn emit(&mut self) {
        let number = i64::try_from(self.emitted + 1).expect("few events");
        let tag = self.number.to_string();
        let telemetry = self.worker.telemetry();
        let outcome = telemetry.emit(EVENT, &[("bytes", number.into())], &[(TAG, &tag)], "");
        assert_ne!(outcome, Outcome::Off);
        self.emitted += 1;
    }

    fn id(&self) -> WorkerId {
        WorkerId::from(format!("w-{}-{}", self.number, self.id))
    }

    fn register(&self, manager: &TestManager) {
        let pool = ["one", "two"][self.pool];
        let context = WorkerContext::new(self.id().as_str()).in_pool(pool);
        let address = format!("unix:{}", self.cable.path().display());
        let endpoint = address.parse().expect("an endpoint");
        manager
            .register_worker(endpoint, context)
            .expect("a valid worker");
    }

    /// Waits until the worker is known by name to a manager.
    async fn known(&self, manager: &TestManager, id: &WorkerId) {
        manager
            .until("a stream with a hello", id, |info| {
                info.state == StreamState::Streaming
                    && info.incarnation == self.worker.incarnation()
            })
            .await;
    }

    /// Emits some and has one thing happen.
    async fn step(mut self, world: Arc<World>) -> Self {
        for _ in 0..self.seed.below(EVENTS) {
            self.emit();
        }
        let manager = &world.manager;
        if self.seed.chance(0.5) {
            self.known(manager, &self.id()).await;
        }
        let what = self.seed.below(self.done.len());
        self.done[what] += 1;
        match what {
            0 => assert!(manager.unregister_worker(&self.id()).await),
            1 => {}
            2 => self.pool = 1 - self.pool,
            3 => {
                assert!(manager.unregister_worker(&self.id()).await);
                self.pool = 1 - self.pool;
            }
            4 => {
                assert!(manager.unregister_worker(&self.id()).await);
                self.id = 1 - self.id;
            }
            5 => {
                // What is on its way comes again to the same manager; another one would get some of it twice.
                let streams = |manager: &TestManager| manager.info(&self.id()).streams;
                let before = streams(manager);
                if self.cable.cut() > 0 {
                    eventually("a stream after the cut", || {
                        (streams(manager) > before).then_some(())
                    })
                    .await;
                    self.known(manager, &self.id()).await;
                }
                return self;
            }
            _ => {
                let address = format!("unix:{}", self.worker.socket().display());
                let stolen = world.thief.register(&address, self.worker.id());
                self.known(&world.thief, &stolen).await;
                for _ in 0..self.seed.below(EVENTS) {
                    self.emit();
                }
                assert!(world.thief.unregister_worker(&stolen).await);
            }
        }
        self.register(manager);
        self
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_random_changes_count_nothing_twice() {
    let seed = std::env::var("TRUTH_SEED").map_or(0x7247, |seed| seed.parse().unwrap());
    let rounds = std::env::var("TRUTH_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let arrivals = Arrivals::in_memory();
    let mut world = Arc::new(World {
        manager: World::manager(&arrivals),
        thief: World::manager(&arrivals),
        arrivals,
    });
    let mut members: Vec<_> = (0..WORKERS)
        .map(|number| Member::start(number, seed))
        .collect();
    for member in &members {
        member.register(&world.manager);
    }
    let mut laws = Laws::default();
    // What managers that are gone counted.
    let mut counted = Vec::new();
    for round in 1..=rounds {
        let steps: Vec<_> = members
            .drain(..)
            .map(|member| tokio::spawn(member.step(Arc::clone(&world))))
            .collect();
        for step in steps {
            members.push(within("a step", step).await.unwrap());
        }
        let said = pools(&world.manager);
        let truth: u64 = members.iter().map(|member| member.emitted).sum();
        laws.look(&said, truth);
        if round % RESTARTS == 0 {
            world.manager.shutdown(PATIENCE).await;
            counted.push(pools(&world.manager));
            let old = Arc::into_inner(world).expect("no step is under way");
            world = Arc::new(World {
                manager: World::manager(&old.arrivals),
                ..old
            });
            for member in &members {
                member.register(&world.manager);
            }
            laws.begin_anew();
        }
    }

    let mut faults = laws.told();
    let began = Instant::now();
    for member in &members {
        member.register(&world.manager);
        member.known(&world.manager, &member.id()).await;
    }
    let truth = |member: &Member| Counted::exactly(member.emitted);
    let verdict = |member: &Member| -> Verdict {
        let rows = by_incarnation(&incarnations(&world.manager));
        let row = rows.get(member.worker.incarnation());
        judge(member.number, truth(member), row)
    };
    let at_rest = || members.iter().all(|member| verdict(member).silent == 0);
    eventually("rest", || {
        (at_rest() || began.elapsed().as_secs() > 10).then_some(())
    })
    .await;
    for member in &members {
        let verdict = verdict(member);
        if verdict.silent > 0 {
            faults.push(verdict.to_string());
        }
        let seen = world.arrivals.of(member.number);
        if seen.twice > 0 || seen.distinct() > member.emitted {
            faults.push(format!(
                "{}: {} dispatched twice",
                member.number, seen.twice
            ));
        }
        assert!(
            member.done.iter().all(|times| *times > 0),
            "{:?}",
            member.done
        );
    }
    let truth: u64 = members.iter().map(|member| member.emitted).sum();
    counted.extend([&world.manager, &world.thief].map(|manager| pools(manager)));
    let own: Vec<u64> = counted
        .iter()
        .map(|pools| pools.iter().map(|sums| sums.emitted).sum())
        .collect();
    let together: u64 = own.iter().sum();
    if together > truth {
        faults.push(format!(
            "all managers counted {together} of {truth}: {own:?}"
        ));
    }
    assert!(faults.is_empty(), "seed {seed}\n{}", faults.join("\n"));
}
