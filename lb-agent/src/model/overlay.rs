//! Changes made at run time: they lie over the configuration file and survive restart and reload.

use serde::{Deserialize, Serialize};

/// All changes made at run time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {}
