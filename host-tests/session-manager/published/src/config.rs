//! The setting that the manager reads.

use uuid::Uuid;

pub struct ClawDBConfig {
    pub workspace_id: Uuid,
}
