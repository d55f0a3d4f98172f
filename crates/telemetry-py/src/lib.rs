//! Native half of `telemetry_py`: a skin over `telemetry-client`.
