//! The ids of a span as backends of Python are told them.

use pyo3::prelude::*;
use telemetry_core::SpanContext;

/// Which span an event belongs to.
#[pyclass(frozen, eq, module = "telemetry_py._native", name = "SpanIdentity")]
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PySpanIdentity(SpanContext);

impl PySpanIdentity {
    /// Of this span.
    pub(crate) const fn new(span: SpanContext) -> Self {
        Self(span)
    }

    /// The span.
    pub(crate) const fn context(&self) -> SpanContext {
        self.0
    }
}

#[pymethods]
impl PySpanIdentity {
    /// 32 hexadecimal digits.
    #[getter]
    fn trace_id(&self) -> String {
        self.0.trace_id.to_string()
    }

    /// 16 hexadecimal digits.
    #[getter]
    fn span_id(&self) -> String {
        self.0.span_id.to_string()
    }

    /// 16 hexadecimal digits of the span around it; empty if there is none.
    #[getter]
    fn parent_span_id(&self) -> String {
        let parent = self.0.parent_span_id;
        parent.map_or_else(String::new, |parent| parent.to_string())
    }

    /// What the event is to the span: `inside`, `start`, `stop`, `exception` or `cancelled`.
    #[getter]
    fn phase(&self) -> &'static str {
        self.0.phase.as_str()
    }

    fn __repr__(&self) -> String {
        let SpanContext {
            trace_id,
            span_id,
            phase,
            ..
        } = self.0;
        format!("<SpanIdentity {trace_id} {span_id} {phase}>")
    }
}
