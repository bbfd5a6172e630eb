//! The journal on NATS: the suite. Failures of servers are tested in `tests/nats/`.

use std::time::Duration;

use clawdb_session_durable::Journal;
use clawdb_session_journal_nats::{NatsJournal, NatsOptions};
use clawdb_session_testkit::nats_server::NatsServer;

use crate::suite::{JournalFactory, every_journal};

impl JournalFactory for NatsServer {
    async fn open(&self) -> Box<dyn Journal> {
        let options = NatsOptions {
            // A tenant that was not released is taken over after this time.
            lease: Duration::from_millis(300),
            ..NatsOptions::new(self.url()).single()
        };
        let journal = NatsJournal::connect(options).await;
        Box::new(journal.expect("the journal connects"))
    }
}

every_journal! {
    #[cfg_attr(not(has_nats), ignore = "needs nats-server: apt-get install nats-server")]
    NatsServer::start()
}
