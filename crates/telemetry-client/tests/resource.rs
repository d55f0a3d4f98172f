//! What the sampler emits and how fast it stops.

use std::sync::Arc;
use std::time::{Duration, Instant};

use telemetry_client::backend::{Backend, MemoryBackend};
use telemetry_client::{ResourceSampler, Sampling, Telemetry};
use telemetry_core::{Event, SystemClock, ValueRef, emit::RecorderConfig};

#[test]
fn memory_and_cpu_are_sampled_until_the_sampler_is_dropped() {
    let clock = Arc::new(SystemClock::new());
    let memory = Arc::new(MemoryBackend::new(RecorderConfig::default(), clock).expect("a policy"));
    let backend = Arc::clone(&memory) as Arc<dyn Backend>;
    let telemetry = Telemetry::builder().backend(backend).build();
    let sampler = ResourceSampler::start(telemetry, Sampling::every(Duration::from_millis(10)))
        .expect("a /proc");
    let mut events: Vec<Event> = Vec::new();
    let begun = Instant::now();
    while !events
        .iter()
        .any(|event| event.name() == "python.cpu.sampled")
    {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "no CPU sample: {events:?}"
        );
        std::thread::yield_now();
        events.extend(memory.take());
    }
    drop(sampler);
    events.extend(memory.take());
    let sample = &events[0];
    assert_eq!(sample.name(), "python.memory.sampled");
    let pid = std::process::id().to_string();
    assert_eq!(sample.metadata("python_pid"), Some(pid.as_str()));
    let bytes = |key| {
        sample
            .measurement(key)
            .and_then(ValueRef::as_i64)
            .expect("a number")
    };
    assert!(bytes("rss_bytes") > 100_000, "{sample:?}");
    assert!(bytes("vms_bytes") >= bytes("rss_bytes"), "{sample:?}");
    let is_cpu = |event: &&Event| event.name() == "python.cpu.sampled";
    let cpu = events.iter().find(is_cpu).expect("a sample");
    let percent = cpu
        .measurement("cpu_percent")
        .and_then(ValueRef::as_f64)
        .expect("a number");
    assert!(percent.is_finite() && percent >= 0.0, "{percent}");
    assert!(memory.take().is_empty(), "it has stopped");
}

#[test]
fn a_long_interval_does_not_delay_the_end() {
    let sampler = ResourceSampler::start(
        Telemetry::off(),
        Sampling::every(Duration::from_secs(3_600)),
    )
    .expect("a /proc");
    let begun = Instant::now();
    drop(sampler);
    assert!(begun.elapsed() < Duration::from_secs(60));
}

#[test]
fn an_interval_without_end_samples_once_and_ends_at_once() {
    let clock = Arc::new(SystemClock::new());
    let memory = Arc::new(MemoryBackend::new(RecorderConfig::default(), clock).expect("valid"));
    let telemetry = Telemetry::builder().backend(memory.clone()).build();
    let sampler =
        ResourceSampler::start(telemetry, Sampling::every(Duration::MAX)).expect("procfs");
    let begun = Instant::now();
    while memory.take().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(30));
        std::thread::yield_now();
    }
    drop(sampler);
    assert!(memory.take().is_empty());
}
