//! By what a worker that is dialled is trusted, and what is said when it is not.

use super::Session;
use super::dial::Credentials;
use crate::listener::Stranger;

impl Session {
    /// By what the worker and its manager know each other.
    pub(super) fn credentials(&self) -> Credentials {
        let context = self.record.context();
        Credentials {
            uids: self.shared.accepted_uids.clone(),
            token: context.token,
            owner: context.token_owner,
            insecure: context.insecure,
            look_up: self.look_up.clone(),
            #[cfg(feature = "tls")]
            tls: context.tls,
        }
    }

    /// Says, once for each reason, that a token was not shown; `stranger`: to whom.
    pub(super) fn tell(&mut self, stranger: Option<Stranger>) {
        if self.stranger == stranger {
            return;
        }
        self.stranger = stranger;
        let (Some(stranger), Some(endpoint)) = (stranger, &self.endpoint) else {
            return;
        };
        tracing::warn!(
            worker = %self.context.worker_id,
            %endpoint,
            "the worker's token is not shown: {stranger}; if that is the worker, use a unix socket, have the token's \
             file belong to its user, or say `insecure = true`"
        );
    }
}
