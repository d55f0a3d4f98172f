//! What became of every event, as the manager knows it: counted per stream, kept by incarnation, shown
//! per worker.
//!
//! * [`ledger`]: the counters of one stream. One writer, which is the pipeline's; any number of readers.
//! * [`incarnation`]: one life of one worker process, over all its streams: what it reported, what of
//!   that arrived, and what is already in the sums. Sums only ever get differences.
//! * [`plausible`]: what a report may claim; [`process`]: whether a process is still there.
//! * [`book`]: all incarnations, so that a worker which comes back, is registered again or changes its
//!   pool goes on where it was.
//! * [`worker`]: the sums of one registered worker and whose its present stream is.
//!
//! It knows no connection and no task.

mod book;
mod incarnation;
mod info;
mod ledger;
mod plausible;
mod process;
mod worker;

pub(crate) use book::{Book, Place, Strays};
pub(crate) use incarnation::{End, Parting, Silent};
pub use info::{IncarnationInfo, LostSpan};
pub(crate) use ledger::{Arrival, LedgerReader, LedgerWriter};
pub(crate) use plausible::Implausible;
pub(crate) use process::Process;
pub(crate) use worker::{Account, Gone, Origin, Said};
