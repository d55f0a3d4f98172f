//! The built-in events, one row each: the single source for `docs/events.md`, the Python enums and
//! the dashboards.
//!
//! A row reads: origin, path, wire name if it is not the path, rate, measurement keys, metadata
//! keys besides `node`, `pool_name` and `worker_id`, and one sentence. Nothing here but rows; what
//! they become is the builder's business.

use super::event_spec::{Origin, Rate};

/// One built-in event as it is written down.
#[derive(Debug)]
pub(super) struct EventRow {
    /// The event name without `snakepit.`, or all of it for the dispatcher's own event.
    pub(super) path: &'static str,
    /// The wire name where it differs from the path. Only for [`Origin::Worker`].
    pub(super) wire: Option<&'static str>,
    /// Who may emit it.
    pub(super) origin: Origin,
    /// Expected frequency.
    pub(super) rate: Rate,
    /// Documented measurement keys.
    pub(super) measurements: &'static [&'static str],
    /// Documented metadata keys.
    pub(super) metadata: &'static [&'static str],
    /// When it is emitted.
    pub(super) doc: &'static str,
}

macro_rules! events {
    (@wire) => { None };
    (@wire $wire:literal) => { Some($wire) };
    ($($origin:ident $path:literal $(=> $wire:literal)? $rate:ident
        [$($measurement:ident)*] [$($metadata:ident)*] $doc:literal;)*) => {
        /// Every built-in event, in the order of the document.
        pub(super) static EVENTS: &[EventRow] = &[$(EventRow {
            path: $path,
            wire: events!(@wire $($wire)?),
            origin: Origin::$origin,
            rate: Rate::$rate,
            measurements: &[$(stringify!($measurement)),*],
            metadata: &[$(stringify!($metadata)),*],
            doc: $doc,
        }),*];
    };
}

events! {
    // Pool.
    Manager "pool.initialized" Rare [duration system_time] [size adapter_module worker_module]
        "All workers of the pool are up.";
    Manager "pool.init_started" Rare [system_time] [mode]
        "The pool began to start its workers.";
    Manager "pool.init_complete" Rare [duration total_workers] [mode]
        "The pool has tried to start every worker once.";
    Manager "pool.status" Low [available_workers busy_workers queue_depth total_workers] []
        "The state of a pool, at a fixed interval.";
    Host "pool.queue.enqueued" Medium [queue_depth system_time] [command session_id correlation_id]
        "A command had to wait because no worker was free.";
    Host "pool.queue.dequeued" Medium [queue_time queue_depth] [correlation_id]
        "A waiting command got a worker.";
    Host "pool.queue.timeout" Medium [queue_time queue_depth] [timeout_ms correlation_id]
        "A waiting command was given up.";
    Manager "pool.worker.spawn_started" Medium [system_time] [worker_module]
        "A worker process is about to be started.";
    Manager "pool.worker.spawned" Medium [duration system_time] [worker_pid python_port mode]
        "A worker process runs.";
    Manager "pool.worker_ready" Medium [duration] [python_pid]
        "A worker's stream is up for the first time.";
    Manager "pool.worker.spawn_failed" Medium [duration] [reason retry_count]
        "A worker process could not be started or did not become ready.";
    Manager "pool.worker.terminated" Medium [lifetime total_commands]
        [worker_pid reason planned exit_code]
        "A worker process has ended, by plan or not.";
    Manager "pool.worker.restarted" Medium [downtime restart_count] [previous_pid new_pid reason]
        "A worker process has taken the place of one that ended.";

    // Worker life.
    Manager "worker.recycled" Medium [count] [reason]
        "A worker was replaced on purpose.";
    Manager "worker.crash" Medium [count] [reason]
        "A worker ended without being asked to.";
    Manager "worker.tainted" Medium [count] [reason]
        "A worker was marked as not to be trusted with more work.";
    Manager "worker.restarted" Medium [count] [reason]
        "A worker came back after a crash or a recycling.";

    // Sessions.
    Host "session.created" Medium [system_time] [session_id]
        "A session began.";
    Host "session.destroyed" Medium [lifetime command_count] [session_id reason]
        "A session ended.";
    Host "session.affinity.assigned" Medium [system_time] [session_id]
        "A session was bound to a worker.";
    Host "session.affinity.broken" Medium [affinity_duration commands_with_affinity]
        [session_id reason]
        "A session lost the worker it was bound to.";

    // What Python does.
    Worker "python.call.start" High [system_time request_size count]
        [session_id command correlation_id]
        "A command began to run.";
    Worker "python.call.stop" High [duration response_size count]
        [session_id command correlation_id result]
        "A command returned.";
    Worker "python.call.exception" High [duration count]
        [session_id command correlation_id error_type error_category error_message]
        "A command raised.";
    Worker "python.memory.sampled" Low [rss_bytes vms_bytes system_time] [python_pid]
        "Memory of the worker process, at a fixed interval.";
    Worker "python.cpu.sampled" Low [cpu_percent system_time] [python_pid]
        "CPU use of the worker process since the last sample, at a fixed interval.";
    Worker "python.gc.completed" Medium [duration collected generation count] []
        "The garbage collector finished a pass.";
    Worker "python.error.occurred" Low [system_time count] [error_type error_message traceback]
        "An error that no call reported: an uncaught exception, a failed thread or task.";
    Worker "python.stall.started" Low [system_time] [operation open_spans]
        "Python cannot run: no thread of the worker has run Python code for the time of `TELEMETRY_STALL_MS`.";
    Worker "python.stall.ended" Low [duration] [operation open_spans]
        "Python runs again.";
    Worker "python.asyncio.lagged" Medium [duration system_time] []
        "An event loop ran a callback that was due only so much later, as something else held it up.";
    Host "python.exception.mapped" Low [count] [error_type python_type library function]
        "A Python exception was translated into an error type of the host program.";
    Host "python.exception.unmapped" Low [count] [error_type python_type library function]
        "A Python exception has no counterpart in the host program.";
    Worker "python.tool.execution.start" => "tool.execution.start" High [system_time count]
        [tool operation model]
        "A tool began to run.";
    Worker "python.tool.execution.stop" => "tool.execution.stop" High [duration count]
        [tool operation model]
        "A tool returned.";
    Worker "python.tool.execution.exception" => "tool.execution.exception" High [duration count]
        [tool operation error_type error_message]
        "A tool raised.";
    Worker "python.tool.result_size" => "tool.result_size" High [message_size bytes] [tool]
        "The size of what a tool returned.";

    // What libraries and servers around Python do.
    Worker "python.http.server.start" => "http.server.start" High [system_time count] [method]
        "A request or a websocket came in.";
    Worker "python.http.server.stop" => "http.server.stop" High [duration count]
        [method route status_code reason]
        "A response has been sent, or will not be.";
    Worker "python.http.server.exception" => "http.server.exception" High [duration count]
        [method route status_code error_type error_message]
        "The code that serves a request raised, or was cancelled.";
    Worker "python.http.client.start" => "http.client.start" High [system_time count] [method host]
        "A request goes out.";
    Worker "python.http.client.stop" => "http.client.stop" High [duration count]
        [method host status_code]
        "A request was answered.";
    Worker "python.http.client.exception" => "http.client.exception" High [duration count]
        [method host error_type error_message]
        "A request was not answered.";
    Worker "python.celery.task.start" => "celery.task.start" High [system_time count]
        [task queue retry_count]
        "A task began to run.";
    Worker "python.celery.task.stop" => "celery.task.stop" High [duration count]
        [task queue retry_count state]
        "A task returned, or asked to be run again.";
    Worker "python.celery.task.exception" => "celery.task.exception" High [duration count]
        [task queue retry_count state error_type error_message]
        "A task raised.";
    Worker "python.log.recorded" High [count] [level logger message error_type error_message]
        "A record of Python's logging.";

    // gRPC.
    Host "grpc.call.start" High [system_time] [rpc_method correlation_id]
        "A call to a worker was sent.";
    Host "grpc.call.stop" High [duration network_time] [rpc_method correlation_id grpc_status]
        "A call to a worker was answered.";
    Host "grpc.call.exception" High [duration]
        [rpc_method correlation_id grpc_status error_message]
        "A call to a worker failed or was abandoned.";
    Manager "grpc.stream.opened" Low [system_time] [stream_id correlation_id]
        "A worker accepted the telemetry stream.";
    Manager "grpc.stream.message" High [message_size sequence_number]
        [stream_id direction is_final]
        "One message went over a stream. Off unless asked for.";
    Manager "grpc.stream.closed" Low [duration message_count] [stream_id reason]
        "A telemetry stream ended.";
    Manager "grpc.connection.established" Low [duration system_time] [python_port retry_count]
        "A connection to a worker is up.";
    Manager "grpc.connection.lost" Low [uptime call_count] [reason]
        "A connection to a worker broke.";
    Manager "grpc.connection.reconnected" Low [downtime retry_count] []
        "A connection to a worker is up again.";

    // Session store.
    Host "session_store.session.created" Legacy [count] [session_id]
        "A session was put into the store.";
    Host "session_store.session.accessed" Legacy [count] [session_id]
        "A session was read from the store.";
    Host "session_store.session.deleted" Legacy [count] [session_id]
        "A session was deleted from the store.";
    Host "session_store.session.expired" Legacy [count] [session_id]
        "A session outlived its time in the store.";
    Host "session_store.program.stored" Legacy [count] [session_id]
        "A program was put into a session.";
    Host "session_store.program.retrieved" Legacy [count] [session_id]
        "A program was read from a session.";
    Host "session_store.program.deleted" Legacy [count] [session_id]
        "A program was deleted from a session.";

    // Heartbeat.
    Host "heartbeat.monitor_started" Legacy [count latency_ms] [reason failure_reason]
        "A worker's heartbeat is being watched.";
    Host "heartbeat.monitor_stopped" Legacy [count latency_ms] [reason failure_reason]
        "A worker's heartbeat is no longer watched.";
    Host "heartbeat.monitor_failure" Legacy [count latency_ms] [reason failure_reason]
        "Too many heartbeats in a row failed.";
    Host "heartbeat.ping_sent" Legacy [count latency_ms] [reason failure_reason]
        "A ping went out.";
    Host "heartbeat.pong_received" Legacy [count latency_ms] [reason failure_reason]
        "A ping was answered.";
    Host "heartbeat.heartbeat_timeout" Legacy [count latency_ms] [reason failure_reason]
        "A ping was not answered in time.";

    // Scripts.
    Host "script.shutdown.start" Rare [duration] [reason exit_code]
        "A script began to shut down.";
    Host "script.shutdown.stop" Rare [duration] [reason exit_code]
        "A script's application has stopped.";
    Host "script.shutdown.cleanup" Rare [duration] [reason exit_code]
        "A script has cleaned up what its workers left.";
    Host "script.shutdown.exit" Rare [duration] [reason exit_code]
        "A script is about to exit.";

    // Zero copy.
    Host "zero_copy.export" Medium [duration bytes] [kind device dtype shape]
        "A buffer was handed to a worker without a copy.";
    Host "zero_copy.import" Medium [duration bytes] [kind device dtype shape]
        "A buffer was taken from a worker without a copy.";
    Host "zero_copy.fallback" Medium [duration bytes] [kind device dtype shape]
        "A buffer had to be copied after all.";

    // Hardware.
    Host "hardware.detect.start" Rare [system_time] [device kind]
        "The search for accelerators began.";
    Host "hardware.detect.stop" Rare [duration] [device kind]
        "The search for accelerators ended.";
    Host "hardware.select.start" Rare [system_time] [device kind]
        "The choice of a device began.";
    Host "hardware.select.stop" Rare [duration] [device kind]
        "A device was chosen.";
    Host "hardware.cache.hit" Rare [count] [device kind]
        "The known hardware could be reused.";
    Host "hardware.cache.miss" Rare [count] [device kind]
        "The hardware has to be searched anew.";

    // Circuit breaker.
    Host "circuit_breaker.opened" Medium [count duration] [reason]
        "A breaker opened: calls are refused.";
    Host "circuit_breaker.closed" Medium [count duration] [reason]
        "A breaker closed: calls pass.";
    Host "circuit_breaker.half_open" Medium [count duration] [reason]
        "A breaker lets a trial call pass.";
    Host "circuit_breaker.call.allowed" Medium [count duration] [reason]
        "A breaker let a call pass.";
    Host "circuit_breaker.call.rejected" Medium [count duration] [reason]
        "A breaker refused a call.";
    Host "circuit_breaker.call.success" Medium [count duration] [reason]
        "A call behind a breaker succeeded.";
    Host "circuit_breaker.call.failure" Medium [count duration] [reason]
        "A call behind a breaker failed.";

    // Errors of numeric code.
    Worker "error.shape_mismatch" Low [count] [error_type error_message device dtype shape]
        "Tensors of shapes that do not fit met.";
    Worker "error.device" Low [count] [error_type error_message device dtype shape]
        "A device was missing, busy or broken.";
    Worker "error.oom" Low [count] [error_type error_message device dtype shape]
        "A device ran out of memory.";
    Worker "error.dtype_mismatch" Low [count] [error_type error_message device dtype shape]
        "Tensors of types that do not fit met.";
    Worker "error.dimension_error" Low [count] [error_type error_message device dtype shape]
        "A dimension was out of range.";
    Worker "error.python_exception" Low [count] [error_type error_message device dtype shape]
        "Numeric code raised something else.";

    // GPU.
    Worker "gpu.memory.sampled" Low [bytes] [device]
        "Memory in use on a GPU, at a fixed interval.";
    Worker "gpu.utilization.sampled" Low [percent] [device]
        "How busy a GPU is, at a fixed interval.";
    Worker "gpu.temperature.sampled" Low [celsius] [device]
        "How hot a GPU is, at a fixed interval.";
    Worker "gpu.power.sampled" Low [watts] [device]
        "What a GPU draws, at a fixed interval.";

    // Retry.
    Host "retry.attempt" Medium [count duration retry_count] [operation reason]
        "An operation is being tried again.";
    Host "retry.success" Medium [count duration retry_count] [operation reason]
        "An operation succeeded after one or more retries.";
    Host "retry.exhausted" Medium [count duration retry_count] [operation reason]
        "An operation was given up after its last retry.";
    Host "retry.backoff" Medium [count duration retry_count] [operation reason]
        "An operation waits before its next try.";

    // The dispatcher, about its handlers.
    Dispatcher "telemetry.handler.failure" Rare [system_time duration]
        [handler_id event_name kind reason]
        "A handler failed and was detached.";
}
