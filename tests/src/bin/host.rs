//! A host program in Rust that has work done by a worker in another language: `host ADDRESS CALLS`. As
//! `host alone` it is itself what another program has started for its work.
//!
//! Each call is a trace of its own: a span around a `Ping` of the gRPC server at the address, whose metadata
//! carries the trace and the correlation id `request-{number}`. The calls are made at once. Telemetry is what
//! the environment says.

use std::error::Error;

use telemetry_client::{Telemetry, inject};
use telemetry_proto::PingRequest;
use telemetry_proto::bridge_service_client::BridgeServiceClient;
use tokio::task::JoinSet;
use tonic::Request;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Channel, Endpoint};

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().ok_or("expected an address")?;
    let mut worker = telemetry_client::start();
    if address == "alone" {
        let telemetry = worker.telemetry();
        let span = telemetry.span("tool.execution").metadata("tool", "alone");
        span.start().finish();
        worker.shutdown();
        return Ok(());
    }
    let calls: usize = arguments.next().ok_or("expected a number")?.parse()?;
    let channel = Endpoint::from_shared(format!("http://{address}"))?
        .connect()
        .await?;
    let mut under_way = JoinSet::new();
    for number in 0..calls {
        under_way.spawn(call(worker.telemetry().clone(), channel.clone(), number));
    }
    while let Some(ended) = under_way.join_next().await {
        ended??;
    }
    worker.shutdown();
    Ok(())
}

/// One call in a span of its own.
async fn call(telemetry: Telemetry, channel: Channel, number: usize) -> Result<(), tonic::Status> {
    let span = telemetry
        .span("tool.execution")
        .metadata("tool", "host")
        .correlation_id(format!("request-{number}"));
    let asking = async {
        let size = [("bytes", 1_i64.into())];
        telemetry.emit("tool.result_size", &size, &[("tool", "host")], "");
        let mut request = Request::new(PingRequest::default());
        inject(|name, value| {
            if let Ok(value) = AsciiMetadataValue::try_from(value) {
                request.metadata_mut().insert(name, value);
            }
        });
        BridgeServiceClient::new(channel).ping(request).await
    };
    span.try_instrument(asking).await.map(drop)
}
