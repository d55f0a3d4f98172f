//! The service in a tonic server of the program's own, read by a tonic client.

use std::sync::Arc;
use std::time::Duration;

use telemetry_client::Telemetry;
use telemetry_client::backend::StreamBackend;
use telemetry_client::serve::StreamConfig;
use telemetry_core::{
    SystemClock,
    emit::{Recorder, RecorderConfig},
    wire::Control,
};
use telemetry_proto::PingRequest;
use telemetry_proto::bridge_service_client::BridgeServiceClient;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Endpoint, Server};

#[tokio::test(flavor = "multi_thread")]
async fn a_tonic_client_reads_a_service_mounted_in_a_tonic_server() {
    let clock = Arc::new(SystemClock::new());
    let recorder = Recorder::new(RecorderConfig::default(), clock).expect("the default policy");
    let (backend, service) = StreamBackend::mounted(Arc::new(recorder), StreamConfig::default());
    let telemetry = Telemetry::builder().backend(Arc::new(backend)).build();
    let port = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let address = port.local_addr().expect("an address");
    let server = tokio::spawn(
        Server::builder()
            .add_service(service)
            .serve_with_incoming(port),
    );

    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    let mut client = BridgeServiceClient::new(endpoint.connect().await.expect("a server"));
    let ping = PingRequest {
        message: "hello".into(),
    };
    let pong = client.ping(ping).await.expect("an answer").into_inner();
    assert_eq!(pong.message, "hello");

    let toggle = Control::Toggle { enabled: true }.to_proto();
    let controls = tonic::codegen::tokio_stream::once(toggle);
    let mut request = tonic::Request::new(controls);
    request.set_timeout(Duration::from_secs(5));
    let mut events = client
        .stream_telemetry(request)
        .await
        .expect("a stream")
        .into_inner();
    for size in 0..100_i64 {
        telemetry.emit("tool.result_size", &[("bytes", size.into())], &[], "");
    }
    for sequence in 1..=100 {
        let event = events.message().await.expect("no error").expect("an event");
        assert_eq!(event.sequence, sequence);
    }
    let ending = telemetry.clone();
    let ended = tokio::task::spawn_blocking(move || ending.shutdown(Duration::from_secs(30)));
    assert_eq!(events.message().await.expect("grpc-status 0"), None);
    let ledger = ended.await.expect("no panic");
    assert_eq!((ledger.sent, ledger.dropped.total()), (100, 0));
    ledger.check().expect("balance");
    server.abort();
}
