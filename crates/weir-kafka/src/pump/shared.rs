//! What the threads of a pump share: the board, and how the cluster is reached.

use std::ops::Deref;

use weir_pump::{Board, PumpConfig, Route};

use crate::ClusterConfig;

/// The board of a pump and its cluster.
pub(super) struct Shared {
    pub(super) cluster: ClusterConfig,
    board: Board,
}

impl Shared {
    pub(super) fn new(cluster: ClusterConfig, config: PumpConfig, routes: Vec<Route>) -> Shared {
        Shared { cluster, board: Board::new(config, routes) }
    }
}

impl Deref for Shared {
    type Target = Board;

    fn deref(&self) -> &Board {
        &self.board
    }
}
